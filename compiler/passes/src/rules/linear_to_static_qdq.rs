//! Linear layers on 8 bits, their inputs measured before.

use ltxc_ir::op::{Add, Cast, Dequantize, Matmul, Quantize, Transpose, WeightScale};
use ltxc_ir::{Dtype, Patch, Value, narrow};
use serde::Deserialize;

use crate::matched::Match;
use crate::reach::{Reaches, pair};
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict};
use crate::target::Capabilities;

/// `linear(x, w, b?)` -> `matmul(dequantize(quantize(x, s), s), dequantize(transpose(quantize(w, t)), t)) + b`.
///
/// `s` is one number, from the range that a calibration found; `t = weight_scale(w)` is taken and applied while the
/// weight is streamed. Runtimes that know the pairs compute the product on the quantised numbers and add in more bits.
///
/// Where the calibration says so, `x / f` and `w * f` take the place of `x` and `w`, `f` one power of two for each input
/// ([SmoothQuant](https://arxiv.org/abs/2211.10438)): the product is the same, and its inputs spread less.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearToStaticQdq {
    /// `f8e4m3` or `i8`.
    to: Dtype,
    /// The largest number of a weight of `i8`, 127 or less; that of the type where left out.
    largest: Option<u16>,
    /// Whether each output has a scale for its weights, or all have one.
    per_channel: bool,
    /// How far the inputs of a layer reach, by the key of its weight; without any, nothing changes.
    scales: Option<Reaches>,
    /// Layers that stay as they are, by the name of the node or the key of the weight; `*` stands for anything.
    leave: Vec<String>,
}

impl Default for LinearToStaticQdq {
    fn default() -> Self {
        Self {
            to: Dtype::F8e4m3,
            largest: None,
            per_channel: true,
            scales: None,
            leave: Vec::new(),
        }
    }
}

impl Rule for LinearToStaticQdq {
    fn meta(&self) -> Meta {
        Meta {
            id: "linear-to-static-qdq",
            fidelity: Fidelity::Lossy,
            summary: "Computes linear layers on 8 bits, with the range of each input as a calibration found it.",
        }
    }

    fn refuse(&self, can: &Capabilities) -> Option<String> {
        let most = narrow::largest(self.to).unwrap_or_default();
        if let Some(largest) = self.largest.filter(|n| *n == 0 || f32::from(*n) > most) {
            return Some(format!("{} holds no weights up to {largest}", self.to));
        }
        (!can.quantized_products.contains(&self.to)).then(|| {
            format!(
                "the target has no products of {} (`quantized_products`)",
                self.to
            )
        })
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["linear"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let layer = m.linear(&self.leave)?;
        let mut patch = Patch::new();
        let ranged = layer.ranged(&mut patch, m, self.scales.as_ref())?;
        let types = (m.fact().dtype, self.to);
        let narrow = pair(&mut patch, "", types, ranged.x, ranged.magnitude);
        let turned = self.turned_weight(&mut patch, m, ranged.weight);
        let mut y = patch.add("product", Matmul {}, &[narrow, turned]);
        if let Some(b) = layer.bias {
            y = patch.add("biased", Add {}, &[y, b]);
        }
        Ok(patch.replace(m.root(), y))
    }
}

impl LinearToStaticQdq {
    /// The weight [in, out], quantised and back.
    fn turned_weight(&self, patch: &mut Patch, m: &Match<'_>, weight: Value) -> Value {
        let (to, largest, block) = (self.to, self.largest, None);
        let axis = self.per_channel.then_some(0);
        let scale = WeightScale {
            to,
            largest,
            axis,
            block,
        };
        let scale = patch.add("weight_scale", scale, &[weight]);
        let quantize = Quantize { to, axis, block };
        let q = patch.add("weight", quantize, &[weight, scale]);
        let q = patch.add("transposed", Transpose { perm: vec![1, 0] }, &[q]);
        let scale = match m.fact().dtype {
            Dtype::F32 => scale,
            to => patch.add("narrow_scale", Cast { to }, &[scale]),
        };
        let axis = self.per_channel.then_some(1);
        patch.add("weight_again", Dequantize { axis, block }, &[q, scale])
    }
}
