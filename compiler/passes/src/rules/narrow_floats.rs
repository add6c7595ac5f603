//! Arithmetic in floats of 16 bits.

use ltxc_ir::op::Cast;
use ltxc_ir::{Dtype, NodeId, Op, Patch, Value};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict};
use crate::target::Capabilities;

/// `op(x, w)` -> `cast(op(cast(x), cast(w)))`: an operation on f32 becomes one on the narrow type.
///
/// Each operation is looked at by itself, inputs and outputs of the graph stay f32, and the casts in between cancel
/// (`drop-round-trip-casts`). Operations of `compute` are always narrowed; those of `follow` where an input is narrow
/// already, so that what only leads up to a number (angles, frequencies, positions) stays f32; those of `round` go on
/// in f32 and round their result where their input is narrow.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NarrowFloats {
    /// `f16` or `bf16`.
    to: Dtype,
    /// Operations that compute in the narrow type.
    compute: Vec<String>,
    /// Operations that do so where one of their inputs is narrow.
    #[serde(default)]
    follow: Vec<String>,
    /// Operations that need f32 inside and whose results do not.
    #[serde(default)]
    round: Vec<String>,
    /// Nodes that stay f32, by their name or by the key of a weight that they read; `*` stands for anything.
    #[serde(default)]
    leave: Vec<String>,
}

impl Default for NarrowFloats {
    fn default() -> Self {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        Self {
            to: Dtype::F16,
            compute: words("conv3d linear matmul sdpa"),
            follow: words(
                "add concat expand gelu mul pad reshape rope select silu slice transpose where",
            ),
            round: words("layer_norm rms_norm"),
            leave: Vec::new(),
        }
    }
}

impl Rule for NarrowFloats {
    fn meta(&self) -> Meta {
        Meta {
            id: "narrow-floats",
            fidelity: Fidelity::Lossy,
            summary: "Computes in 16-bit floats, except what the recipe leaves in f32.",
        }
    }

    fn refuse(&self, can: &Capabilities) -> Option<String> {
        let known: Vec<String> = can.floats.iter().map(Dtype::to_string).collect();
        let refused = !can.floats.contains(&self.to);
        refused.then(|| {
            format!(
                "the target does not compute in {}; its `floats` are {}",
                self.to,
                known.join(", ")
            )
        })
    }

    fn roots(&self) -> Roots {
        Roots::Any
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let does = |list: &[String]| list.iter().any(|name| name == m.op().name());
        let typed = matches!(m.op(), Op::Cast(_)) || m.op().is_leaf();
        if m.fact().dtype != Dtype::F32 || typed {
            return Err(Declined::NotMine);
        }
        let narrow = || {
            m.inputs()
                .iter()
                .flatten()
                .any(|id| self.comes_narrow(m, *id))
        };
        if does(&self.compute) || does(&self.follow) && narrow() {
            m.require_not_in(&self.leave)?;
            return Ok(self.narrowed(m));
        }
        if does(&self.round) && narrow() && !self.goes_narrow(m) {
            m.require_not_in(&self.leave)?;
            return Ok(self.rounded(m));
        }
        Err(Declined::NotMine)
    }
}

impl NarrowFloats {
    /// Whether the value is a narrow one that was widened.
    fn comes_narrow(&self, m: &Match<'_>, id: NodeId) -> bool {
        let input = m.inputs_of(id).first().copied().flatten();
        matches!(m.op_of(id), Op::Cast(_)) && input.is_some_and(|id| m.fact_of(id).dtype == self.to)
    }

    /// Whether every reader rounds the value already.
    fn goes_narrow(&self, m: &Match<'_>) -> bool {
        let rounds = |id: &NodeId| m.fact_of(*id).dtype == self.to;
        !m.is_output() && m.users().iter().all(rounds)
    }

    fn narrowed(&self, m: &Match<'_>) -> Patch {
        let mut patch = Patch::new();
        let to = self.to;
        let inputs: Vec<Option<Value>> = m
            .inputs()
            .iter()
            .map(|input| {
                input.map(|id| match m.fact_of(id).dtype {
                    Dtype::F32 => patch.add("narrow", Cast { to }, &[id.into()]),
                    _ => id.into(),
                })
            })
            .collect();
        let y = patch.add_with_gaps(&to.to_string(), m.op().clone(), &inputs);
        let wide = patch.add("wide", Cast { to: Dtype::F32 }, &[y]);
        patch.replace(m.root(), wide)
    }

    fn rounded(&self, m: &Match<'_>) -> Patch {
        let mut patch = Patch::new();
        let inputs: Vec<Option<Value>> = m.inputs().iter().map(|id| id.map(Value::Old)).collect();
        let y = patch.add_with_gaps("f32", m.op().clone(), &inputs);
        let narrow = patch.add("narrow", Cast { to: self.to }, &[y]);
        let wide = patch.add("wide", Cast { to: Dtype::F32 }, &[narrow]);
        patch.replace(m.root(), wide)
    }
}
