//! Prepared frames against those of the reference's own functions.

use super::*;
use crate::media::test_data::{distance, golden_bytes, golden_floats, golden_integers, psnr};

fn size(height: usize, width: usize) -> Size {
    Size { height, width }
}

fn plain(target: Size, resize: bool) -> Preparation {
    Preparation {
        size: target,
        resize,
        blur: true,
        quantiser: None,
        padding: Padding::default(),
    }
}

#[test]
fn frames_are_those_of_the_reference() {
    for index in 0..4 {
        let (shape, rgb) = golden_bytes(&format!("prepare.{index}.from"));
        let target = golden_integers(&format!("prepare.{index}.size"));
        let target = size(target[0], target[1]);
        let whole = size(
            target.height.next_multiple_of(8),
            target.width.next_multiple_of(8),
        );
        for (name, resize) in [("crop", false), ("resize", true)] {
            let (expected_shape, expected) = golden_floats(&format!("prepare.{index}.{name}"));
            let preparation = Preparation {
                padding: Padding::between(target, whole),
                ..plain(target, resize)
            };
            let frames = [&rgb];
            let got = prepare(&frames, size(shape[0], shape[1]), &preparation).unwrap();
            let got_shape = [3, got.frames, got.size.height, got.size.width];
            assert_eq!(got_shape, expected_shape[..], "{index}, {name}");
            let distance = distance(&got.values, &expected);
            assert!(distance <= 1e-6, "{index}, {name}: {distance}");
        }
    }
}

#[test]
fn crops_are_those_of_the_reference() {
    for row in golden_integers("crops").chunks_exact(8) {
        let crop = crop_of(size(row[1], row[0]), size(row[3], row[2]));
        // The reference fails on crops of no pixels.
        let expected = [row[4], row[5], row[6].max(1), row[7].max(1)];
        if row[6] > 0 && row[7] > 0 {
            assert_eq!(
                [crop.left, crop.top, crop.width, crop.height],
                expected,
                "{row:?}"
            );
        }
    }
}

#[test]
fn frames_stand_behind_one_another_in_each_plane() {
    let frames = [[0; 12], [255; 12]];
    let got = prepare(&frames, size(2, 2), &plain(size(2, 2), false)).unwrap();
    assert_eq!((got.frames, got.size), (2, size(2, 2)));
    let signs: Vec<f32> = got.values.iter().map(|value| value.round()).collect();
    assert_eq!(signs, [[-1.0; 4], [1.0; 4]].concat().repeat(3));
}

#[test]
fn compression_loses_little_and_more_when_it_is_coarser() {
    let pixel = |at: usize| [at % 64 * 4, at / 64 * 5, at * 7 % 64 + 90].map(|v| v as u8);
    let rgb: Vec<u8> = (0..64 * 48).flat_map(pixel).collect();
    let picture = size(48, 64);
    let quality = |quantiser| {
        let clean = filtered(&rgb, picture, kernel(true));
        let coded = compressed(&clean, picture, quantiser).unwrap();
        let bytes = |v: &[f32]| v.iter().map(|v| (v * 255.0) as u8).collect::<Vec<_>>();
        psnr(&bytes(&clean), &bytes(&coded))
    };
    let (fine, reference, coarse) = (quality(10), quality(REFERENCE_QUANTISER), quality(45));
    assert!(
        fine > reference + 2.0 && reference > coarse + 3.0,
        "{fine} {reference} {coarse}"
    );
    assert!(reference > 28.0, "{reference}");
}

#[test]
fn unusable_frames_are_refused() {
    let target = size(32, 32);
    let none: [&[u8]; 0] = [];
    let error = prepare(&none, size(2, 2), &plain(target, false)).unwrap_err();
    assert_eq!(error.to_string(), "there are no pixels to prepare");
    let error = prepare(&[[0; 5]], size(2, 2), &plain(target, false)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a frame has 5 bytes, but 2x2 RGB needs 12"
    );
    let mut coded = plain(target, false);
    coded.quantiser = Some(REFERENCE_QUANTISER);
    let error = prepare(&[[0; 12]], size(2, 2), &coded).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("a frame of 2x2 cannot be compressed"),
        "{error}"
    );
}

#[test]
fn the_smallest_frames_are_no_problem() {
    for given in [size(1, 1), size(1, 9), size(3, 1)] {
        let rgb = vec![128; given.area() * 3];
        let got = prepare(&[rgb], given, &plain(size(500, 3), true)).unwrap();
        assert_eq!(got.size, size(500, 2));
    }
}
