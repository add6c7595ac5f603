//! The Box-Muller transform of torch's vectorised float32 normal kernel.
//!
//! Logarithm, sine and cosine are the Cephes polynomials of `avx_mathfun`, with every Horner step and
//! a few sums fused as the AVX2 build of torch fuses them; each `mul_add` below is one such place, and
//! a plain `*` or `+` is a place where torch rounds twice. Changing either changes the last bit of the
//! noise. The results do not depend on the machine: with FMA only the speed differs.

use std::f32::consts::{FRAC_1_SQRT_2, FRAC_2_PI, TAU};

/// Uniform values become normal values in groups of this many: eight radii, then eight angles.
pub(super) const BLOCK: usize = 16;

/// Turns uniform values in [0, 1) into standard normal ones, in place and block by block.
///
/// An incomplete block at the end is left as it is.
pub(super) fn transform(values: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        #[expect(unsafe_code, reason = "a function compiled for AVX2 and FMA")]
        // SAFETY: both features were detected on this processor.
        unsafe {
            transform_avx2(values);
        }
        return;
    }
    transform_portable(values);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn transform_avx2(values: &mut [f32]) {
    transform_portable(values);
}

#[inline(always)]
fn transform_portable(values: &mut [f32]) {
    for block in values.as_chunks_mut::<BLOCK>().0 {
        transform_block(block);
    }
}

#[inline(always)]
fn transform_block(block: &mut [f32; BLOCK]) {
    const HALF: usize = BLOCK / 2;
    let uniform = *block;
    for lane in 0..HALF {
        let radius = (-2.0 * ln(1.0 - uniform[lane])).sqrt();
        let (sine, cosine) = sin_cos(TAU * uniform[lane + HALF]);
        block[lane] = radius * cosine;
        block[lane + HALF] = radius * sine;
    }
}

/// The natural logarithm of a normal positive number.
#[inline(always)]
fn ln(x: f32) -> f32 {
    const POLYNOMIAL: [f32; 8] = [
        -1.151_461e-1,
        1.167_699_87e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_4e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let bits = x.to_bits();
    let mantissa = f32::from_bits((bits & !0x7f80_0000) | 0x3f00_0000);
    let small = mantissa < FRAC_1_SQRT_2;
    let exponent = ((bits >> 23) as i32 - 126) as f32 - if small { 1.0 } else { 0.0 };
    let r = (mantissa - 1.0) + if small { mantissa } else { 0.0 };
    let square = r * r;
    let series = horner(7.037_683_6e-2, &POLYNOMIAL, r) * r;
    let tail = series.mul_add(square, exponent * LN_2_LOW);
    let tail = (-square).mul_add(0.5, tail);
    exponent.mul_add(LN_2_HIGH, r + tail)
}

/// Sine and cosine of an angle in [0, 2 pi], reduced by multiples of pi/4 held in three parts.
#[inline(always)]
fn sin_cos(angle: f32) -> (f32, f32) {
    const FOUR_OVER_PI: f32 = 2.0 * FRAC_2_PI;
    let octant = ((FOUR_OVER_PI * angle) as i32 + 1) & !1;
    let count = octant as f32;
    let r = count.mul_add(-0.785_156_25, angle);
    let r = count.mul_add(-2.418_756_5e-4, r);
    let r = count.mul_add(-3.774_895e-8, r);
    let (sine, cosine) = reduced_sin_cos(r);
    let (sine, cosine) = if octant & 2 == 0 {
        (sine, cosine)
    } else {
        (cosine, sine)
    };
    let sine_sign = (octant as u32 & 4) << 29;
    let cosine_sign = (!(octant - 2) as u32 & 4) << 29;
    (
        f32::from_bits(sine.to_bits() ^ sine_sign),
        f32::from_bits(cosine.to_bits() ^ cosine_sign),
    )
}

#[inline(always)]
fn reduced_sin_cos(r: f32) -> (f32, f32) {
    let square = r * r;
    let even = horner(2.443_315_7e-5, &[-1.388_731_6e-3, 4.166_664_6e-2], square) * square;
    let cosine = even.mul_add(square, -(square * 0.5)) + 1.0;
    let odd = horner(-1.951_529_6e-4, &[8.332_161e-3, -1.666_665_5e-1], square) * square;
    (odd.mul_add(r, r), cosine)
}

#[inline(always)]
fn horner<const N: usize>(leading: f32, coefficients: &[f32; N], x: f32) -> f32 {
    coefficients
        .iter()
        .fold(leading, |sum, coefficient| sum.mul_add(x, *coefficient))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uniform(count: u32) -> Vec<f32> {
        (0..count)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 16_777_216.0)
            .collect()
    }

    #[test]
    fn the_fast_and_the_portable_path_agree_bit_for_bit() {
        let mut detected = uniform(1 << 16);
        let mut portable = detected.clone();
        transform(&mut detected);
        transform_portable(&mut portable);
        assert!(
            detected
                .iter()
                .zip(&portable)
                .all(|(a, b)| a.to_bits() == b.to_bits())
        );
    }

    #[test]
    fn follows_the_textbook_formula() {
        let input = uniform(1 << 12);
        let mut output = input.clone();
        transform(&mut output);
        for (source, normal) in input.chunks_exact(BLOCK).zip(output.chunks_exact(BLOCK)) {
            for lane in 0..8 {
                let radius = (-2.0 * (1.0 - f64::from(source[lane])).ln()).sqrt();
                let angle = std::f64::consts::TAU * f64::from(source[lane + 8]);
                assert!((f64::from(normal[lane]) - radius * angle.cos()).abs() < 2e-6);
                assert!((f64::from(normal[lane + 8]) - radius * angle.sin()).abs() < 2e-6);
            }
        }
    }

    #[test]
    fn leaves_an_incomplete_block_alone() {
        let mut values = uniform(20);
        let tail = values[16..].to_vec();
        transform(&mut values);
        assert_eq!(values[16..], tail);
    }
}
