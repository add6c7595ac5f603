//! Attention without a fused operator.

use ltxc_ir::op::{Add, Matmul, Mul, Reshape, Softmax, Transpose};
use ltxc_ir::{NodeId, Patch, Size, Value};
use serde::Deserialize;

use crate::attention::{Attention, require_fused};
use crate::constant::scalar;
use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict, require};

/// `sdpa(q, k, v, mask?)` -> `softmax((scale * q) k^T + mask) v`, per head.
///
/// Fires where the target has no fused operator, or where its operator does not take this attention. The scale
/// multiplies the queries, which are smaller than the scores; the mask is left to broadcast.
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
        let weights = weights(m, &attention, &mut patch);
        let to = by_head(m, &attention, attention.v, attention.v_head);
        let v = split(&mut patch, "v", attention.v.into(), to, [0, 2, 1, 3]);
        let mixed = patch.add("mixed", Matmul {}, &[weights, v]);
        let perm = vec![0, 2, 1, 3];
        let rows = patch.add("rows", Transpose { perm }, &[mixed]);
        let to = m.fact().shape.clone();
        let y = patch.add("joined", Reshape { to }, &[rows]);
        Ok(patch.replace(m.root(), y))
    }
}

/// Plans the softmax over the keys: [B, heads, S, L].
fn weights(m: &Match<'_>, attention: &Attention, patch: &mut Patch) -> Value {
    let shape = |id| by_head(m, attention, id, attention.q_head);
    let q = scale(m, attention, patch);
    let q = split(patch, "q", q, shape(attention.q), [0, 2, 1, 3]);
    let k = attention.k;
    let k = split(patch, "k", k.into(), shape(k), [0, 2, 3, 1]);
    let mut scores = patch.add("scores", Matmul {}, &[q, k]);
    if let Some(mask) = attention.mask {
        scores = patch.add("masked", Add {}, &[scores, mask.into()]);
    }
    patch.add("weights", Softmax { axis: -1 }, &[scores])
}

/// The shape of `id` with its last axis split into heads of `size` channels.
fn by_head(m: &Match<'_>, attention: &Attention, id: NodeId, size: i64) -> Vec<Size> {
    let mut shape = m.fact_of(id).shape[..2].to_vec();
    shape.extend([Size::from(attention.heads as i64), Size::from(size)]);
    shape
}

fn split(patch: &mut Patch, hint: &str, value: Value, to: Vec<Size>, perm: [usize; 4]) -> Value {
    let heads = patch.add(&format!("{hint}_heads"), Reshape { to }, &[value]);
    let perm = perm.to_vec();
    patch.add(hint, Transpose { perm }, &[heads])
}

fn scale(m: &Match<'_>, attention: &Attention, patch: &mut Patch) -> Value {
    let q = Value::Old(attention.q);
    if attention.scale == 1.0 {
        return q;
    }
    let dtype = m.fact_of(attention.q).dtype;
    let factor = scalar(patch, "scale", dtype, attention.scale);
    patch.add("scaled", Mul {}, &[q, factor])
}
