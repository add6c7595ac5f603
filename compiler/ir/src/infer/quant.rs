//! Types of quantised values.

use super::{Infer, InferError, Inputs, fail};
use crate::fact::{Dtype, Fact, resolve_axis};
use crate::narrow;
use crate::op::*;
use crate::size::Size;

/// The shape of the scales of `x`: that of its axis, or a scalar.
fn scales(x: &Fact, to: Dtype, axis: Option<i64>) -> Result<Vec<Size>, InferError> {
    if narrow::largest(to).is_none() {
        return fail(format!("nothing is quantised to {to}; i8 and f8e4m3 are"));
    }
    let Some(axis) = axis else {
        return Ok(Vec::new());
    };
    match resolve_axis(axis, x.rank()) {
        Some(axis) => Ok(vec![x.shape[axis].clone()]),
        None => fail(format!("{x} has no axis {axis}")),
    }
}

impl Infer for WeightScale {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        let most = narrow::largest(self.to).unwrap_or_default();
        match self.largest {
            Some(largest) if largest == 0 || f32::from(largest) > most => fail(format!(
                "{} holds numbers of 1 to {most}, not {largest}",
                self.to
            )),
            _ => Ok(x.with_shape(scales(x, self.to, self.axis)?)),
        }
    }
}

impl Infer for Quantize {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        inputs.expect(1, &scales(x, self.to, self.axis)?)?;
        Ok(Fact {
            dtype: self.to,
            ..x.clone()
        })
    }
}

impl Infer for OrtDynamicQuantizeMatmul {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let (x, w) = (inputs.float(0)?, inputs.get(1)?);
        let [rows, columns] = w.shape.as_slice() else {
            return fail(format!("port `w` needs 2 axes, not {w}"));
        };
        let Some((last, lead)) = x.shape.split_last() else {
            return fail("a product needs at least one axis".into());
        };
        if w.dtype != Dtype::I8 || rows != last || x.dtype != Dtype::F32 {
            return fail(format!("{x} and {w} have no product of 8 bits"));
        }
        inputs.expect(2, std::slice::from_ref(columns))?;
        inputs.expect(3, std::slice::from_ref(columns))?;
        Ok(x.with_shape(lead.iter().chain([columns]).cloned().collect()))
    }
}
