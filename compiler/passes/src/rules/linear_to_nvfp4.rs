//! Linear layers on 4-bit floats in small blocks.

use ltxc_ir::attrs::Literal;
use ltxc_ir::op::{
    Add, Cast, Constant, Dequantize, Matmul, Quantize, Transpose, TrtFp4DynamicQuantize,
    WeightScale,
};
use ltxc_ir::{Dtype, Patch, Size, Value, narrow};
use serde::Deserialize;

use crate::matched::Match;
use crate::reach::Reaches;
use crate::rule::{Fidelity, Meta, Roots, Rule, Verdict, require};
use crate::target::Capabilities;

/// Numbers that share a scale: what the format says.
const BLOCK: usize = 16;

/// `linear(x, w, b?)` -> `matmul(trt_fp4_dynamic_quantize(x, s), dequantize(transpose(quantize(w, t)), transpose(t))) + b`.
///
/// NVFP4: numbers of E2M1, a scale of E4M3 for each 16 of them in a row, and one of f32 for all. `t` are the weight's,
/// taken and applied while it is streamed; an input's blocks get theirs when they come, the one for all from the range
/// that a calibration found.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinearToNvfp4 {
    /// How far the inputs of a layer reach, by the key of its weight; without any, nothing changes.
    scales: Option<Reaches>,
    /// Layers that stay as they are, by the name of the node or the key of the weight; `*` stands for anything.
    leave: Vec<String>,
}

impl Rule for LinearToNvfp4 {
    fn meta(&self) -> Meta {
        Meta {
            id: "linear-to-nvfp4",
            fidelity: Fidelity::Lossy,
            summary: "Computes linear layers on 4-bit floats (NVFP4), in blocks of 16 with a scale each.",
        }
    }

    fn refuse(&self, can: &Capabilities) -> Option<String> {
        let to = Dtype::F4e2m1;
        let has = can.quantized_products.contains(&to);
        (!has).then(|| format!("the target has no products of {to} (`quantized_products`)"))
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["linear"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let layer = m.linear(&self.leave)?;
        let fact = m.fact_of(layer.weight);
        let inputs = fact.shape.last().and_then(Size::as_const);
        require!(
            inputs.is_some_and(|n| n % BLOCK as i64 == 0),
            "{fact} is not made of blocks of {BLOCK}"
        );
        let mut patch = Patch::new();
        let ranged = layer.ranged(&mut patch, m, self.scales.as_ref())?;
        let narrow = narrowed(&mut patch, ranged.x, ranged.magnitude);
        let weight = turned_weight(&mut patch, m, ranged.weight);
        let mut y = patch.add("product", Matmul {}, &[narrow, weight]);
        if let Some(b) = layer.bias {
            y = patch.add("biased", Add {}, &[y, b]);
        }
        Ok(patch.replace(m.root(), y))
    }
}

/// The inputs, block by block, and back. The largest block's scale becomes the largest of E4M3.
fn narrowed(patch: &mut Patch, x: Value, magnitude: f32) -> Value {
    let most = [Dtype::F4e2m1, Dtype::F8e4m3].map(|dtype| narrow::largest(dtype).unwrap_or(1.0));
    let scale = Constant {
        dtype: Dtype::F32,
        shape: Vec::new(),
        data: Literal::Floats(vec![narrow::scale_for(magnitude, most[0] * most[1])]),
    };
    let scale = patch.add("scale", scale, &[]);
    patch.add(
        "narrow",
        TrtFp4DynamicQuantize { block: BLOCK },
        &[x, scale],
    )
}

/// The weight [in, out], quantised and back.
fn turned_weight(patch: &mut Patch, m: &Match<'_>, weight: Value) -> Value {
    let scale_of = |to, axis, block| WeightScale {
        to,
        largest: None,
        axis,
        block,
    };
    let quantize = |to, axis, block| Quantize { to, axis, block };
    let back = |axis, block| Dequantize { axis, block };
    let turn =
        |patch: &mut Patch, hint, value| patch.add(hint, Transpose { perm: vec![1, 0] }, &[value]);
    let (numbers, scales) = (Dtype::F4e2m1, Dtype::F8e4m3);
    let blocks = (Some(1), Some(BLOCK));
    let exact = patch.add("scales", scale_of(numbers, blocks.0, blocks.1), &[weight]);
    let whole = patch.add("whole_scale", scale_of(scales, None, None), &[exact]);
    let narrow = patch.add(
        "narrow_scales",
        quantize(scales, None, None),
        &[exact, whole],
    );
    let rounded = patch.add("rounded_scales", back(None, None), &[narrow, whole]);
    let by = quantize(numbers, blocks.0, blocks.1);
    let weight = patch.add("weight", by, &[weight, rounded]);
    let weight = turn(patch, "transposed", weight);
    let narrow = turn(patch, "transposed_scales", narrow);
    let mut wide = patch.add("wide_scales", back(None, None), &[narrow, whole]);
    if m.fact().dtype != Dtype::F32 {
        wide = patch.add("cast_scales", Cast { to: m.fact().dtype }, &[wide]);
    }
    patch.add("weight_again", back(Some(0), Some(BLOCK)), &[weight, wide])
}
