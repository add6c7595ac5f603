//! Between [`Tensor`]s and the values of ONNX Runtime.

use ort::value::{DynValue, Outlet, TensorElementType, ValueType};

use crate::backend::{BackendError, Dim, Port, Runtime};
use crate::tensor::{DType, Data, Tensor, TensorError};

pub(super) fn ports(outlets: &[Outlet]) -> Result<Vec<Port>, BackendError> {
    outlets.iter().map(port).collect()
}

fn port(outlet: &Outlet) -> Result<Port, BackendError> {
    let unsupported = || BackendError::PortType {
        name: outlet.name().to_owned(),
        found: outlet.dtype().to_string(),
    };
    let ValueType::Tensor {
        ty,
        shape,
        dimension_symbols,
    } = outlet.dtype()
    else {
        return Err(unsupported());
    };
    let dims = shape
        .iter()
        .zip(dimension_symbols.iter())
        .map(|(&size, symbol)| match usize::try_from(size) {
            Ok(size) => Dim::Fixed(size),
            Err(_) if symbol.is_empty() => Dim::Any,
            Err(_) => Dim::Symbol(symbol.clone()),
        });
    Ok(Port {
        name: outlet.name().to_owned(),
        dtype: dtype(*ty).ok_or_else(unsupported)?,
        dims: dims.collect(),
    })
}

fn dtype(element: TensorElementType) -> Option<DType> {
    match element {
        TensorElementType::Float32 => Some(DType::F32),
        TensorElementType::Float16 => Some(DType::F16),
        TensorElementType::Bfloat16 => Some(DType::BF16),
        TensorElementType::Int64 => Some(DType::I64),
        TensorElementType::Int32 => Some(DType::I32),
        TensorElementType::Uint8 => Some(DType::U8),
        TensorElementType::Bool => Some(DType::Bool),
        _ => None,
    }
}

/// Moves the elements; nothing is copied.
pub(super) fn from_tensor(tensor: Tensor) -> ort::Result<DynValue> {
    use ort::value::Tensor as Value;
    let (shape, data) = tensor.into_parts();
    Ok(match data {
        Data::F32(values) => Value::from_array((shape, values))?.into_dyn(),
        Data::F16(values) => Value::from_array((shape, values))?.into_dyn(),
        Data::BF16(values) => Value::from_array((shape, values))?.into_dyn(),
        Data::I64(values) => Value::from_array((shape, values))?.into_dyn(),
        Data::I32(values) => Value::from_array((shape, values))?.into_dyn(),
        Data::U8(values) => Value::from_array((shape, values))?.into_dyn(),
        Data::Bool(values) => Value::from_array((shape, values))?.into_dyn(),
    })
}

/// Copies the elements out of the runtime's memory.
pub(super) fn to_tensor(name: &str, value: &DynValue) -> Result<Tensor, BackendError> {
    let unsupported = || BackendError::PortType {
        name: name.to_owned(),
        found: value.dtype().to_string(),
    };
    let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
        return Err(unsupported());
    };
    let dtype = dtype(*ty).ok_or_else(unsupported)?;
    let failed = |reason| BackendError::Run {
        runtime: Runtime::OnnxRuntime,
        reason,
    };
    let shape = shape
        .iter()
        .map(|&size| usize::try_from(size))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(format!("the shape of `{name}`: {error}")))?;
    let data = elements(dtype, value).map_err(|error| failed(error.to_string()))?;
    Tensor::new(shape, data).map_err(|error: TensorError| failed(error.to_string()))
}

fn elements(dtype: DType, value: &DynValue) -> ort::Result<Data> {
    Ok(match dtype {
        DType::F32 => Data::F32(value.try_extract_tensor()?.1.to_vec()),
        DType::F16 => Data::F16(value.try_extract_tensor()?.1.to_vec()),
        DType::BF16 => Data::BF16(value.try_extract_tensor()?.1.to_vec()),
        DType::I64 => Data::I64(value.try_extract_tensor()?.1.to_vec()),
        DType::I32 => Data::I32(value.try_extract_tensor()?.1.to_vec()),
        DType::U8 => Data::U8(value.try_extract_tensor()?.1.to_vec()),
        DType::Bool => Data::Bool(value.try_extract_tensor()?.1.to_vec()),
    })
}
