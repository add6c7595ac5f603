//! What rules that quantise linear layers ask of one.

use ltxc_ir::attrs::Literal;
use ltxc_ir::op::{Constant, Mul};
use ltxc_ir::{Dtype, NodeId, Patch, Size, Value};

use crate::matched::Match;
use crate::reach::{Reach, Reaches, reach_of};
use crate::rule::{Declined, require};

/// `linear(x, w, b?)` over the last axis, with a weight of the checkpoint.
pub(crate) struct Linear<'a> {
    /// The inputs, a matrix or more.
    pub(crate) x: NodeId,
    /// The weight [out, in] as it is stored, before any cast.
    pub(crate) weight: NodeId,
    /// The weight's key.
    pub(crate) key: &'a str,
    /// One number for each output.
    pub(crate) bias: Option<Value>,
}

impl<'a> Match<'a> {
    /// The layer, unless it is in the recipe's `leave` or its weight is computed.
    pub(crate) fn linear(&self, leave: &[String]) -> Result<Linear<'a>, Declined> {
        let (x, w) = (self.required(0)?, self.required(1)?);
        self.require_not_in(leave)?;
        let (weight, key) = self
            .weight_of(w)
            .ok_or_else(|| Declined::Because("the weight is computed".to_owned()))?;
        let fact = self.fact_of(x);
        require!(fact.rank() >= 2, "{fact} is no matrix");
        Ok(Linear {
            x,
            weight,
            key,
            bias: self.input(2).map(Value::Old),
        })
    }
}

/// A layer whose inputs have a known range.
pub(crate) struct Ranged {
    /// The inputs, smoothed where the calibration says so.
    pub(crate) x: Value,
    /// The weight [out, in], raised by as much.
    pub(crate) weight: Value,
    /// The largest magnitude of the inputs.
    pub(crate) magnitude: f32,
}

impl Linear<'_> {
    /// The layer with its range; declines without any ranges, and is refused without its own.
    pub(crate) fn ranged(
        &self,
        patch: &mut Patch,
        m: &Match<'_>,
        reaches: Option<&Reaches>,
    ) -> Result<Ranged, Declined> {
        let reach = reach_of(reaches, self.key, &format!("the inputs of `{}`", self.key))?;
        let (x, weight) = match reach {
            Reach::Smooth { smooth, .. } => self.smoothed(patch, m, smooth)?,
            Reach::Plain(_) => (self.x.into(), self.weight.into()),
        };
        Ok(Ranged {
            x,
            weight,
            magnitude: reach.largest(),
        })
    }

    /// Inputs divided by powers of two, and the weight multiplied by them.
    fn smoothed(
        &self,
        patch: &mut Patch,
        m: &Match<'_>,
        smooth: &[i8],
    ) -> Result<(Value, Value), Declined> {
        let fact = m.fact_of(self.weight);
        if fact.shape.last().and_then(Size::as_const) != Some(smooth.len() as i64) {
            return Err(Declined::Unmet(format!(
                "the file of scales has {} inputs for `{}`, which is {fact}; make it anew with `ltxc calibrate`",
                smooth.len(),
                self.key
            )));
        }
        let down = patch.add("down", powers(m.fact_of(self.x).dtype, smooth, -1), &[]);
        let x = patch.add("smoothed", Mul {}, &[self.x.into(), down]);
        let up = patch.add("up", powers(fact.dtype, smooth, 1), &[]);
        let weight = patch.add("raised", Mul {}, &[self.weight.into(), up]);
        Ok((x, weight))
    }
}

/// Two to the powers, or to their negatives.
fn powers(dtype: Dtype, smooth: &[i8], sign: i32) -> Constant {
    let power = |n: &i8| 2f32.powi(sign * i32::from(*n));
    Constant {
        dtype,
        shape: vec![Size::from(smooth.len() as i64)],
        data: Literal::Floats(smooth.iter().map(power).collect()),
    }
}
