//! RMS norm where no operator does it.

use ltxc_ir::op::{Add, Cast, Div, Mean, Mul, Reshape, RmsNorm, Sqrt};
use ltxc_ir::{Dtype, NodeId, Op, Patch, Size, Value, resolve_axis};
use serde::Deserialize;

use crate::constant::scalar;
use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict, require};

/// `rms_norm(x, w?)` -> `x / sqrt(mean(x * x) + eps) * w`.
///
/// `RMSNormalization` of opset 23 knows the last axis only, so norms over another axis are written out everywhere. The
/// mean is an f32 one, since a sum of squares soon passes what 16 bits hold: a narrow `x` becomes
/// `x * narrow(1 / sqrt(mean(wide(x)²) + eps))`, in which nothing as large as `x` is wide but for the mean's operand.
#[derive(Default, Deserialize)]
pub struct DecomposeRmsNorm;

impl Rule for DecomposeRmsNorm {
    fn meta(&self) -> Meta {
        Meta {
            id: "decompose-rms-norm",
            fidelity: Fidelity::Exact,
            summary: "Writes RMS norm as arithmetic where the target has no operator for it.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["rms_norm"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let Op::RmsNorm(op) = m.op() else {
            return Err(Declined::NotMine);
        };
        let (x, rank) = (m.required(0)?, m.fact().rank());
        let axis = resolve_axis(op.axis, rank).ok_or(Declined::NotMine)?;
        let last = axis + 1 == rank;
        require!(
            !(last && m.capabilities().rms_normalization),
            "the target has RMSNormalization over the last axis"
        );
        let mut patch = Patch::new();
        let mut y = normed(m, op, x.into(), &mut patch);
        if let Some(w) = m.input(1) {
            let w = aligned(m, w, rank - axis - 1, &mut patch);
            y = patch.add("weighted", Mul {}, &[y, w]);
        }
        Ok(patch.replace(m.root(), y))
    }
}

fn normed(m: &Match<'_>, op: &RmsNorm, x: Value, patch: &mut Patch) -> Value {
    let dtype = m.fact().dtype;
    if dtype == Dtype::F32 {
        let root = root_of_mean(op, x, patch);
        return patch.add("normed", Div {}, &[x, root]);
    }
    let wide = patch.add("f32", Cast { to: Dtype::F32 }, &[x]);
    let root = root_of_mean(op, wide, patch);
    let one = scalar(patch, "one", Dtype::F32, 1.0);
    let gain = patch.add("gain", Div {}, &[one, root]);
    let gain = patch.add("narrow", Cast { to: dtype }, &[gain]);
    patch.add("normed", Mul {}, &[x, gain])
}

/// `sqrt(mean(x * x) + eps)` of an f32 `x`.
fn root_of_mean(op: &RmsNorm, x: Value, patch: &mut Patch) -> Value {
    let eps = scalar(patch, "eps", Dtype::F32, op.eps);
    let axes = vec![op.axis];
    let square = patch.add("square", Mul {}, &[x, x]);
    let mean = patch.add("mean", Mean { axes }, &[square]);
    let shifted = patch.add("shifted", Add {}, &[mean, eps]);
    patch.add("root", Sqrt {}, &[shifted])
}

/// The weight with `after` axes of size 1 behind its own, to meet the normed axis.
fn aligned(m: &Match<'_>, w: NodeId, after: usize, patch: &mut Patch) -> Value {
    if after == 0 {
        return w.into();
    }
    let mut to = m.fact_of(w).shape.clone();
    to.extend(vec![Size::from(1); after]);
    patch.add("weight", Reshape { to }, &[w.into()])
}
