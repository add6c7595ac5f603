//! Casts there and back.

use ltxc_ir::{Dtype, Op, Patch};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict, require};

/// `cast(cast(x: f16) to f32) to f16` -> `x`, where the type in between holds every number of `x`.
#[derive(Default, Deserialize)]
pub struct DropRoundTripCasts;

impl Rule for DropRoundTripCasts {
    fn meta(&self) -> Meta {
        Meta {
            id: "drop-round-trip-casts",
            fidelity: Fidelity::Exact,
            summary: "Drops casts to a wider type and back.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["cast"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let wide = m.required(0)?;
        let Op::Cast(_) = m.op_of(wide) else {
            return Err(Declined::NotMine);
        };
        let x = m.inputs_of(wide).first().copied().flatten();
        let x = x.ok_or(Declined::NotMine)?;
        let (from, between) = (m.fact_of(x).dtype, m.fact_of(wide).dtype);
        if from != m.fact().dtype {
            return Err(Declined::NotMine);
        }
        require!(holds(between, from), "{between} does not hold every {from}");
        Ok(Patch::new().replace(m.root(), x))
    }
}

/// Whether every number of `narrow` is one of `wide`.
fn holds(wide: Dtype, narrow: Dtype) -> bool {
    match narrow {
        Dtype::F16 | Dtype::Bf16 => wide == Dtype::F32,
        Dtype::F8e4m3 => matches!(wide, Dtype::F32 | Dtype::F16 | Dtype::Bf16),
        Dtype::I32 => wide == Dtype::I64,
        Dtype::Bool => wide != Dtype::Bool,
        Dtype::F32 | Dtype::I64 | Dtype::I8 | Dtype::I4 | Dtype::F4e2m1 | Dtype::U8 => false,
    }
}
