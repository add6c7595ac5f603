//! The type of every operation's result from its inputs' types.

mod elementwise;
mod nn;
mod quant;
mod shape;

use thiserror::Error;

use crate::fact::Fact;
use crate::op::{Arity, Op};
use crate::size::Size;
use crate::sizes::Sizes;

/// Why an operation has no type.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct InferError(pub String);

/// Input types by port; `None` where an optional port is empty.
pub(crate) struct Inputs<'a> {
    facts: &'a [Option<&'a Fact>],
    pub(crate) sizes: &'a Sizes,
    ports: &'static [crate::op::Port],
}

/// How an operation types its result.
pub(crate) trait Infer {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Fact, InferError>;
}

/// Types `op` on inputs of the given types, in port order.
pub fn infer(op: &Op, facts: &[Option<&Fact>], sizes: &Sizes) -> Result<Fact, InferError> {
    check_arity(op, facts)?;
    let fact = op.as_infer().infer(&Inputs {
        facts,
        sizes,
        ports: op.ports(),
    })?;
    match fact
        .shape
        .iter()
        .find(|size| size.as_const().is_some_and(|n| n < 0))
    {
        Some(size) => fail(format!("{} would make an axis of {size}", op.name())),
        None => Ok(fact),
    }
}

fn check_arity(op: &Op, facts: &[Option<&Fact>]) -> Result<(), InferError> {
    let ports = op.ports();
    let many = ports.last().is_some_and(|port| port.arity == Arity::Many);
    if facts.len() > ports.len() && !many {
        return fail(format!(
            "{} takes {} inputs, {} are given",
            op.name(),
            ports.len(),
            facts.len()
        ));
    }
    for (i, port) in ports.iter().enumerate() {
        let given = facts.get(i).is_some_and(Option::is_some);
        if !given && port.arity != Arity::Optional {
            return fail(format!(
                "{} needs a value at port `{}`",
                op.name(),
                port.name
            ));
        }
    }
    if facts.iter().skip(ports.len()).any(Option::is_none) {
        return fail(format!("{} has a gap in its inputs", op.name()));
    }
    Ok(())
}

pub(crate) fn fail<T>(why: String) -> Result<T, InferError> {
    Err(InferError(why))
}

impl<'a> Inputs<'a> {
    /// The type at port `i`, which arity has checked to be there.
    pub(crate) fn get(&self, i: usize) -> Result<&'a Fact, InferError> {
        self.optional(i)
            .ok_or_else(|| InferError(format!("port `{}` is empty", self.ports[i].name)))
    }

    pub(crate) fn optional(&self, i: usize) -> Option<&'a Fact> {
        self.facts.get(i).copied().flatten()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &'a Fact> {
        self.facts.iter().copied().flatten()
    }

    pub(crate) fn float(&self, i: usize) -> Result<&'a Fact, InferError> {
        let fact = self.get(i)?;
        match fact.dtype.is_float() {
            true => Ok(fact),
            false => fail(format!(
                "port `{}` needs floats, not {fact}",
                self.ports[i].name
            )),
        }
    }

    /// Port `i` must have this shape and the element type of port 0, if it is given.
    pub(crate) fn expect(&self, i: usize, shape: &[Size]) -> Result<(), InferError> {
        let want = self.get(0)?.with_shape(shape.to_vec());
        match self.optional(i) {
            Some(fact) if *fact != want => fail(format!(
                "port `{}` must be {want}, not {fact}",
                self.ports[i].name
            )),
            _ => Ok(()),
        }
    }

    /// Ports that are given must have the element type of port 0.
    pub(crate) fn one_dtype(&self) -> Result<(), InferError> {
        let first = self.get(0)?;
        match self.all().find(|fact| fact.dtype != first.dtype) {
            Some(fact) => fail(format!(
                "{first} and {fact} have different element types; cast one"
            )),
            None => Ok(()),
        }
    }

    pub(crate) fn rank(&self, i: usize, rank: usize) -> Result<&'a Fact, InferError> {
        let fact = self.float(i)?;
        match fact.rank() == rank {
            true => Ok(fact),
            false => fail(format!(
                "port `{}` needs {rank} axes, not {fact}",
                self.ports[i].name
            )),
        }
    }
}
