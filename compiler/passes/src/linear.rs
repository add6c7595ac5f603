//! What rules that quantise linear layers ask of one.

use ltxc_ir::{NodeId, Value};

use crate::matched::Match;
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
