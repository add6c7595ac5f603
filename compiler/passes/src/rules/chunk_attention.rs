//! Attention over some queries at a time.

use serde::Deserialize;

use crate::attention::by_queries;
use crate::chunks::TOKENS;
use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict, require};
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
        by_queries(m, self.tokens)
    }
}
