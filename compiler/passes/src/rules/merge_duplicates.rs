//! Common subexpressions.

use ltxc_ir::{Op, Patch};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict};

/// `f(x), f(x)` -> `f(x)`: the first of equal nodes serves all readers. Graph inputs are never equal. What takes numbers
/// out of a pair stays in front of each reader, where runtimes look for it.
#[derive(Default, Deserialize)]
pub struct MergeDuplicates;

impl Rule for MergeDuplicates {
    fn meta(&self) -> Meta {
        Meta {
            id: "merge-duplicates",
            fidelity: Fidelity::Exact,
            summary: "Computes equal operations on equal inputs once.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Any
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        if matches!(m.op(), Op::Input(_) | Op::Dequantize(_)) {
            return Err(Declined::NotMine);
        }
        let first = m.earlier_twin().ok_or(Declined::NotMine)?;
        Ok(Patch::new().replace(m.root(), first))
    }
}
