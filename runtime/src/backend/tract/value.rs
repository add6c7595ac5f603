//! Between host tensors and those of tract, and from ONNX types to ports.

use std::any::Any;
use std::sync::Arc;

use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{self, Value};
use tract_onnx::pb::{ModelProto, ValueInfoProto};
use tract_onnx::prelude::tract_ndarray::ArrayD;
use tract_onnx::prelude::*;

use crate::backend::{BackendError, Dim, Held, Port, Runtime};
use crate::tensor::{DType, Data, Element, Tensor as HostTensor};

/// The inputs and outputs of the main graph; none if there is no graph, which
/// tract itself refuses.
pub(super) fn graph_ports(model: &ModelProto) -> Result<(Vec<Port>, Vec<Port>), BackendError> {
    let Some(graph) = &model.graph else {
        return Ok((Vec::new(), Vec::new()));
    };
    // Old models list their weights among the inputs.
    let is_weight = |name: &str| graph.initializer.iter().any(|weight| weight.name == name);
    let inputs = graph.input.iter().filter(|input| !is_weight(&input.name));
    Ok((
        inputs.map(port).collect::<Result<_, _>>()?,
        graph.output.iter().map(port).collect::<Result<_, _>>()?,
    ))
}

fn port(info: &ValueInfoProto) -> Result<Port, BackendError> {
    let unsupported = |found: String| BackendError::PortType {
        name: info.name.clone(),
        found,
    };
    let Some(Value::TensorType(tensor)) = info.r#type.as_ref().and_then(|kind| kind.value.as_ref())
    else {
        return Err(unsupported("of something that is no tensor".to_owned()));
    };
    let element = DataType::try_from(tensor.elem_type)
        .map_err(|_| unsupported(format!("number {}", tensor.elem_type)))?;
    let dtype = dtype(element).ok_or_else(|| unsupported(format!("{element:?}")))?;
    Ok(Port {
        name: info.name.clone(),
        dtype,
        dims: dims(tensor),
    })
}

fn dims(tensor: &type_proto::Tensor) -> Vec<Dim> {
    let dims = tensor.shape.as_ref().map_or(&[][..], |shape| &shape.dim);
    dims.iter().map(dim).collect()
}

fn dim(dim: &Dimension) -> Dim {
    match &dim.value {
        Some(dimension::Value::DimValue(size)) => {
            usize::try_from(*size).map_or(Dim::Any, Dim::Fixed)
        }
        Some(dimension::Value::DimParam(name)) if !name.is_empty() => Dim::Symbol(name.clone()),
        Some(dimension::Value::DimParam(_)) | None => Dim::Any,
    }
}

fn dtype(element: DataType) -> Option<DType> {
    match element {
        DataType::Float => Some(DType::F32),
        DataType::Float16 => Some(DType::F16),
        DataType::Int64 => Some(DType::I64),
        DataType::Int32 => Some(DType::I32),
        DataType::Uint8 => Some(DType::U8),
        DataType::Bool => Some(DType::Bool),
        _ => None,
    }
}

pub(super) fn from_tensor(tensor: HostTensor) -> TractResult<TValue> {
    fn wrap<T: Datum>(shape: Vec<usize>, values: Vec<T>) -> TractResult<Tensor> {
        Ok(ArrayD::from_shape_vec(shape, values)?.into_tensor())
    }
    let (shape, data) = tensor.into_parts();
    let tensor = match data {
        Data::F32(values) => wrap(shape, values),
        Data::F16(values) => wrap(shape, values),
        Data::I64(values) => wrap(shape, values),
        Data::I32(values) => wrap(shape, values),
        Data::U8(values) => wrap(shape, values),
        Data::Bool(values) => wrap(shape, values),
        Data::BF16(_) => Err(no_bf16()),
    };
    Ok(tensor?.into_tvalue())
}

/// A result in tract's memory.
struct Kept {
    dtype: DType,
    tensor: Arc<Tensor>,
}

impl Held for Kept {
    fn dtype(&self) -> DType {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        self.tensor.shape()
    }

    fn tensor(&self) -> Result<HostTensor, BackendError> {
        to_tensor(&self.tensor).map_err(|error| BackendError::Run {
            runtime: Runtime::Tract,
            reason: format!("{error:#}"),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Keeps a result; symbolic integers, which tract uses for shapes, become plain ones.
pub(super) fn kept(value: TValue) -> TractResult<Arc<dyn Held>> {
    let tensor = match value.datum_type() {
        DatumType::TDim => value.cast_to::<i64>()?.into_owned().into_arc_tensor(),
        _ => value.into_arc_tensor(),
    };
    let dtype = match tensor.datum_type() {
        DatumType::F32 => DType::F32,
        DatumType::F16 => DType::F16,
        DatumType::I64 => DType::I64,
        DatumType::I32 => DType::I32,
        DatumType::U8 => DType::U8,
        DatumType::Bool => DType::Bool,
        other => return Err(TractError::msg(format!("an output has the type {other:?}"))),
    };
    Ok(Arc::new(Kept { dtype, tensor }))
}

/// The value itself if tract made it, else a copy.
pub(super) fn from_held(held: &dyn Held) -> TractResult<TValue> {
    match held.as_any().downcast_ref::<Kept>() {
        Some(kept) => Ok(Arc::clone(&kept.tensor).into_tvalue()),
        None => from_tensor(held.tensor()?),
    }
}

/// Copies the elements.
fn to_tensor(value: &Tensor) -> TractResult<HostTensor> {
    fn elements<T: Datum + Element>(value: &Tensor) -> TractResult<Vec<T>> {
        Ok(value.to_plain_array_view::<T>()?.iter().copied().collect())
    }
    let data: Data = match value.datum_type() {
        DatumType::F32 => elements::<f32>(value)?.into(),
        DatumType::F16 => elements::<f16>(value)?.into(),
        DatumType::I64 => elements::<i64>(value)?.into(),
        DatumType::I32 => elements::<i32>(value)?.into(),
        DatumType::U8 => elements::<u8>(value)?.into(),
        DatumType::Bool => elements::<bool>(value)?.into(),
        other => return Err(TractError::msg(format!("an output has the type {other:?}"))),
    };
    Ok(HostTensor::new(value.shape(), data)?)
}

fn no_bf16() -> TractError {
    TractError::msg("tract has no bf16")
}
