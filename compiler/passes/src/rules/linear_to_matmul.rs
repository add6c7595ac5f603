//! Linear layers as products.

use ltxc_ir::Patch;
use ltxc_ir::op::{Add, Matmul, Transpose};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict, require};

/// `linear(x, w, b?)` -> `matmul(x, transpose(w)) + b`.
///
/// The transposed weight is an expression; whoever writes the weights folds it while they stream.
#[derive(Default, Deserialize)]
pub struct LinearToMatmul;

impl Rule for LinearToMatmul {
    fn meta(&self) -> Meta {
        Meta {
            id: "linear-to-matmul",
            fidelity: Fidelity::Exact,
            summary: "Writes linear layers as products with the transposed weight.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["linear"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let (x, w) = (m.required(0)?, m.required(1)?);
        let (fact, weight) = (m.fact_of(x), m.fact_of(w).dtype);
        require!(fact.rank() >= 2, "{fact} is no matrix");
        require!(fact.dtype == weight, "{fact} meets weights in {weight}");
        let mut patch = Patch::new();
        let perm = vec![1, 0];
        let transposed = patch.add("transposed", Transpose { perm }, &[w.into()]);
        let mut y = patch.add("product", Matmul {}, &[x.into(), transposed]);
        if let Some(b) = m.input(2) {
            y = patch.add("biased", Add {}, &[y, b.into()]);
        }
        Ok(patch.replace(m.root(), y))
    }
}
