//! Types of element-by-element operations.

use super::{Infer, InferError, Inputs, fail};
use crate::fact::{Dtype, Fact};
use crate::op::*;

fn broadcast(inputs: &Inputs<'_>, a: &Fact, b: &Fact) -> Result<Fact, InferError> {
    if a.dtype != b.dtype {
        return fail(format!(
            "{a} and {b} have different element types; cast one"
        ));
    }
    match inputs.sizes.broadcast_shapes(&a.shape, &b.shape) {
        Some(shape) => Ok(a.with_shape(shape)),
        None => fail(format!("{a} and {b} do not broadcast")),
    }
}

macro_rules! binary {
    ($($op:ident),*) => {$(
        impl Infer for $op {
            fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
                broadcast(inputs, inputs.get(0)?, inputs.get(1)?)
            }
        }
    )*};
}

macro_rules! same {
    ($($op:ident),*) => {$(
        impl Infer for $op {
            fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
                inputs.get(0).cloned()
            }
        }
    )*};
}

macro_rules! same_float {
    ($($op:ident),*) => {$(
        impl Infer for $op {
            fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
                inputs.float(0).cloned()
            }
        }
    )*};
}

binary!(Add, Sub, Mul, Div, Pow, Min, Max);
same!(Neg, Abs, Identity);
same_float!(Exp, Log, Sqrt, Sin, Cos, Floor, Sigmoid, Tanh, Silu, Gelu);

impl Infer for Less {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let both = broadcast(inputs, inputs.get(0)?, inputs.get(1)?)?;
        Ok(Fact {
            dtype: Dtype::Bool,
            ..both
        })
    }
}

impl Infer for Where {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let cond = inputs.get(0)?;
        if cond.dtype != Dtype::Bool {
            return fail(format!("port `cond` needs truth values, not {cond}"));
        }
        let branches = broadcast(inputs, inputs.get(1)?, inputs.get(2)?)?;
        broadcast(
            inputs,
            &Fact {
                dtype: branches.dtype,
                ..cond.clone()
            },
            &branches,
        )
    }
}

impl Infer for Cast {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        Ok(Fact {
            dtype: self.to,
            ..inputs.get(0)?.clone()
        })
    }
}
