//! What every operation means in numbers: a plain interpreter in f32 and i64.
//!
//! It is the yardstick of the rewrites and the evaluator of constants, not a runtime: clear first, never fast.
//! Floats of fewer bits are modelled: an operation on them computes in f32 and rounds its result once.

mod elementwise;
mod nn;
mod quant;
mod shape;

use std::collections::{BTreeMap, HashMap};

use ndarray::{ArrayD, IxDyn};
use thiserror::Error;

use crate::fact::Dtype;
use crate::graph::{Graph, NodeId};
use crate::narrow;
use crate::op::Op;
use crate::size::Size;

/// A tensor of the interpreter.
#[derive(Clone, Debug, PartialEq)]
pub enum Array {
    /// Floats, of any width.
    F32(ArrayD<f32>),
    /// Whole numbers, of either width.
    I64(ArrayD<i64>),
    /// Truth values.
    Bool(ArrayD<bool>),
}

/// Why a value could not be computed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct EvalError(pub String);

pub(crate) type Evaluated = Result<Array, EvalError>;

/// Input values by port and the values of the run-time sizes.
pub(crate) struct Values<'a> {
    ports: &'a [Option<&'a Array>],
    sizes: &'a dyn Fn(&str) -> Option<i64>,
}

/// How an operation is computed.
pub(crate) trait Eval {
    fn eval(&self, values: &Values<'_>) -> Evaluated;
}

/// Computes one operation.
pub fn eval_op(
    op: &Op,
    ports: &[Option<&Array>],
    sizes: &dyn Fn(&str) -> Option<i64>,
) -> Evaluated {
    op.as_eval().eval(&Values { ports, sizes })
}

/// Computes a graph's outputs from inputs by name and weights by key.
pub fn eval(
    graph: &Graph,
    inputs: &BTreeMap<String, Array>,
    weights: &dyn Fn(&str) -> Option<Array>,
    sizes: &BTreeMap<String, i64>,
) -> Result<BTreeMap<String, Array>, EvalError> {
    let mut values: HashMap<NodeId, Array> = HashMap::new();
    for id in graph.order() {
        let node = graph.node(id);
        let value = match &node.op {
            Op::Input(_) => inputs
                .get(&node.name)
                .cloned()
                .ok_or_else(|| EvalError(format!("input `{}` is missing", node.name)))?,
            Op::Weight(weight) => weights(&weight.key)
                .ok_or_else(|| EvalError(format!("weight `{}` is missing", weight.key)))?,
            op => {
                let ports = graph.inputs_of(id);
                let ports: Vec<Option<&Array>> = ports
                    .iter()
                    .map(|port| port.and_then(|id| values.get(&id)))
                    .collect();
                eval_op(op, &ports, &|name| sizes.get(name).copied())
                    .map_err(|e| EvalError(format!("`{}`: {e}", node.name)))?
            }
        };
        values.insert(id, value.rounded_to(node.fact.dtype));
    }
    Ok(graph
        .graph_outputs()
        .iter()
        .map(|(name, id)| (name.clone(), values[id].clone()))
        .collect())
}

pub(crate) fn fail<T>(why: impl Into<String>) -> Result<T, EvalError> {
    Err(EvalError(why.into()))
}

impl Array {
    /// Sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::F32(array) => array.shape(),
            Self::I64(array) => array.shape(),
            Self::Bool(array) => array.shape(),
        }
    }

    /// Element type; floats count as f32, whole numbers as i64.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::F32(_) => Dtype::F32,
            Self::I64(_) => Dtype::I64,
            Self::Bool(_) => Dtype::Bool,
        }
    }

    /// The same numbers, floats rounded to a type of fewer bits.
    pub fn rounded_to(self, dtype: Dtype) -> Self {
        match self {
            Self::F32(array) if dtype != Dtype::F32 => {
                Self::F32(array.mapv_into(|x| narrow::round(dtype, x)))
            }
            other => other,
        }
    }

    /// Floats in row-major order.
    pub fn f32(shape: &[usize], data: Vec<f32>) -> Evaluated {
        ArrayD::from_shape_vec(IxDyn(shape), data)
            .map(Self::F32)
            .map_err(|e| EvalError(e.to_string()))
    }

    /// Whole numbers in row-major order.
    pub fn i64(shape: &[usize], data: Vec<i64>) -> Evaluated {
        ArrayD::from_shape_vec(IxDyn(shape), data)
            .map(Self::I64)
            .map_err(|e| EvalError(e.to_string()))
    }
}

impl<'a> Values<'a> {
    pub(crate) fn get(&self, i: usize) -> Result<&'a Array, EvalError> {
        self.optional(i)
            .ok_or_else(|| EvalError(format!("input {i} has no value")))
    }

    pub(crate) fn optional(&self, i: usize) -> Option<&'a Array> {
        self.ports.get(i).copied().flatten()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &'a Array> {
        self.ports.iter().copied().flatten()
    }

    pub(crate) fn float(&self, i: usize) -> Result<&'a ArrayD<f32>, EvalError> {
        as_float(self.get(i)?)
    }

    pub(crate) fn optional_float(&self, i: usize) -> Result<Option<&'a ArrayD<f32>>, EvalError> {
        self.optional(i).map(as_float).transpose()
    }

    pub(crate) fn size(&self, size: &Size) -> Result<usize, EvalError> {
        let value = size.eval(self.sizes).and_then(|n| usize::try_from(n).ok());
        value.ok_or_else(|| EvalError(format!("size `{size}` has no value")))
    }

    pub(crate) fn shape(&self, shape: &[Size]) -> Result<IxDyn, EvalError> {
        Ok(IxDyn(
            &shape
                .iter()
                .map(|size| self.size(size))
                .collect::<Result<Vec<_>, _>>()?,
        ))
    }
}

fn as_float(array: &Array) -> Result<&ArrayD<f32>, EvalError> {
    match array {
        Array::F32(array) => Ok(array),
        other => fail(format!("floats are needed, {} are given", other.dtype())),
    }
}

pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize, EvalError> {
    crate::fact::resolve_axis(axis, rank)
        .ok_or_else(|| EvalError(format!("there is no axis {axis} of {rank}")))
}
