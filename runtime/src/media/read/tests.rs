//! Files read through [`open`](super::open), against what Pillow and ffmpeg read from them.
//!
//! `tests/data/media/make_media.py` makes the files and says what is in them.

mod formats;
mod hostile;
mod pipe;
mod sequences;
mod videos;

use std::path::{Path, PathBuf};

use super::{Clip, Ffmpeg, ReadOptions, open};
use crate::media::test_data::psnr;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/media")
        .join(name)
}

fn built_in(max_frames: usize) -> ReadOptions {
    ReadOptions {
        ffmpeg: Ffmpeg::Never,
        ..ReadOptions::frames(max_frames)
    }
}

fn read(name: &str, max_frames: usize) -> Clip {
    open(&data(name), &built_in(max_frames)).unwrap()
}

/// What is said about a file, without the folder that it is in.
fn refusal(path: &Path, options: &ReadOptions) -> String {
    let said = open(path, options).err().unwrap().to_string();
    let folder = format!("{}/", path.parent().unwrap().display());
    said.replace(&folder, "")
}

fn refused(name: &str) -> String {
    refusal(&data(name), &built_in(99))
}

/// Checks the frames of a clip against a picture that shows them below one another.
fn assert_like(clip: &Clip, expected: &str, least_psnr: f64) {
    let expected = read(expected, 1);
    let shown = clip.frames.len() as u32;
    assert_eq!(
        (clip.width, clip.height * shown),
        (expected.width, expected.height)
    );
    let bytes = clip.frames[0].len();
    let pairs = clip
        .frames
        .iter()
        .zip(expected.frames[0].chunks_exact(bytes));
    for (index, (frame, expected)) in pairs.enumerate() {
        let psnr = psnr(frame, expected);
        assert!(psnr > least_psnr, "frame {index}: {psnr:.1} dB");
    }
}
