//! A feed-forward over some tokens at a time.

use ltxc_ir::op::Linear;
use ltxc_ir::{NodeId, Op, Patch, Value};
use serde::Deserialize;

use crate::chunks::{Chunks, TOKENS};
use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict, require};

/// `linear(gelu(linear(x)))` -> `concat(linear(gelu(linear(x[0..n]))), linear(gelu(linear(x[n..2n]))), ..)`.
///
/// What lies between, four times as wide as the tokens, then exists for one chunk only. Fires where the number of
/// tokens is a number (`--size`) larger than `tokens`; any activation may stand in the middle.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkFeedForward {
    /// Most tokens of a chunk.
    tokens: i64,
}

impl Default for ChunkFeedForward {
    fn default() -> Self {
        Self { tokens: TOKENS }
    }
}

impl Rule for ChunkFeedForward {
    fn meta(&self) -> Meta {
        Meta {
            id: "chunk-feed-forward",
            fidelity: Fidelity::Exact,
            summary: "Computes a feed-forward over some tokens at a time.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["linear"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let active = m.required(0)?;
        let (Op::Gelu(_) | Op::Silu(_)) = m.op_of(active) else {
            return Err(Declined::NotMine);
        };
        let wide = m.input_of(active, 0).ok_or(Declined::NotMine)?;
        let Op::Linear(_) = m.op_of(wide) else {
            return Err(Declined::NotMine);
        };
        let x = m.input_of(wide, 0).ok_or(Declined::NotMine)?;
        let (width, inside) = (m.fact_of(x).shape.last(), m.fact_of(wide).shape.last());
        let (width, inside) = (
            width.and_then(|n| n.as_const()),
            inside.and_then(|n| n.as_const()),
        );
        require!(
            inside > width,
            "what lies between is no wider than the tokens"
        );
        let alone = m.is_read_once(active) && m.is_read_once(wide);
        require!(alone, "what lies between is read elsewhere too");
        let chunks = Chunks::of(m.fact_of(x), self.tokens)?;
        let mut patch = Patch::new();
        let joined = chunks.join(&mut patch, |patch, cut| {
            let x = cut(patch, x);
            let wide = linear(m, patch, wide, x);
            let active = patch.add("active", m.op_of(active).clone(), &[wide]);
            linear(m, patch, m.root(), active)
        });
        Ok(patch.replace(m.root(), joined))
    }
}

/// Plans the product of `id` for another `x`.
fn linear(m: &Match<'_>, patch: &mut Patch, id: NodeId, x: Value) -> Value {
    let rest = [1, 2].map(|port| m.input_of(id, port).map(Value::from));
    patch.add_with_gaps("part", Linear {}, &[Some(x), rest[0], rest[1]])
}
