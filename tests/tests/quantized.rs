//! What holds for every number that is quantised.
#![allow(clippy::panic)]

use ltxc_ir::{Dtype, narrow};
use proptest::prelude::*;

const TYPES: [Dtype; 2] = [Dtype::I8, Dtype::F8e4m3];

/// The scale for numbers up to `magnitude`, and what `x` becomes by it.
fn there_and_back(dtype: Dtype, x: f32, magnitude: f32) -> (f32, f32) {
    let largest = narrow::largest(dtype).unwrap_or_else(|| panic!("{dtype} is quantised to"));
    let scale = narrow::scale_for(magnitude, largest);
    (scale, narrow::quantize(dtype, x, scale) * scale)
}

proptest! {
    #[test]
    fn integers_are_off_by_half_a_step_at_most(magnitude in 1e-30f32..1e30, part in -1f32..=1.0) {
        let x = magnitude * part;
        let (scale, back) = there_and_back(Dtype::I8, x, magnitude);
        prop_assert!((back - x).abs() <= 0.5001 * scale, "{x} -> {back} by {scale}");
    }

    #[test]
    fn floats_are_off_by_a_sixteenth_at_most(magnitude in 1e-30f32..1e30, part in -1f32..=1.0) {
        let x = magnitude * part;
        let (scale, back) = there_and_back(Dtype::F8e4m3, x, magnitude);
        // Below the least exponent the steps are those of the denormals, 2^-9.
        let bound = (x.abs() / 16.0).max(scale / 1024.0);
        prop_assert!((back - x).abs() <= 1.0001 * bound, "{x} -> {back} by {scale}");
    }

    #[test]
    fn what_is_quantised_stays_in_range_and_keeps_its_order(a in any::<f32>(), b in any::<f32>(), scale in 1e-20f32..1e20) {
        prop_assume!(!a.is_nan() && !b.is_nan());
        for dtype in TYPES {
            let [low, high] = [a.min(b), a.max(b)].map(|x| narrow::quantize(dtype, x, scale));
            prop_assert!(low <= high);
            prop_assert!(high.abs() <= 448.0 && low.abs() <= 448.0);
        }
    }
}

#[test]
fn zeros_denormals_and_nothing_have_a_scale() {
    for dtype in TYPES {
        for magnitude in [0.0, f32::from_bits(1), f32::MIN_POSITIVE] {
            let (scale, back) = there_and_back(dtype, magnitude, magnitude);
            assert!(scale > 0.0 && scale.is_finite() && back.is_finite());
            assert!((back - magnitude).abs() <= magnitude);
        }
        assert_eq!(there_and_back(dtype, 0.0, 1.0).1, 0.0);
    }
    assert!(narrow::quantize(Dtype::F8e4m3, f32::NAN, 1.0).is_nan());
}
