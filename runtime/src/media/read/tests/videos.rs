//! Videos in MP4 and MOV.

use std::fs;

use super::super::open;
use super::{assert_like, built_in, data, read, refusal, refused};
use crate::media::test_data::psnr;
use crate::media::{VideoSpec, create};

#[test]
fn videos_look_as_ffmpeg_shows_them() {
    for name in [
        "bframes.mp4",
        "fast.mp4",
        "full709.mp4",
        "turned.mov",
        "edited.mp4",
        "fragments.mp4",
    ] {
        let clip = read(name, 99);
        assert_like(&clip, &format!("{name}.png"), 44.0);
        assert_eq!((clip.fps, clip.more), (Some(25.0), false), "{name}");
    }
}

/// A fragment each, its offsets from the fragment on.
#[test]
fn fragments_have_the_frames_of_a_plain_file() {
    let (plain, fragments) = (read("bframes.mp4", 99), read("bfragments.mp4", 99));
    assert_eq!(fragments.frames, plain.frames);
    assert_eq!(fragments.fps, Some(25.0));
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mp4");
    let spec = VideoSpec {
        width: 65,
        height: 47,
        fps: 23.976,
    };
    let frame = |index: u32| {
        let pixel = |at: u32| {
            let (x, y) = (at % 65, at / 65);
            [x * 3 + index * 5, y * 4, x + y + index * 9].map(|v| v.min(255) as u8)
        };
        (0..65 * 47).flat_map(pixel).collect::<Vec<_>>()
    };
    let mut writer = create(&path, spec).unwrap();
    for index in 0..5 {
        writer.write(&frame(index)).unwrap();
    }
    writer.finish().unwrap();

    let clip = open(&path, &built_in(9)).unwrap();
    assert_eq!((clip.width, clip.height, clip.frames.len()), (66, 48, 5));
    assert!((clip.fps.unwrap() - 24000.0 / 1001.0).abs() < 1e-9);
    for (index, got) in clip.frames.iter().enumerate() {
        let rows = got.chunks_exact(66 * 3).take(47);
        let cut: Vec<u8> = rows.flat_map(|row| &row[..65 * 3]).copied().collect();
        let psnr = psnr(&cut, &frame(index as u32));
        assert!(psnr > 38.0, "frame {index}: {psnr:.1} dB");
    }
}

#[test]
fn codecs_that_are_not_built_in_are_named() {
    for (name, what) in [
        ("422.mp4", "H.264 that is not 4:2:0"),
        ("interlaced.mp4", "interlaced H.264"),
        ("h265.mp4", "H.265 video"),
    ] {
        let said = refused(name);
        assert!(
            said.starts_with(&format!("{name}: {what} is not built in")),
            "{said}"
        );
        assert!(said.contains("LTXC_FFMPEG"), "{said}");
    }
}

#[test]
fn a_broken_tail_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.mp4");
    let whole = fs::read(data("fast.mp4")).unwrap();
    fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    assert_eq!(
        refusal(&path, &built_in(9)),
        "cut.mp4: this MP4 video is damaged after frame 2: the file is cut off before the end of \
         picture 3; ask for at most 2 frames, or repair the file"
    );
    assert_eq!(open(&path, &built_in(2)).unwrap().frames.len(), 2);
}

#[test]
fn a_video_without_its_end_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.mp4");
    let whole = fs::read(data("bframes.mp4")).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let said = refusal(&path, &built_in(9));
    assert!(
        said.starts_with("cut.mp4: this MP4 video cannot be read: the file is cut off"),
        "{said}"
    );
}
