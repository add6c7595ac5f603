//! Types of products, convolutions, norms and attention.

use super::{Infer, InferError, Inputs, fail};
use crate::fact::{Dtype, Fact, resolve_axis};
use crate::op::*;
use crate::size::Size;

impl Infer for Matmul {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let (a, b) = (inputs.float(0)?, inputs.float(1)?);
        let fits = a.rank() >= 2 && b.rank() >= 2 && a.dtype == b.dtype;
        if !fits || a.shape[a.rank() - 1] != b.shape[b.rank() - 2] {
            return fail(format!("{a} and {b} have no matrix product"));
        }
        let (left, right) = (&a.shape[..a.rank() - 2], &b.shape[..b.rank() - 2]);
        let Some(mut shape) = inputs.sizes.broadcast_shapes(left, right) else {
            return fail(format!("the leading axes of {a} and {b} do not broadcast"));
        };
        shape.extend([a.shape[a.rank() - 2].clone(), b.shape[b.rank() - 1].clone()]);
        Ok(a.with_shape(shape))
    }
}

impl Infer for Linear {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let (x, w) = (inputs.float(0)?, inputs.rank(1, 2)?);
        inputs.one_dtype()?;
        let Some((last, lead)) = x.shape.split_last() else {
            return fail("linear needs at least one axis".into());
        };
        if w.shape[1] != *last {
            return fail(format!(
                "{x} has {last} features, the weight {w} takes {}",
                w.shape[1]
            ));
        }
        inputs.expect(2, &w.shape[..1])?;
        Ok(x.with_shape(lead.iter().chain([&w.shape[0]]).cloned().collect()))
    }
}

impl Infer for Conv3d {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let (x, w) = (inputs.rank(0, 5)?, inputs.rank(1, 5)?);
        inputs.one_dtype()?;
        if x.shape[1] != w.shape[1] {
            return fail(format!(
                "{x} has {} channels, the weight {w} takes {}",
                x.shape[1], w.shape[1]
            ));
        }
        inputs.expect(2, &w.shape[..1])?;
        let mut shape = vec![x.shape[0].clone(), w.shape[0].clone()];
        for axis in 0..3 {
            shape.push(self.extent(axis, &x.shape[axis + 2], &w.shape[axis + 2])?);
        }
        Ok(x.with_shape(shape))
    }
}

impl Conv3d {
    fn extent(&self, axis: usize, size: &Size, kernel: &Size) -> Result<Size, InferError> {
        let (stride, pad) = (self.stride[axis] as i64, self.pad[axis] as i64);
        let span = size.clone() + Size::from(2 * pad) - kernel.clone();
        match span.div_floor(stride) {
            Some(steps) => Ok(steps + 1.into()),
            None => fail(format!(
                "a size of {size} cannot be stepped by {stride} for every value; declare it as a multiple"
            )),
        }
    }
}

impl Infer for RmsNorm {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        let Some(axis) = resolve_axis(self.axis, x.rank()) else {
            return fail(format!("{x} has no axis {}", self.axis));
        };
        inputs.expect(1, &x.shape[axis..=axis])?;
        Ok(x.clone())
    }
}

impl Infer for LayerNorm {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        let Some(last) = x.shape.last() else {
            return fail("layer_norm needs at least one axis".into());
        };
        inputs.expect(1, std::slice::from_ref(last))?;
        inputs.expect(2, std::slice::from_ref(last))?;
        Ok(x.clone())
    }
}

impl Infer for GroupNorm {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        let Some(channels) = x.shape.get(1) else {
            return fail("group_norm needs an axis of channels, axis 1".into());
        };
        let split = i64::try_from(self.groups)
            .ok()
            .and_then(|groups| channels.div_exact(&groups.into()));
        if split.is_none() {
            return fail(format!(
                "{channels} channels do not make {} groups",
                self.groups
            ));
        }
        inputs.expect(1, std::slice::from_ref(channels))?;
        inputs.expect(2, std::slice::from_ref(channels))?;
        Ok(x.clone())
    }
}

impl Infer for Rope {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        let half = x.shape.last().and_then(|size| size.div_exact(&2.into()));
        let Some(half) = half else {
            return fail(format!("{x} has no even last axis"));
        };
        let mut want = x.shape.clone();
        *want.last_mut().expect("the last axis was divided") = half;
        for table in [inputs.get(1)?, inputs.get(2)?] {
            let shape = inputs.sizes.broadcast_shapes(&table.shape, &want);
            if table.dtype != x.dtype || shape.as_ref() != Some(&want) {
                return fail(format!(
                    "a table of {table} does not fit {x}: one column per pair of channels"
                ));
            }
        }
        Ok(x.clone())
    }
}

impl Infer for OnnxRotaryEmbedding {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let (x, ids) = (inputs.rank(0, 3)?, inputs.get(3)?);
        let half = x.shape[2].div_exact(&2.into());
        let half = half.map_or_else(|| fail(format!("{x} has no even last axis")), Ok)?;
        let (cos, sin) = (inputs.rank(1, 2)?, inputs.rank(2, 2)?);
        let fits = cos == sin && cos.dtype == x.dtype && cos.shape[1] == half;
        if !fits || ids.dtype != Dtype::I64 || ids.shape != x.shape[..2] {
            return fail(format!(
                "tables {cos} and {sin} with rows {ids} do not fit {x}: one column per pair of channels, one row per position"
            ));
        }
        Ok(x.clone())
    }
}

/// The type of attention over packed heads.
fn attention(inputs: &Inputs<'_>, heads: usize) -> Result<Fact, InferError> {
    let (q, k, v) = (inputs.rank(0, 3)?, inputs.rank(1, 3)?, inputs.rank(2, 3)?);
    inputs.one_dtype()?;
    let heads = Size::from(heads as i64);
    let split = |fact: &Fact| fact.shape[2].div_exact(&heads).is_some();
    let keys_fit =
        k.shape[..2] == v.shape[..2] && k.shape[2] == q.shape[2] && k.shape[0] == q.shape[0];
    if !keys_fit || !split(q) || !split(v) {
        return fail(format!(
            "queries {q}, keys {k} and values {v} do not make {heads} heads"
        ));
    }
    if let Some(mask) = inputs.optional(3) {
        let scores = [
            q.shape[0].clone(),
            heads,
            q.shape[1].clone(),
            k.shape[1].clone(),
        ];
        if inputs
            .sizes
            .broadcast_shapes(&mask.shape, &scores)
            .as_deref()
            != Some(&scores)
        {
            return fail(format!(
                "a mask of {mask} does not broadcast to {}",
                mask.with_shape(scores.to_vec())
            ));
        }
    }
    Ok(q.with_shape(vec![
        q.shape[0].clone(),
        q.shape[1].clone(),
        v.shape[2].clone(),
    ]))
}

impl Infer for Sdpa {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        attention(inputs, self.heads)
    }
}

impl Infer for OrtMultiHeadAttention {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        attention(inputs, self.heads)
    }
}

impl Infer for OnnxAttention {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        attention(inputs, self.heads)
    }
}
