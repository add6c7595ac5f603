//! Attention for runtimes with opset 23.

use ltxc_ir::Patch;
use ltxc_ir::op::OnnxAttention;
use serde::Deserialize;

use crate::attention::{Attention, full_mask, ranked_mask, require_fused};
use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict};
use crate::target::AttentionForm;

/// `sdpa(q, k, v, mask?)` -> `Attention(q, k, v, mask)` of opset 23, heads packed.
///
/// The mask gets rank 4. Where the target broadcasts it, one for keys alone stays small; otherwise queries and keys are
/// written out.
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
        let (q, k, v) = (attention.q, attention.k, attention.v);
        let op = OnnxAttention {
            heads: attention.heads,
            scale: attention.scale,
        };
        let inputs = [Some(q.into()), Some(k.into()), Some(v.into()), mask];
        let y = patch.add_with_gaps("attention", op, &inputs);
        Ok(patch.replace(m.root(), y))
    }
}
