//! Attention over some queries at a time.

use ltxc_ir::{Op, Patch, Value};
use serde::Deserialize;

use crate::chunks::{Chunks, TOKENS};
use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict, require};
use crate::target::AttentionForm;

/// `sdpa(q, k, v)` -> `concat(sdpa(q[0..n], k, v), sdpa(q[n..2n], k, v), ..)`.
///
/// The scores then exist for the queries of one chunk only. Fires where the target writes scores down, which fused
/// attention does not, and where the number of queries is a number (`--size`) larger than `tokens`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkAttention {
    /// Most queries of a chunk.
    tokens: i64,
}

impl Default for ChunkAttention {
    fn default() -> Self {
        Self { tokens: TOKENS }
    }
}

impl Rule for ChunkAttention {
    fn meta(&self) -> Meta {
        Meta {
            id: "chunk-attention",
            fidelity: Fidelity::Exact,
            summary: "Computes attention for some queries at a time.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["sdpa"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let can = m.capabilities();
        let written = can.attention == AttentionForm::Decomposed && !can.memory.fused;
        require!(written, "the target's attention writes no scores down");
        let Op::Sdpa(op) = m.op() else {
            return Err(Declined::NotMine);
        };
        let (q, k, v) = (m.required(0)?, m.required(1)?, m.required(2)?);
        let queries = &m.fact_of(q).shape[1];
        let chunks = Chunks::of(m.fact_of(q), self.tokens)?;
        let mut patch = Patch::new();
        let joined = chunks.join(&mut patch, |patch, cut| {
            let mask = m.input(3).map(|mask| {
                let shape = &m.fact_of(mask).shape;
                let by_query = shape.len() >= 2 && shape[shape.len() - 2] == *queries;
                if by_query {
                    cut(patch, mask)
                } else {
                    Value::Old(mask)
                }
            });
            let q = cut(patch, q);
            patch.add_with_gaps(
                "part",
                op.clone(),
                &[Some(q), Some(k.into()), Some(v.into()), mask],
            )
        });
        Ok(patch.replace(m.root(), joined))
    }
}
