//! Element-by-element operations in numbers.

use ndarray::{ArrayD, IxDyn, Zip};

use super::{Array, Eval, EvalError, Evaluated, Values, fail};
use crate::fact::Dtype;
use crate::op::*;

/// The shape two arrays broadcast to.
fn common_shape(a: &[usize], b: &[usize]) -> Result<IxDyn, EvalError> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], i: usize| {
        (i + shape.len())
            .checked_sub(rank)
            .map_or(1, |axis| shape[axis])
    };
    let shape = (0..rank).map(|i| match (at(a, i), at(b, i)) {
        (x, y) if x == y || y == 1 => Ok(x),
        (1, y) => Ok(y),
        _ => fail(format!("{a:?} and {b:?} do not broadcast")),
    });
    Ok(IxDyn(&shape.collect::<Result<Vec<_>, _>>()?))
}

fn zip<A: Clone, B: Clone, C>(
    a: &ArrayD<A>,
    b: &ArrayD<B>,
    f: impl Fn(&A, &B) -> C,
) -> Result<ArrayD<C>, EvalError> {
    let shape = common_shape(a.shape(), b.shape())?;
    let unfit = || EvalError("shapes do not broadcast".to_owned());
    let (a, b) = (
        a.broadcast(shape.clone()).ok_or_else(unfit)?,
        b.broadcast(shape).ok_or_else(unfit)?,
    );
    Ok(Zip::from(&a).and(&b).map_collect(f))
}

macro_rules! binary {
    ($($op:ident: $float:expr, $int:expr;)*) => {$(
        impl Eval for $op {
            fn eval(&self, values: &Values<'_>) -> Evaluated {
                match (values.get(0)?, values.get(1)?) {
                    (Array::F32(a), Array::F32(b)) => zip(a, b, $float).map(Array::F32),
                    (Array::I64(a), Array::I64(b)) => zip(a, b, $int).map(Array::I64),
                    (a, b) => fail(format!("{} and {} do not mix", a.dtype(), b.dtype())),
                }
            }
        }
    )*};
}

binary! {
    Add: |a: &f32, b: &f32| a + b, |a: &i64, b: &i64| a.wrapping_add(*b);
    Sub: |a: &f32, b: &f32| a - b, |a: &i64, b: &i64| a.wrapping_sub(*b);
    Mul: |a: &f32, b: &f32| a * b, |a: &i64, b: &i64| a.wrapping_mul(*b);
    Div: |a: &f32, b: &f32| a / b, |a: &i64, b: &i64| a.checked_div(*b).unwrap_or(0);
    Pow: |a: &f32, b: &f32| f64::from(*a).powf(f64::from(*b)) as f32, |a: &i64, b: &i64| a.wrapping_pow(*b as u32);
    Min: |a: &f32, b: &f32| a.min(*b), |a: &i64, b: &i64| *a.min(b);
    Max: |a: &f32, b: &f32| a.max(*b), |a: &i64, b: &i64| *a.max(b);
}

impl Eval for Less {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        match (values.get(0)?, values.get(1)?) {
            (Array::F32(a), Array::F32(b)) => zip(a, b, |a, b| a < b).map(Array::Bool),
            (Array::I64(a), Array::I64(b)) => zip(a, b, |a, b| a < b).map(Array::Bool),
            (a, b) => fail(format!("{} and {} do not compare", a.dtype(), b.dtype())),
        }
    }
}

impl Eval for Where {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let Array::Bool(cond) = values.get(0)? else {
            return fail("`cond` needs truth values");
        };
        match (values.get(1)?, values.get(2)?) {
            (Array::F32(yes), Array::F32(no)) => choose(cond, yes, no).map(Array::F32),
            (Array::I64(yes), Array::I64(no)) => choose(cond, yes, no).map(Array::I64),
            (yes, no) => fail(format!("{} and {} do not mix", yes.dtype(), no.dtype())),
        }
    }
}

fn choose<T: Copy>(
    cond: &ArrayD<bool>,
    yes: &ArrayD<T>,
    no: &ArrayD<T>,
) -> Result<ArrayD<T>, EvalError> {
    let both = zip(yes, no, |yes, no| (*yes, *no))?;
    zip(
        cond,
        &both,
        |cond, (yes, no)| if *cond { *yes } else { *no },
    )
}

/// Functions are computed in f64 and rounded once, so that constants come out correctly rounded.
macro_rules! unary {
    ($($op:ident: $f:expr;)*) => {$(
        impl Eval for $op {
            fn eval(&self, values: &Values<'_>) -> Evaluated {
                let f: fn(f64) -> f64 = $f;
                Ok(Array::F32(values.float(0)?.mapv(|x| f(f64::from(x)) as f32)))
            }
        }
    )*};
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

unary! {
    Exp: f64::exp;
    Log: f64::ln;
    Sqrt: f64::sqrt;
    Sin: f64::sin;
    Cos: f64::cos;
    Floor: f64::floor;
    Sigmoid: sigmoid;
    Tanh: f64::tanh;
    Silu: |x| x * sigmoid(x);
}

impl Eval for Gelu {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let tanh = |x: f64| {
            0.5 * x
                * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
        };
        let exact = |x: f64| 0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2));
        let x = values.float(0)?;
        Ok(Array::F32(match self.approximate {
            GeluKind::Tanh => x.mapv(|x| tanh(f64::from(x)) as f32),
            GeluKind::Erf => x.mapv(|x| exact(f64::from(x)) as f32),
        }))
    }
}

/// Error function by its Taylor series, which converges everywhere; exact to f32 for |x| < 6, and +-1 beyond.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 * sum.abs().max(1e-300) && n < 400.0 {
        n += 1.0;
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

impl Eval for Neg {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        match values.get(0)? {
            Array::F32(x) => Ok(Array::F32(x.mapv(|x| -x))),
            Array::I64(x) => Ok(Array::I64(x.mapv(i64::wrapping_neg))),
            Array::Bool(_) => fail("truth values have no sign"),
        }
    }
}

impl Eval for Abs {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        match values.get(0)? {
            Array::F32(x) => Ok(Array::F32(x.mapv(f32::abs))),
            Array::I64(x) => Ok(Array::I64(x.mapv(i64::wrapping_abs))),
            Array::Bool(_) => fail("truth values have no sign"),
        }
    }
}

impl Eval for Identity {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        values.get(0).cloned()
    }
}

impl Eval for Cast {
    fn eval(&self, values: &Values<'_>) -> Evaluated {
        let x = values.get(0)?;
        match (x, self.to) {
            (Array::F32(x), Dtype::I64) => Ok(Array::I64(x.mapv(|x| x as i64))),
            (Array::F32(x), Dtype::I8) => Ok(Array::I64(x.mapv(|x| i64::from(x as i8)))),
            (Array::F32(x), Dtype::I32) => Ok(Array::I64(x.mapv(|x| i64::from(x as i32)))),
            (Array::I64(x), to) if to.is_float() => {
                Ok(Array::F32(x.mapv(|x| x as f32)).rounded_to(to))
            }
            (Array::Bool(x), to) if to.is_float() => {
                Ok(Array::F32(x.mapv(|x| f32::from(u8::from(x)))))
            }
            (Array::Bool(x), Dtype::I64 | Dtype::I32 | Dtype::I8) => {
                Ok(Array::I64(x.mapv(i64::from)))
            }
            (Array::F32(_), to) if to.is_float() => Ok(x.clone().rounded_to(to)),
            (Array::I64(_), Dtype::I64 | Dtype::I32) => Ok(x.clone()),
            (Array::I64(x), Dtype::I8) => Ok(Array::I64(x.mapv(|x| i64::from(x as i8)))),
            (Array::F32(x), Dtype::Bool) => Ok(Array::Bool(x.mapv(|x| x != 0.0))),
            (Array::I64(x), Dtype::Bool) => Ok(Array::Bool(x.mapv(|x| x != 0))),
            (_, to) => fail(format!("no interpreter for {to}")),
        }
    }
}
