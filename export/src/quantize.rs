//! Quantised weights: scales, and numbers by those scales, in the bytes of the data file.
//!
//! Rows go through in blocks, so memory is that of what is written at a byte for each number, a quarter of the weight in
//! f32 or less. The numbers are those of [`ltxc_ir::narrow`], which is what the reference interpreter computes.

use ltxc_ir::{Dtype, narrow};

use crate::checkpoint::{Checkpoint, TensorInfo};
use crate::merge::{MergeError, columns_of, each_block};
use crate::numbers::round_into;
use crate::onnx::{Quantized, Shared, Step, WeightPlan};

/// What the first step of a plan makes of a weight, and how it is to be rearranged: the rest of the plan, on elements of
/// whole bytes. `None` if nothing is quantised.
pub fn quantized(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    plan: &WeightPlan,
) -> Result<Option<(Vec<u8>, WeightPlan)>, MergeError> {
    let (bytes, shape, element) = match plan.steps.as_slice() {
        [Step::Scale(by), Step::Scale(_), ..] => {
            let whole = whole_scale(&scales(checkpoint, tensor, by)?);
            (whole.to_le_bytes().to_vec(), Vec::new(), Dtype::F32)
        }
        [Step::Scale(by), Step::Quantize(again), ..] => {
            let scales = scales(checkpoint, tensor, by)?;
            let whole = whole_scale(&scales);
            let number = |scale: &f32| byte(again.to, narrow::quantize(again.to, *scale, whole));
            let bytes = scales.iter().map(number).collect();
            (bytes, by.scale_shape(&plan.shape), again.to)
        }
        [Step::Scale(by), ..] => {
            let (scales, mut bytes) = (scales(checkpoint, tensor, by)?, Vec::new());
            if !round_into(&scales, plan.written, &mut bytes) {
                let (key, written) = (tensor.source_key.clone(), plan.written);
                return Err(MergeError::TooLarge { key, written });
            }
            (bytes, by.scale_shape(&plan.shape), plan.written)
        }
        [Step::Quantize(by), ..] => {
            let numbers = numbers(checkpoint, tensor, by)?;
            (numbers, plan.shape.clone(), whole(by.to))
        }
        _ => return Ok(None),
    };
    let rest = WeightPlan {
        stored: element,
        written: element,
        shape,
        ..plan.clone()
    };
    Ok(Some((bytes, rest)))
}

/// The type of one byte in which numbers of a type lie before they are packed.
fn whole(dtype: Dtype) -> Dtype {
    match dtype {
        Dtype::I4 => Dtype::I8,
        Dtype::F4e2m1 => Dtype::U8,
        dtype => dtype,
    }
}

/// Bytes with one number each as they are written: two to a byte where the type or the plan says so.
pub fn packed(bytes: Vec<u8>, plan: &WeightPlan) -> Vec<u8> {
    let offset = match plan.steps.last() {
        Some(Step::Pack(_)) => 8,
        _ if plan.written.bits() == 4 => 0,
        _ => return bytes,
    };
    let nibble = |byte: Option<&u8>| byte.map_or(0, |byte| byte.wrapping_add(offset) & 15);
    let pairs = bytes.chunks(2);
    pairs
        .map(|pair| nibble(pair.first()) | (nibble(pair.get(1)) << 4))
        .collect()
}

fn magnitude(values: &[f32]) -> f32 {
    // Not `f32::max`, which would drop what is not a number.
    values
        .iter()
        .fold(0.0, |most, x| if x.abs() <= most { most } else { x.abs() })
}

/// How many numbers that follow one another share a scale, at most a row.
fn run_of(tensor: &TensorInfo, by: &Quantized) -> usize {
    let columns = columns_of(tensor).max(1);
    match by.scales {
        Shared::Block(block) => block,
        Shared::All | Shared::Row => columns,
    }
}

/// Some whole rows at a time, their columns multiplied where that comes first.
fn each_smoothed(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    by: &Quantized,
    take: &mut dyn FnMut(&[f32]),
) -> Result<(), MergeError> {
    let Some(columns) = &by.columns else {
        return each_block(checkpoint, tensor, take);
    };
    each_block(checkpoint, tensor, &mut |values| {
        let factors = columns.iter().cycle();
        let products = values.iter().zip(factors).map(|(x, factor)| x * factor);
        take(&products.collect::<Vec<_>>());
    })
}

fn scales(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    by: &Quantized,
) -> Result<Vec<f32>, MergeError> {
    let (run, mut magnitudes) = (run_of(tensor, by), Vec::new());
    each_smoothed(checkpoint, tensor, by, &mut |values| {
        magnitudes.extend(values.chunks(run).map(magnitude));
    })?;
    if !magnitudes.iter().all(|x| x.is_finite()) {
        let key = tensor.source_key.clone();
        return Err(MergeError::NoScale { key });
    }
    if by.scales == Shared::All {
        magnitudes = vec![magnitude(&magnitudes)];
    }
    let largest = f32::from(by.largest);
    let scales = magnitudes.into_iter();
    let mut scales: Vec<f32> = scales.map(|x| narrow::scale_for(x, largest)).collect();
    if by.rounded {
        let whole = whole_scale(&scales);
        let rounded = |scale: f32| narrow::quantize(Dtype::F8e4m3, scale, whole) * whole;
        scales.iter_mut().for_each(|scale| *scale = rounded(*scale));
    }
    Ok(scales)
}

/// The scale of scales that are written as `f8e4m3`.
fn whole_scale(scales: &[f32]) -> f32 {
    let largest = narrow::largest(Dtype::F8e4m3).unwrap_or(1.0);
    narrow::scale_for(magnitude(scales), largest)
}

fn numbers(
    checkpoint: &Checkpoint,
    tensor: &TensorInfo,
    by: &Quantized,
) -> Result<Vec<u8>, MergeError> {
    let scales = scales(checkpoint, tensor, by)?;
    let (run, mut out) = (run_of(tensor, by), Vec::new());
    let mut scale = (0..).map(|run| scales[if by.scales == Shared::All { 0 } else { run }]);
    each_smoothed(checkpoint, tensor, by, &mut |values| {
        for (line, scale) in values.chunks(run).zip(&mut scale) {
            let number = |x: &f32| byte(by.to, narrow::quantize(by.to, *x, scale));
            out.extend(line.iter().map(number));
        }
    })?;
    Ok(out)
}

/// A number of a quantised type in a byte of its own.
fn byte(dtype: Dtype, x: f32) -> u8 {
    match dtype {
        Dtype::F8e4m3 => narrow::f8e4m3_bits(x),
        Dtype::F4e2m1 => narrow::f4e2m1_bits(x),
        _ => (x as i8).cast_unsigned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(written: Dtype, steps: Vec<Step>) -> WeightPlan {
        WeightPlan {
            name: "w".to_owned(),
            key: "w".to_owned(),
            stored: Dtype::F32,
            written,
            shape: vec![1, 4],
            final_shape: vec![1, 4],
            steps,
            scale_in_graph: false,
            offset: 0,
        }
    }

    #[test]
    fn four_bits_lie_two_to_a_byte_the_first_in_the_lower_half() {
        let numbers: Vec<u8> = [-8i8, 7, -1, 3].map(i8::cast_unsigned).to_vec();
        let plain = packed(numbers.clone(), &plan(Dtype::I4, Vec::new()));
        assert_eq!(plain, [0x78, 0x3f]);
        let shifted = plan(Dtype::U8, vec![Step::Pack(vec![1, 1, 2])]);
        assert_eq!(packed(numbers.clone(), &shifted), [0xf0, 0xb7]);
        assert_eq!(
            packed(numbers.clone(), &plan(Dtype::I8, Vec::new())),
            numbers
        );
        assert_eq!(
            packed(vec![1, 2, 3], &plan(Dtype::I4, Vec::new())),
            [0x21, 0x03]
        );
    }
}
