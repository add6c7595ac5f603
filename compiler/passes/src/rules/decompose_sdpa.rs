//! Attention without a fused operator.

use ltxc_ir::Patch;
use ltxc_ir::op::Matmul;
use serde::Deserialize;

use crate::attention::{Attention, products, require_fused};
use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict, require};

/// `sdpa(q, k, v, mask?)` -> `softmax((scale * q) k^T + mask) v`, per head.
///
/// Fires where the target has no fused operator, or where its operator does not take this attention.
#[derive(Default, Deserialize)]
pub struct DecomposeSdpa;

impl Rule for DecomposeSdpa {
    fn meta(&self) -> Meta {
        Meta {
            id: "decompose-sdpa",
            fidelity: Fidelity::Exact,
            summary: "Writes attention as two products and a softmax.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["sdpa"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let attention = Attention::read(m)?;
        let form = m.capabilities().attention;
        let fused = require_fused(m, &attention, form).is_ok();
        require!(!fused, "the target wants {form}");
        let mut patch = Patch::new();
        let y = products(
            m,
            &attention,
            &mut patch,
            &|patch, hint, [(_, a), (_, b)]| patch.add(hint, Matmul {}, &[a, b]),
        );
        Ok(patch.replace(m.root(), y))
    }
}
