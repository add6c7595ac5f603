//! Linear layers in 8 bits, their inputs measured as they come.

use ltxc_ir::op::{OrtDynamicQuantizeMatmul, Quantize, Transpose, WeightScale};
use ltxc_ir::{Dtype, Patch};
use serde::Deserialize;

use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict, require};
use crate::target::Capabilities;

/// `linear(x, w, b?)` -> `ort_dynamic_quantize_matmul(x, transpose(quantize(w, s)), s, b?)` with `s = weight_scale(w)`.
///
/// A weight has a scale for each of its outputs, taken and applied while it is streamed; an input has one scale for all
/// its values, taken when it is there.
///
/// Processors without VNNI add products of 8 bits in pairs of 16 bits, which saturate: with weights of 7 bits they cannot.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearToDynamicInt8 {
    /// Bits of a weight, 2 to 8.
    bits: u32,
    /// Layers that stay as they are, by the name of the node or the key of the weight; `*` stands for anything.
    leave: Vec<String>,
}

impl Default for LinearToDynamicInt8 {
    fn default() -> Self {
        Self {
            bits: 7,
            leave: Vec::new(),
        }
    }
}

impl Rule for LinearToDynamicInt8 {
    fn meta(&self) -> Meta {
        Meta {
            id: "linear-to-dynamic-int8",
            fidelity: Fidelity::Lossy,
            summary: "Computes linear layers on 8-bit integers, with the range of each input measured at run time.",
        }
    }

    fn refuse(&self, can: &Capabilities) -> Option<String> {
        if !(2..=8).contains(&self.bits) {
            return Some(format!(
                "weights of {} bits are not written; 2 to 8 are",
                self.bits
            ));
        }
        let reason = "the target has no com.microsoft.DynamicQuantizeMatMul (`dynamic_int8`)";
        (!can.dynamic_int8).then(|| reason.to_owned())
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["linear"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let layer = m.linear(&self.leave)?;
        let (w, dtype) = (layer.weight, m.fact().dtype);
        require!(dtype == Dtype::F32, "it computes in {dtype} already");
        let (to, axis) = (Dtype::I8, Some(0));
        let mut patch = Patch::new();
        let by = WeightScale {
            to,
            largest: Some((1 << (self.bits.clamp(2, 8) - 1)) - 1),
            axis,
            block: None,
        };
        let by_row = Quantize {
            to,
            axis,
            block: None,
        };
        let scale = patch.add("scale", by, &[w.into()]);
        let steps = patch.add("quantized", by_row, &[w.into(), scale]);
        let perm = vec![1, 0];
        let steps = patch.add("transposed", Transpose { perm }, &[steps]);
        let inputs = [Some(layer.x.into()), Some(steps), Some(scale), layer.bias];
        let y = patch.add_with_gaps("product", OrtDynamicQuantizeMatmul {}, &inputs);
        Ok(patch.replace(m.root(), y))
    }
}
