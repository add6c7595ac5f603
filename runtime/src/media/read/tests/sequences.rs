//! Folders and patterns.

use std::fs;
use std::path::Path;

use super::super::open;
use super::{built_in, data, refusal};

fn copy(from: &str, folder: &Path, to: &str) {
    fs::copy(data(from), folder.join(to)).unwrap();
}

fn first_pixels(path: &Path) -> Vec<u8> {
    let clip = open(path, &built_in(99)).unwrap();
    clip.frames.iter().map(|frame| frame[0]).collect()
}

#[test]
fn a_folder_is_read_in_the_order_of_its_numbers() {
    let folder = tempfile::tempdir().unwrap();
    copy("rgb.png", folder.path(), "f10.png");
    copy("deep.png", folder.path(), "f9.png");
    fs::write(folder.path().join("notes.txt"), "no picture").unwrap();
    let single = |name: &str| first_pixels(&data(name))[0];
    assert_eq!(
        first_pixels(folder.path()),
        [single("deep.png"), single("rgb.png")]
    );
}

#[test]
fn a_pattern_is_read_from_its_lowest_number() {
    let folder = tempfile::tempdir().unwrap();
    for number in [7, 8] {
        copy("rgb.png", folder.path(), &format!("{number:03}.png"));
    }
    copy("rgb.png", folder.path(), "x.png");
    assert_eq!(first_pixels(&folder.path().join("%03d.png")).len(), 2);
    copy("rgb.png", folder.path(), "010.png");
    assert_eq!(
        refusal(&folder.path().join("%03d.png"), &built_in(9)),
        "%03d.png: 009.png is missing, but 010.png is there; frames must be numbered without gaps"
    );
}

#[test]
fn sequences_without_pictures_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let said = refusal(&folder.path().join("%03d.png"), &built_in(9));
    assert_eq!(
        said,
        "%03d.png: no file has such a name; the first may be 000.png"
    );
    let said = refusal(folder.path(), &built_in(9));
    assert!(
        said.ends_with("they end in .png, .jpg, .jpeg, .webp, .bmp"),
        "{said}"
    );
    let said = refusal(&folder.path().join("%s.png"), &built_in(9));
    assert!(said.contains("write one counter"), "{said}");
}

#[test]
fn a_picture_of_another_size_is_named() {
    let folder = tempfile::tempdir().unwrap();
    copy("rgb.png", folder.path(), "1.png");
    copy("turned.jpg", folder.path(), "2.jpg");
    let said = refusal(folder.path(), &built_in(9));
    assert!(
        said.ends_with(
            "/2.jpg: this frame has 24x32 pixels, but the first has 13x9; all must have one size"
        ),
        "{said}"
    );
}

#[test]
fn a_damaged_picture_is_named() {
    let folder = tempfile::tempdir().unwrap();
    copy("rgb.png", folder.path(), "1.png");
    fs::write(folder.path().join("2.png"), "no picture").unwrap();
    let said = refusal(folder.path(), &built_in(9));
    assert!(said.contains("/2.png: this picture"), "{said}");
    assert_eq!(open(folder.path(), &built_in(1)).unwrap().frames.len(), 1);
}
