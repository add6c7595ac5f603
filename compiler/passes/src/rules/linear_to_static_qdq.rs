//! Linear layers on 8 bits, their inputs measured before.

use std::collections::BTreeMap;

use ltxc_ir::attrs::Literal;
use ltxc_ir::op::{Add, Cast, Constant, Dequantize, Matmul, Mul, Quantize, Transpose, WeightScale};
use ltxc_ir::{Dtype, Patch, Size, Value, narrow};
use serde::Deserialize;

use crate::linear::Linear;
use crate::matched::Match;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict};
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
    scales: Option<BTreeMap<String, Reach>>,
    /// Layers that stay as they are, by the name of the node or the key of the weight; `*` stands for anything.
    leave: Vec<String>,
}

/// How far the inputs of a layer reach.
#[derive(Clone, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Reach {
    /// The largest magnitude.
    Plain(f32),
    /// The largest magnitude once each input is divided by two to the power of its number here.
    Smooth { largest: f32, smooth: Vec<i8> },
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
        let (magnitude, smooth) = self.reach(layer.key)?;
        let mut patch = Patch::new();
        let (x, weight) = match smooth {
            Some(smooth) => smoothed(&mut patch, m, &layer, smooth)?,
            None => (layer.x.into(), layer.weight.into()),
        };
        let narrow = self.quantized(&mut patch, m, x, magnitude);
        let turned = self.turned_weight(&mut patch, m, weight);
        let mut y = patch.add("product", Matmul {}, &[narrow, turned]);
        if let Some(b) = layer.bias {
            y = patch.add("biased", Add {}, &[y, b]);
        }
        Ok(patch.replace(m.root(), y))
    }
}

impl LinearToStaticQdq {
    /// The largest magnitude, and the powers of two that inputs are divided by before.
    fn reach(&self, key: &str) -> Result<(f32, Option<&[i8]>), Declined> {
        let scales = self.scales.as_ref();
        let scales = scales.ok_or_else(|| Declined::Because("there are no scales".to_owned()))?;
        let reach = scales.get(key).map(|reach| match reach {
            Reach::Plain(most) => (*most, None),
            Reach::Smooth { largest, smooth } => (*largest, Some(smooth.as_slice())),
        });
        match reach {
            Some((most, smooth)) if most > 0.0 && most.is_finite() => Ok((most, smooth)),
            Some((most, _)) => Err(Declined::Unmet(format!(
                "the inputs of `{key}` reach {most} in the file of scales; a number over 0 is needed, or the layer in `leave`"
            ))),
            None => Err(Declined::Unmet(format!(
                "the file of scales says nothing of the inputs of `{key}`; make it anew with `ltxc calibrate`, or name the \
                 layer in `leave`"
            ))),
        }
    }

    /// The inputs, quantised by one scale and back.
    fn quantized(&self, patch: &mut Patch, m: &Match<'_>, x: Value, magnitude: f32) -> Value {
        let most = narrow::largest(self.to).unwrap_or(1.0);
        let scale = Constant {
            dtype: m.fact().dtype,
            shape: Vec::new(),
            data: Literal::Floats(vec![narrow::scale_for(magnitude, most)]),
        };
        let scale = patch.add("scale", scale, &[]);
        let (to, axis, block) = (self.to, None, None);
        let q = patch.add("quantized", Quantize { to, axis, block }, &[x, scale]);
        patch.add("dequantized", Dequantize { axis, block }, &[q, scale])
    }

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

/// Inputs divided by powers of two, and the weight multiplied by them.
fn smoothed(
    patch: &mut Patch,
    m: &Match<'_>,
    layer: &Linear<'_>,
    smooth: &[i8],
) -> Result<(Value, Value), Declined> {
    let fact = m.fact_of(layer.weight);
    if fact.shape.last().and_then(Size::as_const) != Some(smooth.len() as i64) {
        return Err(Declined::Unmet(format!(
            "the file of scales has {} inputs for `{}`, which is {fact}; make it anew with `ltxc calibrate`",
            smooth.len(),
            layer.key
        )));
    }
    let down = patch.add("down", powers(m.fact_of(layer.x).dtype, smooth, -1), &[]);
    let up = patch.add("up", powers(fact.dtype, smooth, 1), &[]);
    let x = patch.add("smoothed", Mul {}, &[layer.x.into(), down]);
    let weight = patch.add("raised", Mul {}, &[layer.weight.into(), up]);
    Ok((x, weight))
}

/// Two to the powers, or to their negatives.
fn powers(dtype: Dtype, smooth: &[i8], sign: i32) -> Constant {
    let power = |n: &i8| 2f32.powi(sign * i32::from(*n));
    Constant {
        dtype,
        shape: vec![Size::from(smooth.len() as i64)],
        data: Literal::Floats(smooth.iter().map(power).collect()),
    }
}
