//! Linear layers whose weights have 4 bits.

use ltxc_ir::op::{
    Add, Cast, Dequantize, Matmul, OrtMatmulNbits, OrtPackNibbles, Quantize, Transpose, WeightScale,
};
use ltxc_ir::{Dtype, NodeId, Patch, Size, Value};
use serde::Deserialize;

use crate::linear::Linear;
use crate::matched::Match;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict, require};
use crate::target::{Capabilities, Int4Form};

/// `linear(x, w, b?)` -> `ort_matmul_nbits(x, ort_pack_nibbles(quantize(w, s)), s, b?)` with `s = weight_scale(w)`, or
/// `matmul(x, dequantize(transpose(quantize(w, s)), transpose(s))) + b` where the target wants that.
///
/// `block` numbers that follow one another in a row share a scale, taken and applied while the weight is streamed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearToInt4Weights {
    /// Numbers that share a scale: a power of two from 16.
    block: usize,
    /// What `com.microsoft.MatMulNBits` may compute in: 0 as it likes, 1 f32, 4 8-bit integers.
    accuracy_level: u8,
    /// Layers that stay as they are, by the name of the node or the key of the weight; `*` stands for anything.
    leave: Vec<String>,
}

impl Default for LinearToInt4Weights {
    fn default() -> Self {
        Self {
            block: 32,
            accuracy_level: 0,
            leave: Vec::new(),
        }
    }
}

impl Rule for LinearToInt4Weights {
    fn meta(&self) -> Meta {
        Meta {
            id: "linear-to-int4-weights",
            fidelity: Fidelity::Lossy,
            summary: "Keeps the weights of linear layers in 4 bits, in blocks with a scale each.",
        }
    }

    fn refuse(&self, can: &Capabilities) -> Option<String> {
        let (block, level) = (self.block, self.accuracy_level);
        if !block.is_power_of_two() || block < 16 {
            return Some(format!("blocks are powers of two from 16, not {block}"));
        }
        if level > 4 {
            return Some(format!("accuracy_level is 0 to 4, not {level}"));
        }
        let reason = "the target has no weights of 4 bits (`int4_weights`)";
        can.int4_weights.is_none().then(|| reason.to_owned())
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["linear"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let layer = m.linear(&self.leave)?;
        let weight = layer.weight;
        let inputs = m.fact_of(weight).shape.last().and_then(Size::as_const);
        require!(
            inputs.is_some_and(|n| n % self.block as i64 == 0),
            "{} is not made of blocks of {}",
            m.fact_of(weight),
            self.block
        );
        match m.capabilities().int4_weights {
            Some(Int4Form::OrtMatmulNbits) => Ok(self.packed(m, &layer)),
            _ => Ok(self.dequantized(m, &layer)),
        }
    }
}

impl LinearToInt4Weights {
    /// The numbers, and the scales in the type that the layer computes in.
    fn quantized(&self, patch: &mut Patch, m: &Match<'_>, weight: NodeId) -> (Value, Value) {
        let (to, axis, block) = (Dtype::I4, Some(1), Some(self.block));
        let scale = WeightScale {
            to,
            largest: None,
            axis,
            block,
        };
        let scale = patch.add("scale", scale, &[weight.into()]);
        let quantize = Quantize { to, axis, block };
        let numbers = patch.add("quantized", quantize, &[weight.into(), scale]);
        match m.fact().dtype {
            Dtype::F32 => (numbers, scale),
            to => (numbers, patch.add("narrow_scale", Cast { to }, &[scale])),
        }
    }

    fn packed(&self, m: &Match<'_>, layer: &Linear<'_>) -> Patch {
        let mut patch = Patch::new();
        let (numbers, scale) = self.quantized(&mut patch, m, layer.weight);
        let block = self.block;
        let bytes = patch.add("packed", OrtPackNibbles { block }, &[numbers]);
        let op = OrtMatmulNbits {
            block,
            accuracy_level: self.accuracy_level,
        };
        let inputs = [Some(layer.x.into()), Some(bytes), Some(scale), layer.bias];
        let y = patch.add_with_gaps("product", op, &inputs);
        patch.replace(m.root(), y)
    }

    fn dequantized(&self, m: &Match<'_>, layer: &Linear<'_>) -> Patch {
        let mut patch = Patch::new();
        let (numbers, scale) = self.quantized(&mut patch, m, layer.weight);
        let turned = |patch: &mut Patch, hint, value| {
            patch.add(hint, Transpose { perm: vec![1, 0] }, &[value])
        };
        let numbers = turned(&mut patch, "transposed", numbers);
        let scale = turned(&mut patch, "transposed_scale", scale);
        let back = Dequantize {
            axis: Some(0),
            block: Some(self.block),
        };
        let weight = patch.add("weight_again", back, &[numbers, scale]);
        let mut y = patch.add("product", Matmul {}, &[layer.x.into(), weight]);
        if let Some(b) = layer.bias {
            y = patch.add("biased", Add {}, &[y, b]);
        }
        patch.replace(m.root(), y)
    }
}
