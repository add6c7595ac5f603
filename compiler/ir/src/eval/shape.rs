//! Leaves and operations that move elements, in numbers.

use ndarray::{ArrayD, Axis, IxDyn, Slice as Range, concatenate};

use super::{Array, Eval, EvalError, Evaluated, Values, axis_of, fail};
use crate::attrs::Literal;
use crate::fact::Dtype;
use crate::op::*;

/// Applies one function, generic over the element, to whatever an array holds.
macro_rules! each {
    ($array:expr, $x:ident => $body:expr) => {
        match $array {
            Array::F32($x) => Array::F32($body),
            Array::I64($x) => Array::I64($body),
            Array::Bool($x) => Array::Bool($body),
        }
    };
}

fn shape_error(error: ndarray::ShapeError) -> EvalError {
    EvalError(error.to_string())
}

impl Eval for Input {
    fn eval(&self, _: &Values<'_>) -> Evaluated {
        fail("an input has no value of its own")
    }
}

impl Eval for Weight {
    fn eval(&self, _: &Values<'_>) -> Evaluated {
        fail("a weight has no value of its own")
    }
}

impl Eval for Constant {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let shape = values.shape(&self.shape)?;
        match &self.data {
            Literal::Floats(data) => fill(shape, data).map(Array::F32),
            Literal::Ints(data) if self.dtype == Dtype::Bool => {
                fill(shape, data).map(|x| Array::Bool(x.mapv(|x| x != 0)))
            }
            Literal::Ints(data) if self.dtype.is_float() => {
                fill(shape, data).map(|x| Array::F32(x.mapv(|x| x as f32)))
            }
            Literal::Ints(data) => fill(shape, data).map(Array::I64),
        }
    }
}

fn fill<T: Copy>(shape: IxDyn, data: &[T]) -> Result<ArrayD<T>, EvalError> {
    match data {
        [one] => Ok(ArrayD::from_elem(shape, *one)),
        _ => ArrayD::from_shape_vec(shape, data.to_vec()).map_err(shape_error),
    }
}

impl Eval for Iota {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let n = values.size(&self.n)?;
        match self.dtype.is_float() {
            true => Array::f32(&[n], (0..n).map(|i| i as f32).collect()),
            false => Array::i64(&[n], (0..n as i64).collect()),
        }
    }
}

impl Eval for Linspace {
    /// From both ends towards the middle with one fused step, as torch does in f32.
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let n = values.size(&self.n)?;
        let (start, end) = (self.start as f32, self.end as f32);
        let step = if n > 1 {
            (end - start) / (n - 1) as f32
        } else {
            0.0
        };
        let at = |i: usize| match i < n / 2 {
            true => step.mul_add(i as f32, start),
            false => (-step).mul_add((n - 1 - i) as f32, end),
        };
        let data = if n == 1 {
            vec![start]
        } else {
            (0..n).map(at).collect()
        };
        Array::f32(&[n], data)
    }
}

impl Eval for Reshape {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let shape = values.shape(&self.to)?;
        Ok(each!(values.get(0)?, x => reshape(x, shape)?))
    }
}

fn reshape<T: Clone>(x: &ArrayD<T>, shape: IxDyn) -> Result<ArrayD<T>, EvalError> {
    x.as_standard_layout()
        .into_owned()
        .into_shape_with_order(shape)
        .map_err(shape_error)
}

impl Eval for Transpose {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        Ok(
            each!(values.get(0)?, x => x.clone().permuted_axes(IxDyn(&self.perm)).as_standard_layout().into_owned()),
        )
    }
}

impl Eval for Slice {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let x = values.get(0)?;
        let axis = Axis(axis_of(self.axis, x.shape().len())?);
        let size = x.shape()[axis.0] as i64;
        let place = |at: i64| if at < 0 { at + size } else { at };
        let (start, end) = (place(self.start), self.end.map_or(size, place));
        if start < 0 || end < start || size < end {
            return fail(format!("an axis of {size} has no positions {start}..{end}"));
        }
        let range = Range::from(start as isize..end as isize);
        Ok(each!(x, x => x.slice_axis(axis, range).to_owned()))
    }
}

impl Eval for Select {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let x = values.get(0)?;
        let axis = axis_of(self.axis, x.shape().len())?;
        let index = axis_of(self.index, x.shape()[axis])?;
        Ok(each!(x, x => x.index_axis(Axis(axis), index).to_owned()))
    }
}

impl Eval for Concat {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let axis = Axis(axis_of(self.axis, values.get(0)?.shape().len())?);
        macro_rules! join {
            ($variant:ident) => {{
                let parts: Vec<_> = values
                    .all()
                    .filter_map(|x| {
                        if let Array::$variant(x) = x {
                            Some(x.view())
                        } else {
                            None
                        }
                    })
                    .collect();
                concatenate(axis, &parts)
                    .map(|x| Array::$variant(x.as_standard_layout().into_owned()))
                    .map_err(shape_error)
            }};
        }
        match values.get(0)? {
            Array::F32(_) => join!(F32),
            Array::I64(_) => join!(I64),
            Array::Bool(_) => join!(Bool),
        }
    }
}

impl Eval for Expand {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let shape = values.shape(&self.to)?;
        Ok(
            each!(values.get(0)?, x => x.broadcast(shape).ok_or_else(|| EvalError("it does not expand".into()))?.to_owned()),
        )
    }
}

impl Eval for Pad {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let x = values.float(0)?;
        let axis = Axis(axis_of(self.axis, x.ndim())?);
        let side = |at: usize, n: usize| {
            let one = x.slice_axis(axis, Range::from(at..=at));
            let mut shape = x.raw_dim();
            shape[axis.0] = n;
            match self.mode {
                PadMode::Zero => Ok(ArrayD::zeros(shape)),
                PadMode::Edge => one
                    .broadcast(shape)
                    .map(|v| v.to_owned())
                    .ok_or_else(|| EvalError("empty axis".into())),
            }
        };
        let last = x.shape()[axis.0]
            .checked_sub(1)
            .ok_or_else(|| EvalError("empty axis".into()))?;
        let (before, after) = (side(0, self.before)?, side(last, self.after)?);
        let joined =
            concatenate(axis, &[before.view(), x.view(), after.view()]).map_err(shape_error)?;
        Ok(Array::F32(joined.as_standard_layout().into_owned()))
    }
}

impl Eval for Gather {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (table, Array::I64(ids)) = (values.get(0)?, values.get(1)?) else {
            return fail("`ids` needs whole numbers");
        };
        let axis = axis_of(self.axis, table.shape().len())?;
        let size = table.shape()[axis];
        let flat = ids.iter().map(|id| axis_of(*id, size));
        let flat = flat.collect::<Result<Vec<_>, _>>()?;
        let mut shape = table.shape().to_vec();
        shape.splice(axis..=axis, ids.shape().iter().copied());
        Ok(each!(table, table => reshape(&table.select(Axis(axis), &flat), IxDyn(&shape))?))
    }
}
