//! Between [`Tensor`]s and the values of ONNX Runtime.

use std::any::Any;

use ort::session::SessionInputValue;
use ort::value::{DynValue, Outlet, TensorElementType, ValueType};

use crate::backend::{BackendError, Dim, Held, Port, Runtime};
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

/// A result in the runtime's memory, which may be a device's.
pub(super) struct Kept {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    value: DynValue,
}

impl Kept {
    /// Keeps an output that is a tensor of a type that [`Tensor`] can hold.
    pub(super) fn new(name: &str, value: DynValue) -> Result<Self, BackendError> {
        let unsupported = || BackendError::PortType {
            name: name.to_owned(),
            found: value.dtype().to_string(),
        };
        let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
            return Err(unsupported());
        };
        let shape = shape.iter().map(|&size| usize::try_from(size));
        let shape = shape.collect::<Result<Vec<_>, _>>();
        let shape = shape.map_err(|error| failed(format!("the shape of `{name}`: {error}")))?;
        Ok(Self {
            name: name.to_owned(),
            dtype: dtype(*ty).ok_or_else(unsupported)?,
            shape,
            value,
        })
    }
}

impl Held for Kept {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Copies the elements out of the runtime's memory.
    fn tensor(&self) -> Result<Tensor, BackendError> {
        let failed = |error: &dyn std::error::Error| failed(format!("`{}`: {error}", self.name));
        let data = elements(self.dtype, &self.value).map_err(|error| failed(&error))?;
        Tensor::new(self.shape.clone(), data).map_err(|error: TensorError| failed(&error))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

fn failed(reason: String) -> BackendError {
    BackendError::Run {
        runtime: Runtime::OnnxRuntime,
        reason,
    }
}

/// The value itself if this runtime made it, else a copy.
pub(super) fn from_held(held: &dyn Held) -> Result<SessionInputValue<'_>, BackendError> {
    if let Some(kept) = held.as_any().downcast_ref::<Kept>() {
        return Ok((&kept.value).into());
    }
    let value = from_tensor(held.tensor()?).map_err(|error| failed(error.to_string()))?;
    Ok(value.into())
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
