//! Floats narrower than 32 bits, modelled in f32: every value of a narrow type is one of f32's.
//!
//! Rounding goes to the nearest, ties to the even one. 16-bit types overflow to infinity as IEEE 754 says; 8 and 4 bits
//! saturate, as ONNX does where it quantises.

use crate::fact::Dtype;

/// A binary float without infinities: how many bits of mantissa, the least exponent, the largest value.
#[derive(Clone, Copy)]
struct Small {
    mantissa: i32,
    least: i32,
    largest: f32,
}

const E4M3: Small = Small {
    mantissa: 3,
    least: -6,
    largest: 448.0,
};

const E2M1: Small = Small {
    mantissa: 1,
    least: 0,
    largest: 6.0,
};

impl Small {
    fn round(self, x: f32) -> f32 {
        if x.is_nan() {
            return x;
        }
        let size = x.abs().min(self.largest);
        let exponent = ((size.to_bits() >> 23) as i32 - 127).max(self.least);
        let step = f32::from_bits(((exponent - self.mantissa + 127) as u32) << 23);
        ((size / step).round_ties_even() * step).copysign(x)
    }
}

/// The value of `dtype` nearest to `x`; `x` itself where the type is no narrow float.
pub fn round(dtype: Dtype, x: f32) -> f32 {
    match dtype {
        Dtype::F16 => half::f16::from_f32(x).to_f32(),
        Dtype::Bf16 => half::bf16::from_f32(x).to_f32(),
        Dtype::F8e4m3 => E4M3.round(x),
        Dtype::F4e2m1 => E2M1.round(x),
        Dtype::F32 | Dtype::I64 | Dtype::I32 | Dtype::I8 | Dtype::I4 | Dtype::U8 | Dtype::Bool => x,
    }
}

/// The largest number of a type that weights are quantised to; `None` for the others. Integers are used symmetrically.
pub fn largest(dtype: Dtype) -> Option<f32> {
    match dtype {
        Dtype::I8 => Some(127.0),
        Dtype::I4 => Some(7.0),
        Dtype::F8e4m3 => Some(E4M3.largest),
        Dtype::F4e2m1 => Some(E2M1.largest),
        Dtype::F32
        | Dtype::F16
        | Dtype::Bf16
        | Dtype::I64
        | Dtype::I32
        | Dtype::U8
        | Dtype::Bool => None,
    }
}

/// The scale at which `magnitude`, the largest of some numbers, becomes the largest of a quantised type; 1 for 0.
pub fn scale_for(magnitude: f32, largest: f32) -> f32 {
    let scale = magnitude / largest;
    // Magnitudes so small that their scale is none are as good as 0.
    if scale > 0.0 { scale } else { 1.0 }
}

/// `x / scale` in a quantised type: the nearest number, ties to even, saturated; 0 by a scale of 0.
pub fn quantize(dtype: Dtype, x: f32, scale: f32) -> f32 {
    match dtype {
        _ if scale == 0.0 => 0.0,
        Dtype::I8 => (x / scale).round_ties_even().clamp(-128.0, 127.0),
        Dtype::I4 => (x / scale).round_ties_even().clamp(-8.0, 7.0),
        dtype => round(dtype, x / scale),
    }
}

/// The four bits of a number that E2M1 holds.
pub fn f4e2m1_bits(x: f32) -> u8 {
    let size = x.abs();
    let code = if size < 2.0 {
        size * 2.0
    } else {
        (size / 2.0).log2() * 2.0 + 4.0
    };
    (u8::from(x.is_sign_negative()) << 3) | code.round() as u8
}

/// The byte of a number that E4M3 holds.
pub fn f8e4m3_bits(x: f32) -> u8 {
    let sign = u8::from(x.is_sign_negative()) << 7;
    let size = x.abs();
    let below = (size * 512.0) as u8;
    let bits = match size.to_bits() {
        _ if size.is_nan() => 0x7f,
        _ if size < 1.0 / 64.0 => below,
        bits => ((bits >> 20) - (120 << 3)) as u8,
    };
    sign | bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_bits_round_to_the_nearest_even_and_saturate() {
        for (x, y) in [
            (0.0, 0.0),
            (1.0, 1.0),
            (1.0625, 1.0),
            (1.1875, 1.25),
            (-17.0, -16.0),
            (2f32.powi(-10), 0.0),
            (1.5 * 2f32.powi(-9), 2f32.powi(-8)),
            (1e9, 448.0),
            (f32::NEG_INFINITY, -448.0),
            (464.0, 448.0),
        ] {
            assert_eq!(round(Dtype::F8e4m3, x), y, "{x}");
        }
        assert!(round(Dtype::F8e4m3, f32::NAN).is_nan());
    }

    #[test]
    fn four_bits_have_eight_sizes() {
        for (code, size) in [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
            .into_iter()
            .enumerate()
        {
            assert_eq!(round(Dtype::F4e2m1, size), size);
            assert_eq!(f4e2m1_bits(size), code as u8);
            assert_eq!(f4e2m1_bits(-size) & 7, code as u8);
        }
        for (x, y) in [
            (0.25, 0.0),
            (0.3, 0.5),
            (2.5, 2.0),
            (5.0, 4.0),
            (5.1, 6.0),
            (-99.0, -6.0),
        ] {
            assert_eq!(round(Dtype::F4e2m1, x), y, "{x}");
        }
    }

    #[test]
    fn sixteen_bits_overflow_to_infinity() {
        assert_eq!(round(Dtype::F16, 65520.0), f32::INFINITY);
        assert_eq!(round(Dtype::F16, 1.0 + 2f32.powi(-11)), 1.0);
        assert_eq!(round(Dtype::Bf16, 1.0 + 3.0 * 2f32.powi(-8)), 1.015625);
    }
}
