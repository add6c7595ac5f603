//! Quantised values in numbers.

use ndarray::{ArrayD, ArrayView1, Axis, IxDyn};

use super::{Array, Eval, EvalError, Evaluated, Values, axis_of, fail};
use crate::fact::Dtype;
use crate::narrow;
use crate::op::*;

fn magnitude<'a>(values: impl IntoIterator<Item = &'a f32>) -> f32 {
    values.into_iter().fold(0.0, |most, x| x.abs().max(most))
}

impl Eval for WeightScale {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let x = values.float(0)?;
        let largest = self.largest.map(f32::from).or(narrow::largest(self.to));
        let largest =
            largest.ok_or_else(|| EvalError(format!("nothing is quantised to {}", self.to)))?;
        let scale = |magnitude| narrow::scale_for(magnitude, largest);
        let Some(axis) = self.axis else {
            return Array::f32(&[], vec![scale(magnitude(x))]);
        };
        let parts = x.axis_iter(Axis(axis_of(axis, x.ndim())?));
        let scales: Vec<f32> = parts.map(|part| scale(magnitude(&part))).collect();
        Array::f32(&[scales.len()], scales)
    }
}

impl Eval for Quantize {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (x, scale) = (values.float(0)?, values.float(1)?);
        let mut shape = vec![1; x.ndim()];
        if let Some(axis) = self.axis {
            shape[axis_of(axis, x.ndim())?] = scale.len();
        }
        let scale = scale
            .to_shape(IxDyn(&shape))
            .map_err(|e| EvalError(e.to_string()))?;
        let scale = scale
            .broadcast(x.raw_dim())
            .ok_or_else(|| EvalError("the scales do not fit".into()))?;
        let y = ndarray::Zip::from(x)
            .and(&scale)
            .map_collect(|x, scale| narrow::quantize(self.to, *x, *scale));
        match self.to.is_float() {
            true => Ok(Array::F32(y)),
            false => Ok(Array::I64(y.mapv(|x| x as i64))),
        }
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
