//! Pictures, read back with the `png` crate's decoder.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use super::super::{create, strip, write_png};
use super::{names, smooth_frame, spec, write_smooth};

fn read(path: &Path) -> (u32, u32, Vec<u8>) {
    let decoder = png::Decoder::new(BufReader::new(File::open(path).unwrap()));
    let mut reader = decoder.read_info().unwrap();
    let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut rgb).unwrap();
    (info.width, info.height, rgb)
}

#[test]
fn one_frame_makes_one_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.png");
    write_smooth(&path, spec(65, 33, 25.0), 1);
    assert_eq!(read(&path), (65, 33, smooth_frame(65, 33, 0)));
}

#[test]
fn a_second_frame_for_one_picture_says_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = create(&folder.path().join("x.png"), spec(4, 4, 8.0)).unwrap();
    writer.write(&smooth_frame(4, 4, 0)).unwrap();
    let error = writer.write(&smooth_frame(4, 4, 1)).unwrap_err();
    assert!(error.to_string().contains("x-%05d.png"), "{error}");
    drop(writer);
    assert!(names(folder.path()).is_empty());
}

#[test]
fn a_pattern_makes_a_picture_per_frame() {
    let folder = tempfile::tempdir().unwrap();
    write_smooth(&folder.path().join("%05d.png"), spec(8, 4, 8.0), 3);
    assert_eq!(
        names(folder.path()),
        ["00000.png", "00001.png", "00002.png"]
    );
    let last = read(&folder.path().join("00002.png"));
    assert_eq!(last, (8, 4, smooth_frame(8, 4, 2)));
}

#[test]
fn a_strip_is_written_as_a_picture() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("strip.png");
    let frames = [smooth_frame(8, 4, 0), smooth_frame(8, 4, 1)];
    let (rgb, width, height) = strip(&[&frames[0], &frames[1]], 8, 4, 2);
    write_png(&path, &rgb, width as u32, height as u32).unwrap();
    assert_eq!(read(&path), (18, 4, rgb));
}
