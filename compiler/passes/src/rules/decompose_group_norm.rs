//! Group norm as the one form of it that every runtime has.

use ltxc_ir::op::{Add, GroupNorm, Mul, Reshape};
use ltxc_ir::{NodeId, Op, Patch, Size, Value};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict, require};

/// `group_norm(x, w?, b?)` -> `reshape(group_norm(reshape(x, [B, groups, rest]))) * w + b`.
///
/// Inside, every group is one channel: that is `InstanceNormalization`, which reads `x` less often than a mean, a
/// variance and a quotient do.
#[derive(Default, Deserialize)]
pub struct DecomposeGroupNorm;

impl Rule for DecomposeGroupNorm {
    fn meta(&self) -> Meta {
        Meta {
            id: "decompose-group-norm",
            fidelity: Fidelity::Exact,
            summary: "Writes group norm as a norm of one channel per group, times a weight plus a bias.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["group_norm"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let Op::GroupNorm(op) = m.op() else {
            return Err(Declined::NotMine);
        };
        let (x, shape) = (m.required(0)?, &m.fact().shape);
        let plain = m.input(1).is_none() && m.input(2).is_none();
        let groups = i64::try_from(op.groups).map_err(|_| Declined::NotMine)?;
        let alone = shape.len() == 3 && shape[1].as_const() == Some(groups);
        require!(!(plain && alone), "every group is one channel already");
        let mut patch = Patch::new();
        let mut y = normed(op, groups, x, shape, &mut patch)?;
        if let Some(w) = m.input(1) {
            let w = aligned("weight", w, shape, &mut patch);
            y = patch.add("weighted", Mul {}, &[y, w]);
        }
        if let Some(b) = m.input(2) {
            let b = aligned("bias", b, shape, &mut patch);
            y = patch.add("shifted", Add {}, &[y, b]);
        }
        Ok(patch.replace(m.root(), y))
    }
}

fn normed(
    op: &GroupNorm,
    groups: i64,
    x: NodeId,
    shape: &[Size],
    patch: &mut Patch,
) -> Result<Value, Declined> {
    let run = shape[1]
        .div_exact(&groups.into())
        .ok_or(Declined::NotMine)?;
    let rest = shape[2..].iter().fold(run, |all, size| all * size.clone());
    let by_group = Reshape {
        to: vec![shape[0].clone(), groups.into(), rest],
    };
    let by_group = patch.add("groups", by_group, &[x.into()]);
    let normed = patch.add("normed", op.clone(), &[by_group]);
    let to = shape.to_vec();
    Ok(patch.add("channels", Reshape { to }, &[normed]))
}

/// A vector of the channels with an axis of size 1 for each one behind them.
fn aligned(name: &str, vector: NodeId, shape: &[Size], patch: &mut Patch) -> Value {
    if shape.len() == 2 {
        return vector.into();
    }
    let mut to = vec![Size::from(1); shape.len() - 1];
    to[0] = shape[1].clone();
    patch.add(name, Reshape { to }, &[vector.into()])
}
