//! Rotary embedding as one operator.

use ltxc_ir::op::{Expand, Iota, OnnxRotaryEmbedding, Reshape};
use ltxc_ir::{Dtype, NodeId, Op, Patch, Size, Value};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict, require};

/// `rope(x, cos, sin)` -> `RotaryEmbedding(x, rows of cos, rows of sin, ids)`, one head as wide as the last axis.
///
/// The operator takes tables of two axes and the row of each position. Tables [R, S, n/2] become R * S rows; with one
/// set of rows for the whole batch, every batch row gets the same ids, so the tables are never repeated.
#[derive(Default, Deserialize)]
pub struct RopeToRotaryEmbedding;

impl Rule for RopeToRotaryEmbedding {
    fn meta(&self) -> Meta {
        Meta {
            id: "rope-to-rotary-embedding",
            fidelity: Fidelity::Exact,
            summary: "Writes rotary embedding as the ONNX operator.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["rope"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let Op::Rope(op) = m.op() else {
            return Err(Declined::NotMine);
        };
        let wanted = m.capabilities().rotary_embedding;
        require!(wanted, "the target has no RotaryEmbedding");
        let fact = m.fact();
        require!(fact.rank() == 3, "{fact} has no three axes");
        require!(fact.dtype != Dtype::Bf16, "no kernel for {}", fact.dtype);
        let (x, cos, sin) = (m.required(0)?, m.required(1)?, m.required(2)?);
        let sets = sets(m, cos, sin)?;
        let mut patch = Patch::new();
        let tables = ["cos_rows", "sin_rows"].into_iter().zip([cos, sin]);
        let tables: Vec<Value> = tables
            .map(|(hint, table)| rows(m, hint, table, &mut patch))
            .collect();
        let ids = ids(m, sets, &mut patch);
        let op = OnnxRotaryEmbedding { pairs: op.pairs };
        let y = patch.add("rotated", op, &[x.into(), tables[0], tables[1], ids]);
        Ok(patch.replace(m.root(), y))
    }
}

/// How many sets of rows the tables have: 1, or one per batch row.
fn sets(m: &Match<'_>, cos: NodeId, sin: NodeId) -> Result<Size, Declined> {
    let shape = &m.fact_of(cos).shape;
    let same = m.fact_of(sin).shape == *shape;
    require!(same, "the two tables have different shapes");
    let positions = shape.len() >= 2 && shape[shape.len() - 2] == m.fact().shape[1];
    require!(positions, "the tables have no row for each position");
    Ok(match shape.len() {
        2 => Size::from(1),
        _ => shape[0].clone(),
    })
}

/// A table with all its rows on one axis.
fn rows(m: &Match<'_>, hint: &str, table: NodeId, patch: &mut Patch) -> Value {
    let shape = &m.fact_of(table).shape;
    match shape.as_slice() {
        [sets, positions, half] => {
            let to = vec![sets.clone() * positions.clone(), half.clone()];
            patch.add(hint, Reshape { to }, &[table.into()])
        }
        _ => table.into(),
    }
}

/// The row of each position: i64[B, S].
fn ids(m: &Match<'_>, sets: Size, patch: &mut Patch) -> Value {
    let (batch, positions) = (m.fact().shape[0].clone(), m.fact().shape[1].clone());
    let n = sets.clone() * positions.clone();
    let all = patch.add(
        "row",
        Iota {
            n,
            dtype: Dtype::I64,
        },
        &[],
    );
    let to = vec![sets.clone(), positions.clone()];
    let by_set = patch.add("row_of_set", Reshape { to }, &[all]);
    match sets == batch {
        true => by_set,
        false => {
            let to = vec![batch, positions];
            patch.add("ids", Expand { to }, &[by_set])
        }
    }
}
