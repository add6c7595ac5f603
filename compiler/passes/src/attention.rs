//! What the attention rules share: reading `sdpa`, and what each fused operator takes.

use ltxc_ir::op::{Expand, Reshape, Sdpa};
use ltxc_ir::{NodeId, Op, Patch, Size, Value};

use crate::matched::Match;
use crate::rule::{Declined, require};
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

/// Plans the mask as fused operators take it: rank 4, queries and keys written out, batch and heads left to broadcast.
pub(crate) fn full_mask(m: &Match<'_>, attention: &Attention, patch: &mut Patch) -> Option<Value> {
    let mask = attention.mask?;
    let mut shape = m.fact_of(mask).shape.clone();
    let mut value = Value::Old(mask);
    if shape.len() < 4 {
        let ones = vec![Size::from(1); 4 - shape.len()];
        shape.splice(0..0, ones);
        value = patch.add("mask", Reshape { to: shape.clone() }, &[value]);
    }
    let [_, _, queries, keys] = attention.scores(m);
    let full = vec![shape[0].clone(), shape[1].clone(), queries, keys];
    if shape != full {
        value = patch.add("full_mask", Expand { to: full }, &[value]);
    }
    Some(value)
}
