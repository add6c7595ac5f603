//! Damaged and malicious files: an error or frames, never a panic.

use std::fs;
use std::path::Path;

use super::super::open;
use super::{built_in, data, refusal};

const FILES: [&str; 16] = [
    "rgb.png",
    "alpha.png",
    "palette.png",
    "grey.png",
    "rgb.bmp",
    "lossless.webp",
    "turned.jpg",
    "deep.png",
    "moving.gif",
    "moving.png",
    "moving.webp",
    "bframes.mp4",
    "fast.mp4",
    "full709.mp4",
    "turned.mov",
    "fragments.mp4",
];

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_beginning_of_a_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    for name in FILES {
        let whole = fs::read(data(name)).unwrap();
        let all = open(&data(name), &built_in(99)).map(|clip| clip.frames);
        for length in (0..whole.len()).filter(|length| *length < 300 || length % 7 == 0) {
            write(&path, &whole[..length]);
            match open(&path, &built_in(99)) {
                Err(error) => assert!(error.to_string().contains("cut"), "{error}"),
                Ok(clip) => assert_eq!(
                    Some(&clip.frames),
                    all.as_ref().ok(),
                    "{name}: {length} of {} bytes",
                    whole.len()
                ),
            }
        }
    }
}

#[test]
fn changed_bytes_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("changed");
    let mut dice = Dice(88_172_645_463_325_252);
    for name in FILES.into_iter().chain(["bfragments.mp4"]) {
        let whole = fs::read(data(name)).unwrap();
        for _ in 0..200 {
            let mut bytes = whole.clone();
            for _ in 0..1 + dice.below(4) {
                let at = dice.below(bytes.len());
                bytes[at] = [0, 0xff, 0x7f, dice.below(256) as u8][dice.below(4)];
            }
            write(&path, &bytes);
            let mut options = built_in(20);
            options.limits.bytes = 64 << 20;
            let _ = open(&path, &options);
        }
    }
}

/// The index of a fragmented file, before the first fragment.
fn without_fragments() -> Vec<u8> {
    let whole = fs::read(data("bfragments.mp4")).unwrap();
    let fragment = whole.windows(4).position(|kind| kind == b"moof");
    whole[..fragment.unwrap() - 4].to_vec()
}

#[test]
fn fragments_that_say_nothing_end_soon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mp4");
    let refused = |more: &[u8]| {
        write(&path, &[&without_fragments(), more].concat());
        refusal(&path, &built_in(9))
    };
    let said = refused(&[]);
    assert!(
        said.ends_with("it was not finished, or is cut off"),
        "{said}"
    );
    let said = refused(&b"\0\0\0\x08free".repeat(150_000));
    assert!(said.contains("too many boxes without a picture"), "{said}");
    let said = refused(&b"\0\0\0\x08moof".repeat(150_000));
    assert!(said.contains("too many boxes without a picture"), "{said}");
    let said = refused(b"\0\0\0\x01moof\0\0\0\x01\0\0\0\0");
    assert!(
        said.contains("cut off in the index of a fragment"),
        "{said}"
    );
}

/// A run of four milliards of samples, all of the size that the fragment says for all.
#[test]
fn a_fragment_that_claims_too_much_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.mp4");
    let header = b"\0\0\0\x14tfhd\0\x02\0\x10\0\0\0\x01\0\x10\0\0";
    let run = b"\0\0\0\x10trun\0\0\0\0\xff\xff\xff\xff";
    let of_track = [b"\0\0\0\x2ctraf", &header[..], run].concat();
    let fragment = [b"\0\0\0\x34moof", &of_track[..]].concat();
    write(&path, &[without_fragments(), fragment].concat());
    assert_eq!(
        refusal(&path, &built_in(9)),
        "x.mp4: this MP4 video cannot be read: the file is cut off before the end of picture 1"
    );
}

#[test]
fn a_small_file_of_a_large_picture_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb");
    let mut png = fs::read(data("rgb.png")).unwrap();
    png[16..24].copy_from_slice(&[0, 1, 0, 0, 0, 1, 0, 0]);
    let checksum = crc32(&png[12..29]);
    png[29..33].copy_from_slice(&checksum.to_be_bytes());
    write(&path, &png);
    assert_eq!(
        refusal(&path, &built_in(1)),
        "bomb: a frame of 65536x65536 is too large; a side may have 1 to 16384 pixels"
    );
    let mut gif = fs::read(data("moving.gif")).unwrap();
    gif[6..10].copy_from_slice(&[0xff; 4]);
    write(&path, &gif);
    let said = refusal(&path, &built_in(1));
    assert!(said.contains("65535x65535 is too large"), "{said}");
}

fn crc32(data: &[u8]) -> u32 {
    let bit = |crc: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| bit(crc));
    !data.iter().fold(!0, byte)
}

#[test]
fn useless_inputs_have_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.png");
    write(&path, b"");
    assert_eq!(refusal(&path, &built_in(1)), "x.png is empty");
    write(&path, b"just text");
    let said = refusal(&path, &built_in(1));
    assert!(
        said.starts_with("x.png: this format is not built in"),
        "{said}"
    );
    let said = refusal(&path, &built_in(0));
    assert_eq!(said, "x.png: 0 frames were asked for; ask for at least 1");
    let said = refusal(&folder.path().join("none.png"), &built_in(1));
    assert!(
        said.starts_with("cannot read none.png: No such file"),
        "{said}"
    );
}

#[cfg(unix)]
#[test]
fn devices_are_not_read() {
    let said = refusal(Path::new("/dev/zero"), &built_in(1));
    assert!(said.contains("is neither a file nor a folder"), "{said}");
}
