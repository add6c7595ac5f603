//! Products, convolutions, norms and attention, in numbers. Sums are kept in f64.

use ndarray::{Array1, ArrayD, ArrayView2, Axis, Ix2, IxDyn, Zip};

use super::{Array, Eval, EvalError, Evaluated, Values, axis_of, fail};
use crate::op::*;

fn standard(x: ArrayD<f32>) -> Evaluated {
    Ok(Array::F32(x.as_standard_layout().into_owned()))
}

/// Product of two matrices with f64 sums.
fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> ndarray::Array2<f32> {
    a.mapv(f64::from).dot(&b.mapv(f64::from)).mapv(|x| x as f32)
}

fn two_axes(x: &ArrayD<f32>) -> Result<ArrayView2<'_, f32>, EvalError> {
    x.view()
        .into_dimensionality::<Ix2>()
        .map_err(|e| EvalError(e.to_string()))
}

impl Eval for Matmul {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (a, b) = (values.float(0)?, values.float(1)?);
        let (ra, rb) = (a.ndim(), b.ndim());
        let lead: Vec<usize> = broadcast_lead(&a.shape()[..ra - 2], &b.shape()[..rb - 2]);
        let (rows, columns) = (a.shape()[ra - 2], b.shape()[rb - 1]);
        let full = |x: &ArrayD<f32>| {
            let shape: Vec<usize> = lead
                .iter()
                .chain(&x.shape()[x.ndim() - 2..])
                .copied()
                .collect();
            let count: usize = lead.iter().product();
            let tail = [count, shape[shape.len() - 2], shape[shape.len() - 1]];
            let wide = x
                .broadcast(IxDyn(&shape))
                .ok_or_else(|| EvalError("operands do not broadcast".into()))?
                .to_owned();
            wide.as_standard_layout()
                .into_owned()
                .into_shape_with_order(tail)
                .map_err(|e| EvalError(e.to_string()))
        };
        let (a, b) = (full(a)?, full(b)?);
        let data: Vec<f32> = Zip::from(a.outer_iter())
            .and(b.outer_iter())
            .map_collect(|a, b| product(a, b))
            .into_iter()
            .flatten()
            .collect();
        Array::f32(
            &lead
                .iter()
                .copied()
                .chain([rows, columns])
                .collect::<Vec<_>>(),
            data,
        )
    }
}

fn broadcast_lead(a: &[usize], b: &[usize]) -> Vec<usize> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], i: usize| {
        (i + shape.len())
            .checked_sub(rank)
            .map_or(1, |axis| shape[axis])
    };
    (0..rank).map(|i| at(a, i).max(at(b, i))).collect()
}

impl Eval for Linear {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (x, w) = (values.float(0)?, two_axes(values.float(1)?)?);
        let features = *x
            .shape()
            .last()
            .ok_or_else(|| EvalError("no axis".into()))?;
        let rows = x.len() / features.max(1);
        let flat = x
            .as_standard_layout()
            .into_owned()
            .into_shape_with_order((rows, features))
            .map_err(|e| EvalError(e.to_string()))?;
        let mut y = product(flat.view(), w.t());
        if let Some(b) = values.optional_float(2)? {
            y = y + b
                .view()
                .into_dimensionality::<ndarray::Ix1>()
                .map_err(|e| EvalError(e.to_string()))?;
        }
        let mut shape = x.shape().to_vec();
        *shape.last_mut().expect("an axis was found above") = w.nrows();
        Array::f32(&shape, y.into_iter().collect())
    }
}

impl Eval for Conv3d {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (x, w, b) = (
            values.float(0)?,
            values.float(1)?,
            values.optional_float(2)?,
        );
        let extent = |i: usize| {
            let span = (x.shape()[i + 2] + 2 * self.pad[i]).checked_sub(w.shape()[i + 2]);
            span.map_or(0, |span| span / self.stride[i] + 1)
        };
        let shape = [x.shape()[0], w.shape()[0], extent(0), extent(1), extent(2)];
        let y = ArrayD::from_shape_fn(IxDyn(&shape), |at| {
            let bias = b.map_or(0.0, |b| f64::from(b[at[1]]));
            (bias + self.window(x, w, [at[0], at[1], at[2], at[3], at[4]])) as f32
        });
        standard(y)
    }
}

impl Conv3d {
    fn window(&self, x: &ArrayD<f32>, w: &ArrayD<f32>, at: [usize; 5]) -> f64 {
        let mut sum = 0.0;
        for (tap, weight) in w.index_axis(Axis(0), at[1]).indexed_iter() {
            let place =
                |i: usize| (at[i + 2] * self.stride[i] + tap[i + 1]).checked_sub(self.pad[i]);
            let (Some(f), Some(h), Some(v)) = (place(0), place(1), place(2)) else {
                continue;
            };
            sum += x
                .get([at[0], tap[0], f, h, v].as_slice())
                .map_or(0.0, |x| f64::from(*x) * f64::from(*weight));
        }
        sum
    }
}

impl Eval for Mean {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let mut x = values.float(0)?.mapv(f64::from);
        for &axis in &self.axes {
            let axis = Axis(axis_of(axis, x.ndim())?);
            x = x
                .mean_axis(axis)
                .ok_or_else(|| EvalError("empty axis".into()))?
                .insert_axis(axis);
        }
        standard(x.mapv(|x| x as f32))
    }
}

impl Eval for Softmax {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let x = values.float(0)?;
        standard(softmax(x, axis_of(self.axis, x.ndim())?))
    }
}

fn softmax(x: &ArrayD<f32>, axis: usize) -> ArrayD<f32> {
    let mut y = x.clone();
    for mut lane in y.lanes_mut(Axis(axis)) {
        let top = lane.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers: Array1<f64> = lane.mapv(|x| f64::from(x - top).exp());
        let sum = powers.sum();
        lane.assign(&powers.mapv(|p| (p / sum) as f32));
    }
    y
}

impl Eval for RmsNorm {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (mut y, w) = (values.float(0)?.clone(), values.optional_float(1)?);
        let axis = axis_of(self.axis, y.ndim())?;
        for mut lane in y.lanes_mut(Axis(axis)) {
            let mean = lane.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / lane.len() as f64;
            let factor = 1.0 / (mean + self.eps).sqrt();
            lane.iter_mut()
                .enumerate()
                .for_each(|(i, x)| *x = (f64::from(*x) * factor) as f32 * w.map_or(1.0, |w| w[i]));
        }
        Ok(Array::F32(y))
    }
}

impl Eval for LayerNorm {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (mut y, w, b) = (
            values.float(0)?.clone(),
            values.optional_float(1)?,
            values.optional_float(2)?,
        );
        let axis = axis_of(-1, y.ndim())?;
        for mut lane in y.lanes_mut(Axis(axis)) {
            let (mean, factor) = centre_and_scale(&lane, self.eps);
            for (i, x) in lane.iter_mut().enumerate() {
                let normed = ((f64::from(*x) - mean) * factor) as f32;
                *x = normed * w.map_or(1.0, |w| w[i]) + b.map_or(0.0, |b| b[i]);
            }
        }
        Ok(Array::F32(y))
    }
}

impl Eval for GroupNorm {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (x, w, b) = (
            values.float(0)?,
            values.optional_float(1)?,
            values.optional_float(2)?,
        );
        let (batch, channels) = (x.shape()[0], x.shape()[1]);
        let plane: usize = x.shape()[2..].iter().product();
        let run = channels / self.groups * plane;
        let mut y: Vec<f32> = x.iter().copied().collect();
        for (at, group) in y
            .chunks_mut(run.max(1))
            .take(batch * self.groups)
            .enumerate()
        {
            let (mean, factor) = centre_and_scale(&*group, self.eps);
            let first = at % self.groups * (channels / self.groups);
            for (i, x) in group.iter_mut().enumerate() {
                let normed = ((f64::from(*x) - mean) * factor) as f32;
                let channel = first + i / plane;
                *x = normed * w.map_or(1.0, |w| w[channel]) + b.map_or(0.0, |b| b[channel]);
            }
        }
        Array::f32(x.shape(), y)
    }
}

/// What to subtract from values and to multiply them by for mean 0 and variance 1.
fn centre_and_scale<'a>(values: impl IntoIterator<Item = &'a f32> + Clone, eps: f64) -> (f64, f64) {
    let n = values.clone().into_iter().count() as f64;
    let sum: f64 = values.clone().into_iter().map(|x| f64::from(*x)).sum();
    let mean = sum / n;
    let squares = values.into_iter().map(|x| (f64::from(*x) - mean).powi(2));
    let var = squares.sum::<f64>() / n;
    (mean, 1.0 / (var + eps).sqrt())
}

impl Eval for Rope {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let (x, cos, sin) = (values.float(0)?, values.float(1)?, values.float(2)?);
        turned(x, cos, sin, self.pairs)
    }
}

impl Eval for OnnxRotaryEmbedding {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let rows = |port| {
            let ports = [values.ports[port], values.ports[3]];
            let sizes = values.sizes;
            match (Gather { axis: 0 }).eval(&Values {
                ports: &ports,
                sizes,
            })? {
                Array::F32(rows) => Ok(rows),
                _ => fail("a table needs floats"),
            }
        };
        turned(values.float(0)?, &rows(1)?, &rows(2)?, self.pairs)
    }
}

/// `x` with each pair of channels of its last axis turned; the tables broadcast.
fn turned(x: &ArrayD<f32>, cos: &ArrayD<f32>, sin: &ArrayD<f32>, pairs: RopePairs) -> Evaluated {
    let n = *x
        .shape()
        .last()
        .ok_or_else(|| EvalError("no axis".into()))?;
    let mut half = x.shape().to_vec();
    *half.last_mut().expect("an axis was found above") = n / 2;
    let unfit = || EvalError("the tables do not fit".to_owned());
    let (cos, sin) = (
        cos.broadcast(IxDyn(&half)).ok_or_else(unfit)?,
        sin.broadcast(IxDyn(&half)).ok_or_else(unfit)?,
    );
    let mut y = x.clone();
    let lanes = Zip::from(y.lanes_mut(Axis(half.len() - 1)))
        .and(cos.lanes(Axis(half.len() - 1)))
        .and(sin.lanes(Axis(half.len() - 1)));
    lanes.for_each(|mut lane, cos, sin| {
        for i in 0..n / 2 {
            let (p, q) = match pairs {
                RopePairs::Interleaved => (2 * i, 2 * i + 1),
                RopePairs::Halves => (i, i + n / 2),
            };
            let (a, b) = (lane[p], lane[q]);
            lane[p] = a * cos[i] - b * sin[i];
            lane[q] = b * cos[i] + a * sin[i];
        }
    });
    Ok(Array::F32(y))
}

/// Attention over packed heads; `scale` multiplies the scores.
fn attention(values: &Values<'_>, heads: usize, scale: Option<f64>) -> Evaluated {
    let (q, k, v, mask) = (
        values.float(0)?,
        values.float(1)?,
        values.float(2)?,
        values.optional_float(3)?,
    );
    let [batch, queries, width] = q.shape() else {
        return fail("queries need three axes");
    };
    let (keys, d, dv) = (k.shape()[1], width / heads, v.shape()[2] / heads);
    let scale = scale.unwrap_or(1.0 / (d as f64).sqrt());
    let mask = mask
        .map(|m| {
            m.broadcast(IxDyn(&[*batch, heads, *queries, keys]))
                .ok_or_else(|| EvalError("the mask does not fit".into()))
        })
        .transpose()?;
    let mut y = ArrayD::zeros(IxDyn(&[*batch, *queries, dv * heads]));
    for (b, h) in (0..*batch).flat_map(|b| (0..heads).map(move |h| (b, h))) {
        let part =
            |x: &ArrayD<f32>, d: usize| x.slice(ndarray::s![b, .., h * d..(h + 1) * d]).to_owned();
        let (q, k, v) = (part(q, d), part(k, d), part(v, dv));
        let mut scores = (q.mapv(f64::from).dot(&k.mapv(f64::from).t()) * scale).mapv(|x| x as f32);
        if let Some(mask) = &mask {
            scores += &mask.slice(ndarray::s![b, h, .., ..]);
        }
        let weights = softmax(&scores.into_dyn(), 1);
        y.slice_mut(ndarray::s![b, .., h * dv..(h + 1) * dv])
            .assign(&product(two_axes(&weights)?, v.view()));
    }
    standard(y)
}

impl Eval for Sdpa {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        attention(values, self.heads, self.scale)
    }
}

impl Eval for OrtMultiHeadAttention {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        attention(values, self.heads, Some(self.scale))
    }
}

impl Eval for OnnxAttention {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        attention(values, self.heads, Some(self.scale))
    }
}
