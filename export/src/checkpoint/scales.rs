//! Scales of weights in eight bits, one number each.
//!
//! ComfyUI's files have `scale_weight` beside a weight and a marker `scaled_fp8`, newer ones and those of LTX-2
//! `weight_scale`, some with a description `comfy_quant`. What is only for quantised activations is left out.

use serde::Deserialize;

use super::error::CheckpointError;
use super::{Checkpoint, Dtype, TensorInfo};
use crate::numbers::widen;

/// Endings of the scale of a weight.
const SCALES: [&str; 2] = [".scale_weight", ".weight_scale"];
/// Endings of what only matters where activations are quantised.
const IGNORED: [&str; 2] = [".scale_input", ".input_scale"];
/// Ending of a tensor whose bytes are JSON that names the format of a weight.
const FORMAT: &str = ".comfy_quant";
/// A tensor that says no more than that there are scales.
const MARKER: &str = "scaled_fp8";
/// The format that is read here.
const E4M3: &str = "float8_e4m3fn";
/// Longest description of a format.
const LONGEST: u64 = 4096;

/// Moves scales and what belongs to them out of the tensors, so that only weights are left.
pub(super) fn take_scales(mut checkpoint: Checkpoint) -> Result<Checkpoint, CheckpointError> {
    let keys: Vec<String> = checkpoint.tensors.keys().cloned().collect();
    for key in keys {
        let of_marker = key == MARKER || key.ends_with(&format!(".{MARKER}"));
        let weight = |end: &&str| {
            let layer = key.strip_suffix(*end)?;
            let weight = format!("{layer}.weight");
            checkpoint.tensors.contains_key(&weight).then_some(weight)
        };
        let scaled = SCALES.iter().find_map(weight);
        let ignored = IGNORED.iter().find_map(weight).is_some();
        let described = weight(&FORMAT).is_some();
        if !of_marker && !ignored && !described && scaled.is_none() {
            continue;
        }
        let Some(tensor) = checkpoint.tensors.get(&key).cloned() else {
            continue;
        };
        if let Some(weight) = scaled {
            let scale = read_scale(&checkpoint, &tensor)?;
            checkpoint.scales.insert(weight, scale);
        }
        if described {
            check_format(&checkpoint, &tensor)?;
        }
        checkpoint.tensors.remove(&key);
    }
    if !checkpoint.scales.is_empty() {
        let note = format!(
            "{} weights have a scale each, which is applied",
            checkpoint.scales.len()
        );
        checkpoint.notes.push(note);
    }
    Ok(checkpoint)
}

fn read_scale(checkpoint: &Checkpoint, tensor: &TensorInfo) -> Result<f32, CheckpointError> {
    let expected = "one finite number, the scale of a weight";
    if tensor.shape.iter().product::<usize>() != 1 {
        let found = format!("{} {:?}", tensor.dtype, tensor.shape);
        return Err(checkpoint.refuse(tensor, expected, found));
    }
    let read = |bytes: &[u8]| widen(bytes, tensor.dtype).and_then(|values| values.first().copied());
    match checkpoint.with_bytes(tensor, read)? {
        Some(scale) if scale.is_finite() => Ok(scale),
        Some(scale) => Err(checkpoint.refuse(tensor, expected, scale.to_string())),
        None => Err(checkpoint.refuse(tensor, expected, tensor.dtype.to_string())),
    }
}

#[derive(Deserialize)]
struct Format {
    format: String,
}

fn check_format(checkpoint: &Checkpoint, tensor: &TensorInfo) -> Result<(), CheckpointError> {
    let expected = format!("JSON that says the format is {E4M3}");
    let refuse = |found: String| Err(checkpoint.refuse(tensor, &expected, found));
    if tensor.dtype != Dtype::U8 || tensor.bytes > LONGEST {
        return refuse(format!("{} {:?}", tensor.dtype, tensor.shape));
    }
    let read = |bytes: &[u8]| serde_json::from_slice::<Format>(bytes);
    match checkpoint.with_bytes(tensor, read)? {
        Ok(format) if format.format == E4M3 => Ok(()),
        Ok(format) => refuse(format!("`{}`", format.format)),
        Err(error) => refuse(error.to_string()),
    }
}
