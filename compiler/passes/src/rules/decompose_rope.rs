//! Rotary embedding as arithmetic.

use ltxc_ir::op::{Add, Concat, Mul, Reshape, RopePairs, Select, Slice, Sub};
use ltxc_ir::{Op, Patch, Size, Value};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict};

/// `rope(x, cos, sin)` -> `[a cos - b sin, b cos + a sin]` over pairs `(a, b)` of channels.
///
/// Each half of the channels is read once and the result joined once; the tables keep one column per pair, where the
/// usual `x cos + rotate(x) sin` needs them twice as wide and joins a second time.
#[derive(Default, Deserialize)]
pub struct DecomposeRope;

impl Rule for DecomposeRope {
    fn meta(&self) -> Meta {
        Meta {
            id: "decompose-rope",
            fidelity: Fidelity::Exact,
            summary: "Writes rotary embedding as arithmetic on the two channels of each pair.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["rope"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let Op::Rope(op) = m.op() else {
            return Err(Declined::NotMine);
        };
        let half = m
            .fact()
            .shape
            .last()
            .and_then(|size| size.div_exact(&2.into()));
        let half = half.ok_or_else(|| Declined::Because("the last axis is not even".to_owned()))?;
        let (x, cos, sin) = (m.required(0)?, m.required(1)?, m.required(2)?);
        let mut patch = Patch::new();
        let pair = match op.pairs {
            RopePairs::Interleaved => neighbours(m, &half, x.into(), &mut patch),
            RopePairs::Halves => halves(&half, x.into(), &mut patch)?,
        };
        let turned = turn(&mut patch, pair, cos.into(), sin.into());
        let y = match op.pairs {
            RopePairs::Interleaved => weave(m, &half, turned, &mut patch),
            RopePairs::Halves => patch.add("joined", Concat { axis: -1 }, &turned),
        };
        Ok(patch.replace(m.root(), y))
    }
}

/// The type of `x` with its last axis replaced.
fn shape(m: &Match<'_>, tail: &[Size]) -> Vec<Size> {
    let lead = &m.fact().shape[..m.fact().rank() - 1];
    lead.iter().chain(tail).cloned().collect()
}

/// Channels 2i and 2i + 1.
fn neighbours(m: &Match<'_>, half: &Size, x: Value, patch: &mut Patch) -> [Value; 2] {
    let to = shape(m, &[half.clone(), 2.into()]);
    let pairs = patch.add("pairs", Reshape { to }, &[x]);
    let mut select = |hint, index| patch.add(hint, Select { axis: -1, index }, &[pairs]);
    [select("even", 0), select("odd", 1)]
}

/// Channels i and i + n/2.
fn halves(half: &Size, x: Value, patch: &mut Patch) -> Result<[Value; 2], Declined> {
    let unfixed = || Declined::Because(format!("a half of {half} is not fixed"));
    let middle = half.as_const().ok_or_else(unfixed)?;
    let mut slice = |hint, start, end| {
        let axis = -1;
        patch.add(hint, Slice { axis, start, end }, &[x])
    };
    Ok([slice("low", 0, Some(middle)), slice("high", middle, None)])
}

fn turn(patch: &mut Patch, [a, b]: [Value; 2], cos: Value, sin: Value) -> [Value; 2] {
    let a_cos = patch.add("a_cos", Mul {}, &[a, cos]);
    let b_sin = patch.add("b_sin", Mul {}, &[b, sin]);
    let b_cos = patch.add("b_cos", Mul {}, &[b, cos]);
    let a_sin = patch.add("a_sin", Mul {}, &[a, sin]);
    let first = patch.add("first", Sub {}, &[a_cos, b_sin]);
    let second = patch.add("second", Add {}, &[b_cos, a_sin]);
    [first, second]
}

/// Puts the channels of each pair side by side again.
fn weave(m: &Match<'_>, half: &Size, turned: [Value; 2], patch: &mut Patch) -> Value {
    let mut column = |hint, value| {
        let to = shape(m, &[half.clone(), 1.into()]);
        patch.add(hint, Reshape { to }, &[value])
    };
    let columns = [
        column("first_column", turned[0]),
        column("second_column", turned[1]),
    ];
    let pairs = patch.add("turned", Concat { axis: -1 }, &columns);
    let to = m.fact().shape.clone();
    patch.add("joined", Reshape { to }, &[pairs])
}
