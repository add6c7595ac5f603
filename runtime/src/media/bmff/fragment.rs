//! Files that can be read up to any fragment: an index without samples, then fragments that
//! each index their own.

use super::{Track, atom, be, full_atom, movie_header, table, track_box};

const TRACK: u32 = 1;
/// Sample flags: decodes alone, or depends on others and does not.
const KEYFRAME: u32 = 0x0200_0000;
const DEPENDENT: u32 = 0x0101_0000;

/// Everything before the first fragment; the track has no samples yet.
pub fn open_header(track: &Track<'_>) -> Vec<u8> {
    let kind = atom(b"ftyp", &[b"iso6", &be(0x200), b"isomiso2iso6avc1mp41"]);
    let none = [
        table(b"stts", &[0]),
        table(b"stsc", &[0]),
        table(b"stsz", &[0, 0]),
        table(b"stco", &[0]),
    ];
    let defaults = [TRACK, 1, track.rate.delta, 0, DEPENDENT];
    let extends = atom(b"mvex", &[&table(b"trex", &defaults)]);
    let index = [&movie_header(track), &track_box(track, &none), &extends];
    [kind, atom(b"moov", &index.map(Vec::as_slice))].concat()
}

/// The index of a fragment and the start of its data's box. `number` counts fragments from 1;
/// `start` is the number of the first sample, from 0; keyframes count the fragment's own from 0.
pub fn fragment(number: u32, start: u64, track: &Track<'_>) -> Vec<u8> {
    let payload: u32 = track.sizes.iter().sum();
    let index_bytes = index(number, start, track, 0).len() as u32;
    let data = [&be(payload + 8), b"mdat".as_slice()].concat();
    [index(number, start, track, index_bytes + 8), data].concat()
}

fn index(number: u32, start: u64, track: &Track<'_>, offset: u32) -> Vec<u8> {
    const FROM_THE_FRAGMENT: u32 = 0x2_0000;
    const OFFSET_SIZES_AND_FLAGS: u32 = 0x601;
    let time = start * u64::from(track.rate.delta);
    let flags = |sample: usize| match track.keyframes.contains(&(sample as u32)) {
        true => KEYFRAME,
        false => DEPENDENT,
    };
    let samples = track.sizes.iter().enumerate();
    let samples: Vec<u8> = samples
        .flat_map(|(at, size)| [be(*size), be(flags(at))].concat())
        .collect();
    let run = [&be(track.count()), &be(offset), samples.as_slice()];
    let of_track = [
        full_atom(b"tfhd", 0, FROM_THE_FRAGMENT, &[&be(TRACK)]),
        full_atom(b"tfdt", 1, 0, &[&time.to_be_bytes()]),
        full_atom(b"trun", 0, OFFSET_SIZES_AND_FLAGS, &run),
    ]
    .concat();
    let header = full_atom(b"mfhd", 0, 0, &[&be(number)]);
    atom(b"moof", &[&header, &atom(b"traf", &[&of_track])])
}
