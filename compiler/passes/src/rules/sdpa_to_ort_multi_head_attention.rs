//! Attention for ONNX Runtime.

use ltxc_ir::Patch;
use ltxc_ir::op::OrtMultiHeadAttention;
use serde::Deserialize;

use crate::attention::{Attention, full_mask, require_fused};
use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict};
use crate::target::AttentionForm;

/// `sdpa(q, k, v, mask?)` -> `com.microsoft.MultiHeadAttention(q, k, v, _, _, mask)`.
///
/// The runtime broadcasts an attention bias over batch and heads only, so a mask without a query axis is expanded
/// along it. All heads must have one size.
#[derive(Default, Deserialize)]
pub struct SdpaToOrtMultiHeadAttention;

impl Rule for SdpaToOrtMultiHeadAttention {
    fn meta(&self) -> Meta {
        Meta {
            id: "sdpa-to-ort-multi-head-attention",
            fidelity: Fidelity::Exact,
            summary: "Writes attention as ONNX Runtime's fused operator.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["sdpa"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let attention = Attention::read(m)?;
        require_fused(m, &attention, AttentionForm::OrtMultiHeadAttention)?;
        let mut patch = Patch::new();
        let mask = full_mask(m, &attention, &mut patch);
        let (q, k, v) = (attention.q, attention.k, attention.v);
        let op = OrtMultiHeadAttention {
            heads: attention.heads,
            scale: attention.scale,
        };
        let inputs = [Some(q.into()), Some(k.into()), Some(v.into()), mask];
        let y = patch.add_with_gaps("attention", op, &inputs);
        Ok(patch.replace(m.root(), y))
    }
}
