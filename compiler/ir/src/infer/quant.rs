//! Types of quantised values.

use super::{Infer, InferError, Inputs, fail};
use crate::fact::{Dtype, Fact, resolve_axis};
use crate::narrow;
use crate::op::*;
use crate::size::Size;

/// The shape of the scales of `x`: a scalar, that of its axis, or its own with an axis in blocks.
fn scales(x: &Fact, axis: Option<i64>, block: Option<usize>) -> Result<Vec<Size>, InferError> {
    let Some(axis) = axis else {
        return match block {
            None => Ok(Vec::new()),
            Some(_) => fail("blocks need an axis".into()),
        };
    };
    let Some(axis) = resolve_axis(axis, x.rank()) else {
        return fail(format!("{x} has no axis {axis}"));
    };
    let Some(block) = block else {
        return Ok(vec![x.shape[axis].clone()]);
    };
    let blocks = x.shape[axis].div_exact(&Size::from(block as i64));
    let Some(blocks) = blocks.filter(|_| block > 0) else {
        return fail(format!(
            "axis {axis} of {x} is not made of blocks of {block}"
        ));
    };
    let mut shape = x.shape.clone();
    shape[axis] = blocks;
    Ok(shape)
}

/// The same for numbers that become `to`.
fn scales_to(
    x: &Fact,
    to: Dtype,
    axis: Option<i64>,
    block: Option<usize>,
) -> Result<Vec<Size>, InferError> {
    match narrow::largest(to) {
        Some(_) => scales(x, axis, block),
        None => fail(format!(
            "nothing is quantised to {to}; i8, i4, f8e4m3 and f4e2m1 are"
        )),
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
            _ => Ok(x.with_shape(scales_to(x, self.to, self.axis, self.block)?)),
        }
    }
}

impl Infer for Quantize {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        inputs.expect(1, &scales_to(x, self.to, self.axis, self.block)?)?;
        Ok(Fact {
            dtype: self.to,
            ..x.clone()
        })
    }
}

impl Infer for Dequantize {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let (x, scale) = (inputs.get(0)?, inputs.float(1)?);
        let shape = scales_to(x, x.dtype, self.axis, self.block)?;
        match scale.shape == shape {
            true => Ok(scale.with_shape(x.shape.clone())),
            false => fail(format!(
                "port `scale` must be {}, not {scale}",
                scale.with_shape(shape)
            )),
        }
    }
}

impl Infer for OrtPackNibbles {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.get(0)?;
        let blocks = scales(x, Some(-1), Some(self.block))?;
        if x.dtype != Dtype::I4 || x.rank() != 2 || !self.block.is_multiple_of(2) {
            return fail(format!("{x} is not packed in blocks of {}", self.block));
        }
        let bytes = Size::from(self.block as i64 / 2);
        Ok(Fact::new(Dtype::U8, blocks.into_iter().chain([bytes])))
    }
}

impl Infer for OrtMatmulNbits {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let (x, w) = (inputs.float(0)?, inputs.get(1)?);
        let Some((last, lead)) = x.shape.split_last() else {
            return fail("a product needs at least one axis".into());
        };
        let whole = |blocks: &Size| blocks.clone() * Size::from(self.block as i64) == *last;
        let packed = Some(Size::from(self.block as i64 / 2));
        let fits = w.dtype == Dtype::U8 && w.shape.get(2) == packed.as_ref();
        if !fits || w.rank() != 3 || !whole(&w.shape[1]) {
            return fail(format!(
                "{x} and {w} have no product in blocks of {}",
                self.block
            ));
        }
        if !self.block.is_power_of_two() || self.block < 16 || self.accuracy_level > 4 {
            return fail("blocks are powers of two from 16, accuracy levels 0 to 4".into());
        }
        inputs.expect(2, &w.shape[..2])?;
        inputs.expect(3, &w.shape[..1])?;
        Ok(x.with_shape(lead.iter().chain([&w.shape[0]]).cloned().collect()))
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

impl Infer for TrtFp4DynamicQuantize {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        scales(x, Some(-1), Some(self.block))?;
        let scale = inputs.float(1)?;
        match scale.dtype == Dtype::F32 && scale.rank() == 0 {
            true => Ok(x.clone()),
            false => fail(format!("port `scale` must be f32[], not {scale}")),
        }
    }
}
