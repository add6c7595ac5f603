//! Attention for runtimes with opset 23.

use ltxc_ir::Patch;
use ltxc_ir::op::OnnxAttention;
use serde::Deserialize;

use crate::attention::{Attention, full_mask, ranked_mask, require_fused, scale};
use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict};
use crate::target::AttentionForm;

/// `sdpa(q, k, v, mask?)` -> `Attention(q, k, v, mask)` of opset 23, heads packed.
///
/// The mask gets rank 4. Where the target broadcasts it, one for keys alone stays small; otherwise queries and keys are
/// written out. Where the target wants scaled queries, the scale multiplies them before and is 1 in the operator.
#[derive(Default, Deserialize)]
pub struct SdpaToOnnxAttention;

impl Rule for SdpaToOnnxAttention {
    fn meta(&self) -> Meta {
        Meta {
            id: "sdpa-to-onnx-attention",
            fidelity: Fidelity::Exact,
            summary: "Writes attention as the fused operator of ONNX opset 23.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["sdpa"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let attention = Attention::read(m)?;
        require_fused(m, &attention, AttentionForm::OnnxAttention)?;
        let mut patch = Patch::new();
        let mask = match m.capabilities().broadcast_masks {
            true => ranked_mask(m, &attention, &mut patch),
            false => full_mask(m, &attention, &mut patch),
        };
        let (q, factor) = match m.capabilities().scaled_queries {
            true => (scale(m, &attention, &mut patch), 1.0),
            false => (attention.q.into(), attention.scale),
        };
        let op = OnnxAttention {
            heads: attention.heads,
            scale: factor,
        };
        let (k, v) = (attention.k.into(), attention.v.into());
        let inputs = [Some(q), Some(k), Some(v), mask];
        let y = patch.add_with_gaps("attention", op, &inputs);
        Ok(patch.replace(m.root(), y))
    }
}
