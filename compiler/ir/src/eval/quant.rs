//! Quantised values in numbers.

use ndarray::{ArrayD, ArrayView1, Axis, IxDyn};

use super::{Array, Eval, EvalError, Evaluated, Values, axis_of, eval_op, fail};
use crate::fact::Dtype;
use crate::narrow;
use crate::op::*;

/// How scales lie beside the numbers they belong to.
#[derive(Clone, Copy)]
struct Layout {
    axis: Option<usize>,
    block: Option<usize>,
}

impl Layout {
    fn new(axis: Option<i64>, block: Option<usize>, rank: usize) -> Result<Self, EvalError> {
        let axis = axis.map(|axis| axis_of(axis, rank)).transpose()?;
        Ok(Self { axis, block })
    }

    /// The shape of the scales.
    fn shape(self, of: &[usize]) -> Vec<usize> {
        match (self.axis, self.block) {
            (None, _) => Vec::new(),
            (Some(axis), None) => vec![of[axis]],
            (Some(axis), Some(block)) => {
                let mut shape = of.to_vec();
                shape[axis] /= block.max(1);
                shape
            }
        }
    }

    /// Where the scale of a number stands.
    fn at(self, number: &IxDyn) -> IxDyn {
        match (self.axis, self.block) {
            (None, _) => IxDyn(&[]),
            (Some(axis), None) => IxDyn(&[number[axis]]),
            (Some(axis), Some(block)) => {
                let mut at = number.clone();
                at[axis] /= block.max(1);
                at
            }
        }
    }

    /// `f` of each number and its scale.
    fn map(self, x: &ArrayD<f32>, scale: &ArrayD<f32>, f: impl Fn(f32, f32) -> f32) -> Evaluated {
        if scale.shape() != self.shape(x.shape()) {
            return fail("the scales do not fit");
        }
        let y = ArrayD::from_shape_fn(x.raw_dim(), |at| f(x[&at], scale[self.at(&at)]));
        Ok(Array::F32(y))
    }
}

impl Eval for WeightScale {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let x = values.float(0)?;
        let largest = self.largest.map(f32::from).or(narrow::largest(self.to));
        let largest =
            largest.ok_or_else(|| EvalError(format!("nothing is quantised to {}", self.to)))?;
        let layout = Layout::new(self.axis, self.block, x.ndim())?;
        let mut magnitudes = ArrayD::<f32>::zeros(layout.shape(x.shape()));
        for (at, x) in x.indexed_iter() {
            let most = &mut magnitudes[layout.at(&at)];
            *most = most.max(x.abs());
        }
        Ok(Array::F32(
            magnitudes.mapv(|most| narrow::scale_for(most, largest)),
        ))
    }
}

impl Eval for Quantize {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (x, scale) = (values.float(0)?, values.float(1)?);
        let layout = Layout::new(self.axis, self.block, x.ndim())?;
        let y = layout.map(x, scale, |x, scale| narrow::quantize(self.to, x, scale))?;
        match (y, self.to.is_float()) {
            (Array::F32(y), false) => Ok(Array::I64(y.mapv(|x| x as i64))),
            (y, _) => Ok(y),
        }
    }
}

impl Eval for Dequantize {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let x = match values.get(0)? {
            Array::F32(x) => x.clone(),
            Array::I64(x) => x.mapv(|x| x as f32),
            Array::Bool(_) => return fail("truth values have no scale"),
        };
        let layout = Layout::new(self.axis, self.block, x.ndim())?;
        layout.map(&x, values.float(1)?, |x, scale| x * scale)
    }
}

impl Eval for OrtPackNibbles {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let Array::I64(x) = values.get(0)? else {
            return fail(format!("numbers of {} are needed", Dtype::I4));
        };
        let (rows, columns) = (x.shape()[0], x.shape()[1]);
        let x = x.as_standard_layout();
        let pairs = x.as_slice().unwrap_or_default().chunks(2);
        let bytes = pairs.map(|pair| (pair[0] + 8) | ((pair[1] + 8) << 4));
        Array::i64(
            &[rows, columns / self.block, self.block / 2],
            bytes.collect(),
        )
    }
}

impl Eval for OrtMatmulNbits {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (Array::I64(w), scale) = (values.get(1)?, values.float(2)?) else {
            return fail(format!("packed weights of {} are needed", Dtype::U8));
        };
        let (rows, blocks) = (w.shape()[0], w.shape()[1]);
        let numbers = w.iter().flat_map(|byte| [(byte & 15) - 8, (byte >> 4) - 8]);
        let scales = scale
            .iter()
            .flat_map(|scale| std::iter::repeat_n(*scale, self.block));
        let wide = numbers
            .zip(scales)
            .map(|(number, scale)| number as f32 * scale);
        let wide = Array::f32(&[rows, blocks * self.block], wide.collect())?;
        let ports = [values.optional(0), Some(&wide), values.optional(3)];
        eval_op(&Linear {}.into(), &ports, &|_| None)
    }
}

/// ONNX `DynamicQuantizeLinear`: 8 bits without a sign over the range of all values and 0. The numbers minus the zero
/// point, and the scale.
fn dynamic(x: &ArrayD<f32>) -> (ArrayD<f64>, f32) {
    let low = x.iter().fold(0.0f32, |low, x| x.min(low));
    let high = x.iter().fold(0.0f32, |high, x| x.max(high));
    let scale = narrow::scale_for(high - low, 255.0);
    let saturated = |x: f32| x.clamp(0.0, 255.0);
    let zero = saturated((-low / scale).round_ties_even());
    let steps = x.mapv(|x| saturated((x / scale).round_ties_even() + zero) - zero);
    (steps.mapv(f64::from), scale)
}

impl Eval for OrtDynamicQuantizeMatmul {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (x, Array::I64(w), scale) = (values.float(0)?, values.get(1)?, values.float(2)?) else {
            return fail(format!("weights of {} are needed", Dtype::I8));
        };
        let b = values.optional_float(3)?;
        let unfit = |e: ndarray::ShapeError| EvalError(e.to_string());
        let w = w
            .mapv(|x| x as f64)
            .into_dimensionality::<ndarray::Ix2>()
            .map_err(unfit)?;
        let (steps, x_scale) = dynamic(x);
        let lanes = steps.lanes(Axis(steps.ndim() - 1));
        let mut y = Vec::new();
        for row in lanes {
            let row: ArrayView1<'_, f64> = row;
            let sums = row.dot(&w);
            let scaled = sums
                .iter()
                .zip(scale)
                .map(|(sum, scale)| *sum as f32 * (x_scale * scale));
            y.extend(scaled.enumerate().map(|(i, y)| y + b.map_or(0.0, |b| b[i])));
        }
        let mut shape = x.shape().to_vec();
        *shape
            .last_mut()
            .ok_or_else(|| EvalError("no axis".into()))? = w.ncols();
        Array::f32(&shape, y)
    }
}

impl Eval for TrtFp4DynamicQuantize {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (x, whole) = (values.float(0)?, values.float(1)?);
        let whole = whole.first().copied().unwrap_or(1.0);
        let largest = narrow::largest(Dtype::F4e2m1).unwrap_or(1.0);
        let x = x.as_standard_layout();
        let mut y = Vec::with_capacity(x.len());
        for block in x.as_slice().unwrap_or_default().chunks(self.block) {
            let most = block.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            let scale = narrow::scale_for(most, largest);
            let scale = narrow::quantize(Dtype::F8e4m3, scale, whole) * whole;
            let back = |x: &f32| narrow::quantize(Dtype::F4e2m1, *x, scale) * scale;
            y.extend(block.iter().map(back));
        }
        Array::f32(x.shape(), y)
    }
}
