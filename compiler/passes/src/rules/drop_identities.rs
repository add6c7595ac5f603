//! Operations that do nothing.

use ltxc_ir::{NodeId, Op, Patch};
use serde::Deserialize;

use crate::constant::is_filled_with;
use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict};

/// `x + 0`, `x * 1`, `x - 0`, `x / 1`, `reshape(x)` to its own shape, .. -> `x`.
#[derive(Default, Deserialize)]
pub struct DropIdentities;

impl Rule for DropIdentities {
    fn meta(&self) -> Meta {
        Meta {
            id: "drop-identities",
            fidelity: Fidelity::Exact,
            summary: "Drops operations that change neither values nor type.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&[
            "add",
            "cast",
            "concat",
            "div",
            "expand",
            "identity",
            "mul",
            "pad",
            "reshape",
            "slice",
            "sub",
            "transpose",
        ])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let x = unchanged(m).ok_or(Declined::NotMine)?;
        if m.fact_of(x) != m.fact() {
            return Err(Declined::NotMine);
        }
        Ok(Patch::new().replace(m.root(), x))
    }
}

/// The input whose values come out as they are, if it also keeps its type.
fn unchanged(m: &Match<'_>) -> Option<NodeId> {
    let (first, second) = (m.input(0)?, m.input(1));
    let neutral = |id: Option<NodeId>, value| {
        id.and_then(|id| m.constant(id))
            .is_some_and(|constant| is_filled_with(constant, value))
    };
    let either = |value| match neutral(Some(first), value) {
        true => second,
        false => neutral(second, value).then_some(first),
    };
    match m.op() {
        Op::Identity(_) | Op::Reshape(_) | Op::Slice(_) | Op::Expand(_) | Op::Cast(_) => {
            Some(first)
        }
        Op::Pad(op) => (op.before + op.after == 0).then_some(first),
        Op::Transpose(op) => op.perm.is_sorted().then_some(first),
        Op::Concat(_) => (m.inputs().len() == 1).then_some(first),
        Op::Add(_) => either(0),
        Op::Mul(_) => either(1),
        Op::Sub(_) => neutral(second, 0).then_some(first),
        Op::Div(_) => neutral(second, 1).then_some(first),
        // No other operation is a root of this rule.
        _ => None,
    }
}
