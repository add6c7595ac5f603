//! Element types of weights as numbers: widening, which is exact, and rounding, which goes to the nearest even.

use std::borrow::Cow;

use half::{bf16, f16};
use ltxc_ir::Dtype;

use crate::checkpoint;

/// The value of every E4M3 byte.
static E4M3: [f32; 256] = e4m3_values();

/// E4M3 without infinities: exponent bias 7, all-ones is NaN.
const fn e4m3_values() -> [f32; 256] {
    let mut values = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (exponent, mantissa) = (((byte >> 3) & 0xf) as u32, (byte & 7) as u32);
        let size = match (exponent, mantissa) {
            (15, 7) => f32::NAN,
            (0, _) => mantissa as f32 / 512.0,
            _ => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
        };
        values[byte] = if byte & 0x80 == 0 { size } else { -size };
        byte += 1;
    }
    values
}

/// The value of an E4M3 byte.
pub fn f8e4m3(byte: u8) -> f32 {
    E4M3[usize::from(byte)]
}

/// Stored elements as f32, exactly; `None` for types that are no weights.
pub fn widen(bytes: &[u8], dtype: checkpoint::Dtype) -> Option<Vec<f32>> {
    let two = |f: fn([u8; 2]) -> f32| bytes.as_chunks().0.iter().map(|b| f(*b)).collect();
    Some(match dtype {
        checkpoint::Dtype::F32 => bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        checkpoint::Dtype::F16 => two(|b| f16::from_le_bytes(b).to_f32()),
        checkpoint::Dtype::BF16 => two(|b| bf16::from_le_bytes(b).to_f32()),
        checkpoint::Dtype::F8E4M3 => bytes.iter().map(|b| f8e4m3(*b)).collect(),
        _ => return None,
    })
}

/// Appends values in a float type, rounded to the nearest even as torch rounds. False where one is not finite in
/// that type.
pub fn round_into(values: &[f32], dtype: Dtype, out: &mut Vec<u8>) -> bool {
    let mut finite = true;
    match dtype {
        Dtype::Bf16 => out.extend(values.iter().flat_map(|v| {
            let rounded = bf16::from_f32(*v);
            finite &= rounded.is_finite();
            rounded.to_le_bytes()
        })),
        Dtype::F16 => out.extend(values.iter().flat_map(|v| {
            let rounded = f16::from_f32(*v);
            finite &= rounded.is_finite();
            rounded.to_le_bytes()
        })),
        _ => out.extend(values.iter().flat_map(|v| {
            finite &= v.is_finite();
            v.to_le_bytes()
        })),
    }
    finite
}

/// Whether [`convert`] knows the way: the same numbers, in a type that holds them all.
pub fn is_exact(from: Dtype, to: Dtype) -> bool {
    match (from, to) {
        (Dtype::F8e4m3, Dtype::Bf16 | Dtype::F16) => true,
        (Dtype::F8e4m3 | Dtype::Bf16 | Dtype::F16, Dtype::F32) => true,
        (from, to) => from == to,
    }
}

/// The same numbers in another element type; what is asked for is wider, so it is exact.
pub fn convert(bytes: &[u8], from: Dtype, to: Dtype) -> Cow<'_, [u8]> {
    let wide = |size: usize, f: fn(&[u8]) -> f32| {
        bytes
            .chunks_exact(size)
            .flat_map(|b| f(b).to_le_bytes())
            .collect::<Vec<u8>>()
            .into()
    };
    match (from, to) {
        (Dtype::Bf16, Dtype::F32) => wide(2, |b| bf16::from_le_bytes([b[0], b[1]]).to_f32()),
        (Dtype::F16, Dtype::F32) => wide(2, |b| f16::from_le_bytes([b[0], b[1]]).to_f32()),
        (Dtype::F8e4m3, Dtype::F32) => wide(1, |b| f8e4m3(b[0])),
        (Dtype::F8e4m3, Dtype::Bf16) => bytes
            .iter()
            .flat_map(|b| bf16::from_f32(f8e4m3(*b)).to_le_bytes())
            .collect::<Vec<u8>>()
            .into(),
        (Dtype::F8e4m3, Dtype::F16) => bytes
            .iter()
            .flat_map(|b| f16::from_f32(f8e4m3(*b)).to_le_bytes())
            .collect::<Vec<u8>>()
            .into(),
        _ => bytes.into(),
    }
}

/// Multiplies a row by the normalised Walsh-Hadamard matrix of its length (Sylvester's order), a power of two. Done
/// twice it gives the row back.
pub fn hadamard(row: &mut [f32]) {
    let mut half = 1;
    while half < row.len() {
        for pair in row.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (a, b) in low.iter_mut().zip(high) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
    let norm = (row.len() as f32).sqrt();
    row.iter_mut().for_each(|value| *value /= norm);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bit_floats_widen_exactly() {
        for (byte, value) in [
            (0x00, 0.0),
            (0x01, 2f32.powi(-9)),
            (0x07, 7.0 * 2f32.powi(-9)),
            (0x08, 2f32.powi(-6)),
            (0x38, 1.0),
            (0xb8, -1.0),
            (0x7e, 448.0),
            (0x40, 2.0),
        ] {
            assert_eq!(f8e4m3(byte), value);
        }
        assert!(f8e4m3(0xff).is_nan());
    }

    #[test]
    fn eight_bit_floats_are_written_as_they_are_read() {
        for byte in (0..=255).filter(|byte| byte & 0x7f != 0x7f) {
            let value = f8e4m3(byte);
            assert_eq!(ltxc_ir::narrow::round(Dtype::F8e4m3, value), value);
            assert_eq!(ltxc_ir::narrow::f8e4m3_bits(value), byte);
        }
    }

    #[test]
    fn sixteen_bits_hold_every_eight_bit_float() {
        let bytes: Vec<u8> = (0..=255).filter(|b| b & 0x7f != 0x7f).collect();
        let (halves, singles) = (
            convert(&bytes, Dtype::F8e4m3, Dtype::Bf16),
            convert(&bytes, Dtype::F8e4m3, Dtype::F32),
        );
        assert_eq!(convert(&halves, Dtype::Bf16, Dtype::F32), singles);
    }

    #[test]
    fn rounding_goes_to_the_nearest_even() {
        let mut out = Vec::new();
        let step = 2f32.powi(-7);
        assert!(round_into(
            &[1.0 + step / 2.0, 1.0 + 1.5 * step, -1.0 - step * 0.51],
            Dtype::Bf16,
            &mut out
        ));
        let found = widen(&out, checkpoint::Dtype::BF16).expect("a float type");
        assert_eq!(found, [1.0, 1.0 + 2.0 * step, -1.0 - step]);
        assert!(!round_into(&[70000.0], Dtype::F16, &mut out));
        assert!(!round_into(&[f32::NAN], Dtype::F32, &mut out));
    }

    #[test]
    fn a_rotation_follows_sylvester_and_is_its_own_inverse() {
        let mut row = [1.0, 2.0, 3.0, 4.0];
        hadamard(&mut row);
        assert_eq!(row, [5.0, -1.0, -2.0, 0.0]);
        hadamard(&mut row);
        assert_eq!(row, [1.0, 2.0, 3.0, 4.0]);
    }
}
