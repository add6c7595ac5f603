//! Types of leaves and of operations that move elements.

use super::{Infer, InferError, Inputs, fail};
use crate::fact::{Dtype, Fact, resolve_axis};
use crate::op::*;
use crate::size::Size;

fn axis_of(axis: i64, fact: &Fact) -> Result<usize, InferError> {
    resolve_axis(axis, fact.rank()).ok_or_else(|| InferError(format!("{fact} has no axis {axis}")))
}

impl Infer for Input {
    fn infer(&self, _: &Inputs<'_>) -> Result<Fact, InferError> {
        Ok(Fact::new(self.dtype, self.shape.iter().cloned()))
    }
}

impl Infer for Weight {
    fn infer(&self, _: &Inputs<'_>) -> Result<Fact, InferError> {
        let fact = Fact::new(self.dtype, self.shape.iter().cloned());
        match fact.const_shape() {
            Some(_) => Ok(fact),
            None => fail(format!(
                "weight `{}` needs a fixed shape, not {fact}",
                self.key
            )),
        }
    }
}

/// Most elements of a constant; everything larger is a weight.
const MAX_CONSTANT: usize = 1 << 24;

impl Infer for Constant {
    fn infer(&self, _: &Inputs<'_>) -> Result<Fact, InferError> {
        let fact = Fact::new(self.dtype, self.shape.iter().cloned());
        let Some(shape) = fact.const_shape() else {
            return fail(format!("a constant cannot be {fact}"));
        };
        let elements = shape
            .iter()
            .try_fold(1usize, |product, size| product.checked_mul(*size))
            .filter(|elements| *elements <= MAX_CONSTANT);
        let Some(elements) = elements else {
            return fail(format!(
                "a constant of {fact} is too large: at most {MAX_CONSTANT} elements are written"
            ));
        };
        match self.data.len() == elements || self.data.len() == 1 {
            true => Ok(fact),
            false => fail(format!(
                "{fact} has {elements} elements, {} are written",
                self.data.len()
            )),
        }
    }
}

impl Infer for Iota {
    fn infer(&self, _: &Inputs<'_>) -> Result<Fact, InferError> {
        Ok(Fact::new(self.dtype, [self.n.clone()]))
    }
}

impl Infer for Linspace {
    fn infer(&self, _: &Inputs<'_>) -> Result<Fact, InferError> {
        match self.n.as_const() {
            Some(n) if n >= 1 => Ok(Fact::new(Dtype::F32, [self.n.clone()])),
            _ => fail(format!(
                "linspace needs a fixed count of at least 1, not {}",
                self.n
            )),
        }
    }
}

impl Infer for Reshape {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.get(0)?;
        let result = x.with_shape(self.to.clone());
        match x.elements() == result.elements() {
            true => Ok(result),
            false => fail(format!(
                "{x} has {} elements, {result} has {}",
                x.elements(),
                result.elements()
            )),
        }
    }
}

impl Infer for Transpose {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.get(0)?;
        let mut seen = self.perm.clone();
        seen.sort_unstable();
        if seen != (0..x.rank()).collect::<Vec<_>>() {
            return fail(format!("{:?} is no order of the axes of {x}", self.perm));
        }
        Ok(x.with_shape(
            self.perm
                .iter()
                .map(|&axis| x.shape[axis].clone())
                .collect(),
        ))
    }
}

impl Infer for Slice {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.get(0)?;
        let axis = axis_of(self.axis, x)?;
        let from_end = |at: i64| {
            if at < 0 {
                x.shape[axis].clone() + at.into()
            } else {
                at.into()
            }
        };
        let end = self.end.map_or_else(|| x.shape[axis].clone(), from_end);
        let start = from_end(self.start);
        let backwards = |low: &Size, high: &Size| {
            let gap = high.clone() - low.clone();
            gap.as_const().is_some_and(|n| n < 0)
        };
        if backwards(&start, &end) {
            return fail(format!(
                "positions {start}..{end} of axis {axis} of {x} run backwards"
            ));
        }
        if backwards(&0.into(), &start) || backwards(&end, &x.shape[axis]) {
            return fail(format!(
                "axis {axis} of {x} has no positions {start}..{end}"
            ));
        }
        let mut shape = x.shape.clone();
        shape[axis] = end - start;
        Ok(x.with_shape(shape))
    }
}

impl Infer for Select {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.get(0)?;
        let axis = axis_of(self.axis, x)?;
        let mut shape = x.shape.clone();
        let size = shape.remove(axis);
        match size.as_const() {
            Some(n) if !(-n..n).contains(&self.index) => {
                fail(format!("axis {axis} of {x} has no position {}", self.index))
            }
            _ => Ok(x.with_shape(shape)),
        }
    }
}

impl Infer for Concat {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let first = inputs.get(0)?;
        let axis = axis_of(self.axis, first)?;
        let mut shape = first.shape.clone();
        shape[axis] = Size::from(0);
        for fact in inputs.all() {
            let differs = |i: usize| i != axis && fact.shape[i] != first.shape[i];
            if fact.dtype != first.dtype
                || fact.rank() != first.rank()
                || (0..fact.rank()).any(differs)
            {
                return fail(format!("{fact} cannot follow {first} along axis {axis}"));
            }
            shape[axis] = shape[axis].clone() + fact.shape[axis].clone();
        }
        Ok(first.with_shape(shape))
    }
}

impl Infer for Expand {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.get(0)?;
        match inputs.sizes.broadcast_shapes(&x.shape, &self.to) {
            Some(shape) if shape == self.to => Ok(x.with_shape(shape)),
            _ => fail(format!(
                "{x} does not expand to {}",
                x.with_shape(self.to.clone())
            )),
        }
    }
}

impl Infer for Pad {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.get(0)?;
        let axis = axis_of(self.axis, x)?;
        let mut shape = x.shape.clone();
        shape[axis] = shape[axis].clone() + Size::from((self.before + self.after) as i64);
        Ok(x.with_shape(shape))
    }
}

impl Infer for Gather {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let (table, ids) = (inputs.get(0)?, inputs.get(1)?);
        if !matches!(ids.dtype, Dtype::I64 | Dtype::I32) {
            return fail(format!("positions of {table} cannot be taken by {ids}"));
        }
        let axis = axis_of(self.axis, table)?;
        let mut shape = table.shape.clone();
        shape.splice(axis..=axis, ids.shape.iter().cloned());
        Ok(table.with_shape(shape))
    }
}

impl Infer for Mean {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        let mut shape = x.shape.clone();
        for &axis in &self.axes {
            shape[axis_of(axis, x)?] = Size::from(1);
        }
        Ok(x.with_shape(shape))
    }
}

impl Infer for Softmax {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError> {
        let x = inputs.float(0)?;
        axis_of(self.axis, x)?;
        Ok(x.clone())
    }
}
