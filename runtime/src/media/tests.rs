//! Whole outputs, written through [`create`] and read back.

mod gif;
mod mp4;
mod png;

use std::fs;
use std::path::Path;

use super::test_data::psnr;
use super::{FrameWriter, MediaError, VideoSpec, create};

const EVERY_FORMAT: [&str; 4] = ["x.mp4", "x.gif", "x.png", "x-%03d.png"];

fn spec(width: u32, height: u32, fps: f64) -> VideoSpec {
    VideoSpec { width, height, fps }
}

/// A smooth picture that moves with `index`.
fn smooth_frame(width: u32, height: u32, index: usize) -> Vec<u8> {
    let wave = |phase: f32| ((phase.sin() * 0.5 + 0.5) * 255.0) as u8;
    let mut rgb = Vec::new();
    for y in 0..height {
        for x in 0..width {
            let (u, v) = (x as f32 / width as f32, y as f32 / height as f32);
            let t = index as f32 * 0.1;
            rgb.extend([wave(u * 3.0 + t), wave(v * 3.0 - t), wave(u + v + t)]);
        }
    }
    rgb
}

fn write_smooth(path: &Path, spec: VideoSpec, frames: usize) {
    let mut writer = create(path, spec).unwrap();
    for index in 0..frames {
        let frame = smooth_frame(spec.width, spec.height, index);
        writer.write(&frame).unwrap();
    }
    writer.finish().unwrap();
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn refusal(result: Result<Box<dyn FrameWriter + Send>, MediaError>) -> String {
    result.err().unwrap().to_string()
}

#[test]
fn nothing_is_visible_before_finish() {
    for name in EVERY_FORMAT {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = create(&folder.path().join(name), spec(16, 16, 8.0)).unwrap();
        writer.write(&smooth_frame(16, 16, 0)).unwrap();
        assert!(names(folder.path()).iter().all(|n| n.ends_with(".partial")));
        writer.finish().unwrap();
        assert_eq!(names(folder.path()).len(), 1, "{name}");
    }
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    for name in EVERY_FORMAT {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = create(&folder.path().join(name), spec(16, 16, 8.0)).unwrap();
        writer.write(&smooth_frame(16, 16, 0)).unwrap();
        drop(writer);
        assert!(names(folder.path()).is_empty(), "{name}");
    }
}

#[test]
fn finishing_without_frames_is_an_error_and_leaves_nothing() {
    for name in EVERY_FORMAT {
        let folder = tempfile::tempdir().unwrap();
        let writer = create(&folder.path().join(name), spec(16, 16, 8.0)).unwrap();
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("no frame was written"), "{error}");
        assert!(names(folder.path()).is_empty(), "{name}");
    }
}

#[test]
fn a_frame_of_another_size_is_refused() {
    for name in EVERY_FORMAT {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = create(&folder.path().join(name), spec(16, 16, 8.0)).unwrap();
        let error = writer.write(&[0; 5]).unwrap_err().to_string();
        assert_eq!(error, "a frame has 5 bytes, but 16x16 RGB needs 768");
    }
}

#[test]
fn an_existing_file_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.gif");
    fs::write(&path, "old").unwrap();
    write_smooth(&path, spec(16, 16, 8.0), 1);
    assert!(fs::read(&path).unwrap().starts_with(b"GIF89a"));
}

#[test]
fn missing_folders_are_created() {
    for name in EVERY_FORMAT {
        let folder = tempfile::tempdir().unwrap();
        write_smooth(&folder.path().join("a/b").join(name), spec(16, 16, 8.0), 1);
        assert_eq!(names(&folder.path().join("a/b")).len(), 1);
    }
}

#[test]
fn errors_of_the_disk_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = refusal(create(&file.join("x.mp4"), spec(16, 16, 8.0)));
    assert!(error.contains(file.to_str().unwrap()), "{error}");

    fs::create_dir(folder.path().join("taken.gif")).unwrap();
    let error = refusal(create(&folder.path().join("taken.gif"), spec(16, 16, 8.0)));
    assert!(error.contains("taken.gif"), "{error}");
}

#[test]
fn an_unknown_extension_lists_what_is_possible() {
    for name in ["x.avi", "x", "mp4"] {
        let error = refusal(create(Path::new(name), spec(16, 16, 8.0)));
        assert!(error.contains(".mp4, .gif or .png"), "{error}");
    }
}

#[test]
fn impossible_sizes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error =
        |name, width, height| refusal(create(&folder.path().join(name), spec(width, height, 8.0)));
    assert!(error("x.gif", 0, 4).contains("0x4"));
    assert!(error("x.gif", 70_000, 4).contains("65535"));
    assert!(error("x.mp4", 8, 64).contains("at least 16x16"));
    assert!(error("x.mp4", 4096, 64).contains("at most 3840x2160"));
    assert!(names(folder.path()).is_empty());
}

#[cfg(unix)]
#[test]
fn outputs_have_the_permissions_of_ordinary_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let ordinary = folder.path().join("ordinary");
    fs::write(&ordinary, "").unwrap();
    for name in ["x.mp4", "x.gif", "x.png"] {
        let path = folder.path().join(name);
        write_smooth(&path, spec(16, 16, 8.0), 1);
        assert_eq!(mode(&path), mode(&ordinary), "{name}");
    }
}
