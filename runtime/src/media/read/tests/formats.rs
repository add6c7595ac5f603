//! Pictures and animations.

use std::fs;

use super::super::{Decoder, ReadError, open};
use super::{built_in, data, read, refusal};
use crate::media::test_data::{golden_bytes, psnr};

const EXACT: [&str; 7] = [
    "rgb.png",
    "alpha.png",
    "palette.png",
    "grey.png",
    "rgb.bmp",
    "lossless.webp",
    "deep.png",
];

#[test]
fn pictures_have_pillows_pixels() {
    for name in EXACT {
        let clip = read(name, 5);
        let (shape, expected) = golden_bytes(&format!("picture.{name}"));
        assert_eq!([clip.height as usize, clip.width as usize, 3], shape[..]);
        assert_eq!(clip.frames, [expected], "{name}");
        assert_eq!((clip.fps, clip.more), (None, false), "{name}");
        assert_eq!(clip.decoder, Decoder::BuiltIn);
    }
}

#[test]
fn a_turned_photograph_is_upright() {
    let clip = read("turned.jpg", 1);
    let (shape, expected) = golden_bytes("picture.turned.jpg");
    assert_eq!([clip.height as usize, clip.width as usize, 3], shape[..]);
    let psnr = psnr(&clip.frames[0], &expected);
    assert!(psnr > 40.0, "{psnr}");
}

#[test]
fn animations_have_pillows_frames_and_their_rate() {
    for name in ["moving.gif", "moving.png", "moving.webp"] {
        let clip = read(name, 9);
        let (shape, expected) = golden_bytes(&format!("animation.{name}"));
        assert_eq!((clip.frames.len(), clip.frames[0].len()), (4, 10 * 12 * 3));
        assert_eq!(shape, [4, 10, 12, 3]);
        // The WebP library blends even opaque pixels, and rounds.
        let tolerance = u8::from(name == "moving.webp");
        let frames = clip.frames.concat();
        let distance = frames.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b));
        assert!(distance.max() <= Some(tolerance), "{name}");
        assert_eq!((clip.fps, clip.more), (Some(12.5), false), "{name}");
    }
}

#[test]
fn more_frames_than_wanted_are_noticed() {
    for name in ["moving.gif", "moving.png", "moving.webp", "bframes.mp4"] {
        let clip = read(name, 3);
        assert_eq!((clip.frames.len(), clip.more), (3, true), "{name}");
        assert_eq!(clip.frames, read(name, 4).frames[..3], "{name}");
    }
    assert!(!read("moving.gif", 4).more);
    assert!(!read("bframes.mp4", 12).more);
}

#[test]
fn content_counts_and_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture.mp4");
    fs::copy(data("rgb.png"), &path).unwrap();
    assert_eq!(open(&path, &built_in(1)).unwrap().width, 13);
}

#[test]
fn limits_hold() {
    let mut options = built_in(9);
    options.limits.side = 12;
    assert_eq!(
        refusal(&data("rgb.png"), &options),
        "rgb.png: a frame of 13x9 is too large; a side may have 1 to 12 pixels"
    );
    let bframes = refusal(&data("bframes.mp4"), &options);
    assert!(
        bframes.contains("a frame of 50x38 is too large"),
        "{bframes}"
    );
    options.limits.side = 99;
    options.limits.bytes = 3 * 50 * 38 * 5;
    let error = open(&data("bframes.mp4"), &options).err().unwrap();
    assert!(
        matches!(error, ReadError::TooMuch { frames: 6, .. }),
        "{error}"
    );
    options.max_frames = 5;
    assert!(open(&data("bframes.mp4"), &options).unwrap().more);
}
