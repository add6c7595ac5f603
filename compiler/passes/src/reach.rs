//! Ranges of values, as a calibration found them.

use std::collections::BTreeMap;

use ltxc_ir::op::{Dequantize, Quantize};
use ltxc_ir::{Dtype, Patch, Value, narrow};
use serde::{Deserialize, Serialize};

use crate::constant::scalar;
use crate::rule::Declined;

/// How far values reach, by their names in the file of scales ([`ltxc_ir::ranges`]).
pub(crate) type Reaches = BTreeMap<String, Reach>;

/// How far a value reaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Reach {
    /// The largest magnitude.
    Plain(f32),
    /// The largest magnitude once each input is divided by two to the power of its number here.
    Smooth {
        /// The largest magnitude after that.
        largest: f32,
        /// The powers, one for each input.
        smooth: Vec<i8>,
    },
}

impl Reach {
    /// The magnitude to quantise for.
    pub fn largest(&self) -> f32 {
        match self {
            Self::Plain(largest) | Self::Smooth { largest, .. } => *largest,
        }
    }
}

/// How far a value reaches; declines without any ranges, and is refused without a usable one of its own. `what` it is
/// stands in the message.
pub(crate) fn reach_of<'a>(
    reaches: Option<&'a Reaches>,
    name: &str,
    what: &str,
) -> Result<&'a Reach, Declined> {
    let reaches = reaches.ok_or_else(|| Declined::Because("there are no scales".to_owned()))?;
    let reach = reaches.get(name).ok_or_else(|| {
        Declined::Unmet(format!(
            "the file of scales says nothing of {what}; make it anew with `ltxc calibrate`, or name the layer in `leave`"
        ))
    })?;
    let magnitude = reach.largest();
    if magnitude <= 0.0 || !magnitude.is_finite() {
        return Err(Declined::Unmet(format!(
            "{what} reach {magnitude} in the file of scales; a number over 0 is needed, or the layer in `leave`"
        )));
    }
    Ok(reach)
}

/// Plans a value of type `dtype`, quantised to another by one scale for its largest magnitude, and back: a Q/DQ pair, whose
/// names begin with `hint`.
pub(crate) fn pair(
    patch: &mut Patch,
    hint: &str,
    (dtype, to): (Dtype, Dtype),
    value: Value,
    magnitude: f32,
) -> Value {
    let named = |what: &str| format!("{hint}{what}");
    let scale = narrow::scale_for(magnitude, narrow::largest(to).unwrap_or(1.0));
    let scale = scalar(patch, &named("scale"), dtype, scale.into());
    let (axis, block) = (None, None);
    let quantize = Quantize { to, axis, block };
    let quantized = patch.add(&named("quantized"), quantize, &[value, scale]);
    let back = Dequantize { axis, block };
    patch.add(&named("dequantized"), back, &[quantized, scale])
}
