//! What the attention rules share: reading `sdpa`, and what each fused operator takes.

use ltxc_ir::op::{Add, Expand, Mul, Reshape, Sdpa, Softmax, Transpose};
use ltxc_ir::{NodeId, Op, Patch, Size, Value};

use crate::chunks::Chunks;
use crate::constant::scalar;
use crate::matched::Match;
use crate::rule::{Declined, Verdict, require};
use crate::target::AttentionForm;

/// An attention with its sizes known.
pub(crate) struct Attention {
    pub(crate) q: NodeId,
    pub(crate) k: NodeId,
    pub(crate) v: NodeId,
    pub(crate) mask: Option<NodeId>,
    pub(crate) heads: usize,
    /// Channels of a query or key per head.
    pub(crate) q_head: i64,
    /// Channels of a value per head.
    pub(crate) v_head: i64,
    /// Factor on the scores.
    pub(crate) scale: f64,
}

impl Attention {
    pub(crate) fn read(m: &Match<'_>) -> Result<Self, Declined> {
        let Op::Sdpa(Sdpa { heads, scale }) = m.op() else {
            return Err(Declined::NotMine);
        };
        let (q, v) = (m.required(0)?, m.required(2)?);
        let q_head = head_size(m, q, *heads)?;
        Ok(Self {
            q,
            k: m.required(1)?,
            v,
            mask: m.input(3),
            heads: *heads,
            q_head,
            v_head: head_size(m, v, *heads)?,
            scale: scale.unwrap_or(1.0 / (q_head as f64).sqrt()),
        })
    }

    /// The type of the scores: [B, heads, S, L].
    pub(crate) fn scores(&self, m: &Match<'_>) -> [Size; 4] {
        let (q, k) = (&m.fact_of(self.q).shape, &m.fact_of(self.k).shape);
        let heads = Size::from(self.heads as i64);
        [q[0].clone(), heads, q[1].clone(), k[1].clone()]
    }
}

fn head_size(m: &Match<'_>, id: NodeId, heads: usize) -> Result<i64, Declined> {
    let width = &m.fact_of(id).shape[2];
    let head = width.as_const().map(|width| width / heads.max(1) as i64);
    head.ok_or_else(|| Declined::Because(format!("a width of {width} is not fixed")))
}

/// Whether the target writes this attention as one operator, and which.
pub(crate) fn require_fused(
    m: &Match<'_>,
    attention: &Attention,
    form: AttentionForm,
) -> Result<(), Declined> {
    let wanted = m.capabilities().attention;
    require!(wanted == form, "the target wants {wanted}");
    match form {
        AttentionForm::OrtMultiHeadAttention => require_ort(m, attention),
        AttentionForm::OnnxAttention => Ok(()),
        AttentionForm::Decomposed => Err(Declined::Because("no operator fits".to_owned())),
    }
}

fn require_ort(m: &Match<'_>, attention: &Attention) -> Result<(), Declined> {
    let (q, v) = (attention.q_head, attention.v_head);
    require!(
        q == v,
        "heads of {q} and of {v} channels, one size is needed"
    );
    let rank = attention.mask.map(|mask| m.fact_of(mask).rank());
    require!(
        rank.is_none_or(|rank| rank == 4),
        "the mask has rank {}, an attention bias has 4",
        rank.unwrap_or_default()
    );
    Ok(())
}

/// Plans the mask with rank 4, its axes left to broadcast.
pub(crate) fn ranked_mask(
    m: &Match<'_>,
    attention: &Attention,
    patch: &mut Patch,
) -> Option<Value> {
    let mask = attention.mask?;
    let to = ranked_shape(m, mask);
    match m.fact_of(mask).rank() < 4 {
        true => Some(patch.add("mask", Reshape { to }, &[mask.into()])),
        false => Some(mask.into()),
    }
}

fn ranked_shape(m: &Match<'_>, mask: NodeId) -> Vec<Size> {
    let shape = &m.fact_of(mask).shape;
    let ones = vec![Size::from(1); 4usize.saturating_sub(shape.len())];
    ones.into_iter().chain(shape.iter().cloned()).collect()
}

/// Plans the mask with queries and keys written out; batch and heads are left to broadcast.
pub(crate) fn full_mask(m: &Match<'_>, attention: &Attention, patch: &mut Patch) -> Option<Value> {
    let value = ranked_mask(m, attention, patch)?;
    let shape = ranked_shape(m, attention.mask?);
    let [_, _, queries, keys] = attention.scores(m);
    let to = vec![shape[0].clone(), shape[1].clone(), queries, keys];
    match shape == to {
        true => Some(value),
        false => Some(patch.add("full_mask", Expand { to }, &[value])),
    }
}

/// What the products of attention read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operand {
    /// Queries times the scale: [B, heads, S, d].
    Queries,
    /// Keys: [B, heads, d, L].
    Keys,
    /// Softmax of the scores: [B, heads, S, L].
    Weights,
    /// Values: [B, heads, L, d].
    Values,
}

/// How a product of two operands is planned, with a hint for its name.
pub(crate) type Multiply<'a> = &'a dyn Fn(&mut Patch, &str, [(Operand, Value); 2]) -> Value;

/// Plans attention as two products and a softmax. The scale multiplies the queries, which are smaller than the scores; the
/// mask is left to broadcast.
pub(crate) fn products(
    m: &Match<'_>,
    attention: &Attention,
    patch: &mut Patch,
    multiply: Multiply<'_>,
) -> Value {
    let weights = weights(m, attention, patch, multiply);
    let to = by_head(m, attention, attention.v, attention.v_head);
    let v = split(patch, "v", attention.v.into(), to, [0, 2, 1, 3]);
    let operands = [(Operand::Weights, weights), (Operand::Values, v)];
    let mixed = multiply(patch, "mixed", operands);
    let perm = vec![0, 2, 1, 3];
    let rows = patch.add("rows", Transpose { perm }, &[mixed]);
    let to = m.fact().shape.clone();
    patch.add("joined", Reshape { to }, &[rows])
}

/// Plans the softmax over the keys: [B, heads, S, L].
fn weights(
    m: &Match<'_>,
    attention: &Attention,
    patch: &mut Patch,
    multiply: Multiply<'_>,
) -> Value {
    let shape = |id| by_head(m, attention, id, attention.q_head);
    let q = scale(m, attention, patch);
    let q = split(patch, "q", q, shape(attention.q), [0, 2, 1, 3]);
    let k = attention.k;
    let k = split(patch, "k", k.into(), shape(k), [0, 2, 3, 1]);
    let operands = [(Operand::Queries, q), (Operand::Keys, k)];
    let mut scores = multiply(patch, "scores", operands);
    if let Some(mask) = attention.mask {
        scores = patch.add("masked", Add {}, &[scores, mask.into()]);
    }
    patch.add("weights", Softmax { axis: -1 }, &[scores])
}

/// `sdpa` of at most `tokens` queries at a time, put together; declines where there are no more.
pub(crate) fn by_queries(m: &Match<'_>, tokens: i64) -> Verdict {
    let Op::Sdpa(op) = m.op() else {
        return Err(Declined::NotMine);
    };
    let (q, k, v) = (m.required(0)?, m.required(1)?, m.required(2)?);
    let queries = &m.fact_of(q).shape[1];
    let chunks = Chunks::of(m.fact_of(q), tokens)?;
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

/// Plans the queries times the scale.
pub(crate) fn scale(m: &Match<'_>, attention: &Attention, patch: &mut Patch) -> Value {
    let q = Value::Old(attention.q);
    if attention.scale == 1.0 {
        return q;
    }
    let dtype = m.fact_of(attention.q).dtype;
    let factor = scalar(patch, "scale", dtype, attention.scale);
    patch.add("scaled", Mul {}, &[q, factor])
}
