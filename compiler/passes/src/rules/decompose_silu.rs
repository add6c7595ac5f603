//! SiLU for opsets before 24.

use ltxc_ir::Patch;
use ltxc_ir::op::{Mul, Sigmoid};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict};

/// `silu(x)` -> `x * sigmoid(x)`.
#[derive(Default, Deserialize)]
pub struct DecomposeSilu;

impl Rule for DecomposeSilu {
    fn meta(&self) -> Meta {
        Meta {
            id: "decompose-silu",
            fidelity: Fidelity::Exact,
            summary: "Writes SiLU as a product with a sigmoid.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["silu"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let x = m.required(0)?.into();
        let mut patch = Patch::new();
        let gate = patch.add("gate", Sigmoid {}, &[x]);
        let y = patch.add("gated", Mul {}, &[x, gate]);
        Ok(patch.replace(m.root(), y))
    }
}
