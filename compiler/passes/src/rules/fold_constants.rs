//! Constant folding.

use ltxc_ir::attrs::Literal;
use ltxc_ir::eval::eval_op;
use ltxc_ir::op::Constant;
use ltxc_ir::{Array, Dtype, Fact, Op, Patch, narrow};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict, require};

/// Largest constant that is made, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// `f(1, 2)` -> its value, by the reference interpreter; also `iota` and `linspace` of fixed length.
///
/// Weights are not constants. Infinity has no literal and stays computed.
#[derive(Default, Deserialize)]
pub struct FoldConstants;

impl Rule for FoldConstants {
    fn meta(&self) -> Meta {
        Meta {
            id: "fold-constants",
            fidelity: Fidelity::Exact,
            summary: "Computes what depends on constants alone, up to 1 MiB.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Any
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let constants = constant_inputs(m).ok_or(Declined::NotMine)?;
        let shape = m.fact().const_shape().ok_or(Declined::NotMine)?;
        let elements = shape
            .iter()
            .fold(1u64, |n, size| n.saturating_mul(*size as u64));
        let bytes = m.fact().dtype.bytes_of(elements);
        require!(bytes > 0, "the result is empty");
        require!(
            bytes <= MAX_BYTES,
            "the result has {bytes} bytes, more than 1 MiB"
        );
        let value = compute(m.op(), &constants)?;
        let data = literal(&value, m.fact())?;
        let (dtype, shape) = (m.fact().dtype, m.fact().shape.clone());
        let mut patch = Patch::new();
        let folded = patch.add("folded", Constant { dtype, shape, data }, &[]);
        Ok(patch.replace(m.root(), folded))
    }
}

/// The inputs, if all are constants; only `iota` and `linspace` may have none.
fn constant_inputs<'a>(m: &Match<'a>) -> Option<Vec<&'a Constant>> {
    let generator = matches!(m.op(), Op::Iota(_) | Op::Linspace(_));
    if m.inputs().is_empty() && !generator {
        return None;
    }
    let constants = m.inputs().iter().map(|id| id.and_then(|id| m.constant(id)));
    constants.collect()
}

fn compute(op: &Op, constants: &[&Constant]) -> Result<Array, Declined> {
    let no_size = |_: &str| None;
    let arrays = constants
        .iter()
        .map(|constant| eval_op(&Op::Constant((*constant).clone()), &[], &no_size));
    let arrays = arrays
        .collect::<Result<Vec<_>, _>>()
        .and_then(|arrays| eval_op(op, &arrays.iter().map(Some).collect::<Vec<_>>(), &no_size));
    arrays.map_err(|error| Declined::Because(error.to_string()))
}

/// The elements as they are written; one stands for all where all are equal.
fn literal(value: &Array, fact: &Fact) -> Result<Literal, Declined> {
    match (value, fact.dtype) {
        (Array::F32(array), dtype) if dtype.is_float() => {
            let rounded = array.mapv(|x| narrow::round(dtype, x));
            require!(
                rounded.iter().all(|x| x.is_finite()),
                "the result is not finite"
            );
            Ok(Literal::Floats(shortest(rounded.iter().copied(), |x| {
                x.to_bits()
            })))
        }
        (Array::I64(array), Dtype::I64) => {
            Ok(Literal::Ints(shortest(array.iter().copied(), |x| *x)))
        }
        (Array::I64(array), Dtype::I32) => {
            let fits = array.iter().all(|x| i32::try_from(*x).is_ok());
            require!(fits, "the result overflows i32");
            Ok(Literal::Ints(shortest(array.iter().copied(), |x| *x)))
        }
        (Array::Bool(array), Dtype::Bool) => Ok(Literal::Ints(shortest(
            array.iter().map(|x| i64::from(*x)),
            |x| *x,
        ))),
        (_, dtype) => Err(Declined::Because(format!(
            "no constant of {dtype} is computed"
        ))),
    }
}

fn shortest<T, K: PartialEq>(values: impl Iterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut values: Vec<T> = values.collect();
    if values.windows(2).all(|pair| key(&pair[0]) == key(&pair[1])) {
        values.truncate(1);
    }
    values
}
