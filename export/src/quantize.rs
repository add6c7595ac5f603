//! Quantised weights: scales, and numbers by those scales, in the bytes of the data file.
//!
//! Rows go through in blocks, so memory is that of what is written, a quarter of the weight in f32 or less. The numbers
//! are those of [`ltxc_ir::narrow`], which is what the reference interpreter computes.

use ltxc_ir::{Dtype, narrow};

use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::merge::{MergeError, columns_of, each_block};
use crate::onnx::{Quantized, Step};

/// What a step that computes makes of a weight.
pub fn quantized(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    step: &Step,
) -> Result<Vec<u8>, MergeError> {
    match step {
        Step::Scale(by) => {
            let scales = scales(checkpoint, tensor, *by)?;
            Ok(scales.iter().flat_map(|x| x.to_le_bytes()).collect())
        }
        Step::Quantize(by) => numbers(checkpoint, tensor, *by),
        // No other step computes.
        Step::Reshape(_) | Step::Transpose(_) | Step::Cast(_) => Ok(Vec::new()),
    }
}

fn magnitude(values: &[f32]) -> f32 {
    // Not `f32::max`, which would drop what is not a number.
    values
        .iter()
        .fold(0.0, |most, x| if x.abs() <= most { most } else { x.abs() })
}

fn scales(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    by: Quantized,
) -> Result<Vec<f32>, MergeError> {
    let (columns, mut magnitudes) = (columns_of(tensor).max(1), Vec::new());
    each_block(checkpoint, tensor, &mut |values| {
        magnitudes.extend(values.chunks(columns).map(magnitude));
    })?;
    if !magnitudes.iter().all(|x| x.is_finite()) {
        let key = tensor.source_key.clone();
        return Err(MergeError::NoScale { key });
    }
    if !by.by_row {
        magnitudes = vec![magnitude(&magnitudes)];
    }
    let largest = f32::from(by.largest);
    Ok(magnitudes
        .into_iter()
        .map(|x| narrow::scale_for(x, largest))
        .collect())
}

fn numbers(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    by: Quantized,
) -> Result<Vec<u8>, MergeError> {
    let scales = scales(checkpoint, tensor, by)?;
    let columns = columns_of(tensor).max(1);
    let (mut out, mut row) = (Vec::new(), 0);
    each_block(checkpoint, tensor, &mut |values| {
        for line in values.chunks(columns) {
            let scale = scales[if by.by_row { row } else { 0 }];
            out.extend(
                line.iter()
                    .map(|x| byte(by.to, narrow::quantize(by.to, *x, scale))),
            );
            row += 1;
        }
    })?;
    Ok(out)
}

/// A number of a quantised type as it is stored.
fn byte(dtype: Dtype, x: f32) -> u8 {
    match dtype {
        Dtype::F8e4m3 => narrow::f8e4m3_bits(x),
        _ => (x as i8).cast_unsigned(),
    }
}
