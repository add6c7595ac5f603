//! The boxes of an MP4 file (ISO/IEC 14496-12 and -15) with one H.264 track.
//!
//! All samples stand in one chunk behind [`header`], or in fragments behind [`open_header`]; each
//! lasts the same time, and decoding order is display order. The index's time unit is the frame
//! rate's own, so durations are exact.

mod fragment;

pub use fragment::{fragment, open_header};

use super::h264::ParameterSets;
use super::rate::Rate;

/// What the index says about the samples.
pub struct Track<'a> {
    pub width: u16,
    pub height: u16,
    pub rate: Rate,
    pub parameters: &'a ParameterSets,
    /// Bytes of each sample.
    pub sizes: &'a [u32],
    /// Numbers of the samples that decode alone, from 1.
    pub keyframes: &'a [u32],
}

impl Track<'_> {
    fn count(&self) -> u32 {
        self.sizes.len() as u32
    }

    fn duration(&self) -> u64 {
        u64::from(self.count()) * u64::from(self.rate.delta)
    }

    fn payload(&self) -> u64 {
        self.sizes.iter().copied().map(u64::from).sum()
    }
}

/// Everything before the first byte of the first sample.
pub fn header(track: &Track<'_>) -> Vec<u8> {
    let kind = atom(b"ftyp", &[b"isom", &be(0x200), b"isomiso2avc1mp41"]);
    let data = data_header(track.payload());
    let index_bytes = index(track, 0).len();
    let offset = kind.len() + index_bytes + data.len();
    [kind, index(track, offset as u32), data].concat()
}

/// The start of the sample data's box, with a 64-bit size when it needs one.
fn data_header(payload: u64) -> Vec<u8> {
    match u32::try_from(payload + 8) {
        Ok(size) => [&be(size), b"mdat".as_slice()].concat(),
        Err(_) => [&be(1), b"mdat".as_slice(), &(payload + 16).to_be_bytes()].concat(),
    }
}

fn index(track: &Track<'_>, offset: u32) -> Vec<u8> {
    let tables = sample_tables(track, offset);
    atom(b"moov", &[&movie_header(track), &track_box(track, &tables)])
}

fn track_box(track: &Track<'_>, tables: &[Vec<u8>]) -> Vec<u8> {
    atom(b"trak", &[&track_header(track), &media(track, tables)])
}

fn movie_header(track: &Track<'_>) -> Vec<u8> {
    full_atom(
        b"mvhd",
        1,
        0,
        &[
            &[0; 16],
            &be(track.rate.timescale),
            &track.duration().to_be_bytes(),
            &be(0x0001_0000),
            &[1, 0],
            &[0; 10],
            &identity_matrix(),
            &[0; 24],
            &be(2),
        ],
    )
}

fn track_header(track: &Track<'_>) -> Vec<u8> {
    const ENABLED_AND_IN_MOVIE: u32 = 3;
    full_atom(
        b"tkhd",
        1,
        ENABLED_AND_IN_MOVIE,
        &[
            &[0; 16],
            &be(1),
            &[0; 4],
            &track.duration().to_be_bytes(),
            &[0; 16],
            &identity_matrix(),
            &be(u32::from(track.width) << 16),
            &be(u32::from(track.height) << 16),
        ],
    )
}

fn identity_matrix() -> Vec<u8> {
    [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000]
        .into_iter()
        .flat_map(u32::to_be_bytes)
        .collect()
}

fn media(track: &Track<'_>, tables: &[Vec<u8>]) -> Vec<u8> {
    let times = full_atom(
        b"mdhd",
        1,
        0,
        &[
            &[0; 16],
            &be(track.rate.timescale),
            &track.duration().to_be_bytes(),
            &UNDETERMINED_LANGUAGE,
            &[0; 2],
        ],
    );
    let handler = full_atom(
        b"hdlr",
        0,
        0,
        &[&[0; 4], b"vide", &[0; 12], b"VideoHandler\0"],
    );
    let references = full_atom(b"dref", 0, 0, &[&be(1), &full_atom(b"url ", 0, 1, &[])]);
    let information = atom(
        b"minf",
        &[
            &full_atom(b"vmhd", 0, 1, &[&[0; 8]]),
            &atom(b"dinf", &[&references]),
            &sample_table(track, tables),
        ],
    );
    atom(b"mdia", &[&times, &handler, &information])
}

/// "und" in the 5-bit letters of ISO 639-2/T.
const UNDETERMINED_LANGUAGE: [u8; 2] = [0x55, 0xc4];

fn sample_table(track: &Track<'_>, tables: &[Vec<u8>]) -> Vec<u8> {
    let mut body = full_atom(b"stsd", 0, 0, &[&be(1), &sample_entry(track)]);
    tables.iter().for_each(|table| body.extend(table));
    atom(b"stbl", &[&body])
}

/// Times, keyframes, chunks, sizes and offsets of samples that stand in one chunk.
fn sample_tables(track: &Track<'_>, offset: u32) -> Vec<Vec<u8>> {
    let count = track.count();
    let keyframes = [&[track.keyframes.len() as u32], track.keyframes].concat();
    let sizes = [&[0, count], track.sizes].concat();
    vec![
        table(b"stts", &[1, count, track.rate.delta]),
        table(b"stss", &keyframes),
        table(b"stsc", &[1, 1, count, 1]),
        table(b"stsz", &sizes),
        table(b"stco", &[1, offset]),
    ]
}

fn table(kind: &[u8; 4], numbers: &[u32]) -> Vec<u8> {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
    full_atom(kind, 0, 0, &[&bytes])
}

fn sample_entry(track: &Track<'_>) -> Vec<u8> {
    const DPI_72: [u8; 4] = [0, 0x48, 0, 0];
    const COLOUR_24_BIT: [u8; 2] = [0, 24];
    const NO_COLOUR_TABLE: [u8; 2] = [0xff, 0xff];
    atom(
        b"avc1",
        &[
            &[0, 0, 0, 0, 0, 0, 0, 1],
            &[0; 16],
            &track.width.to_be_bytes(),
            &track.height.to_be_bytes(),
            &DPI_72,
            &DPI_72,
            &[0; 4],
            &[0, 1],
            &[0; 32],
            &COLOUR_24_BIT,
            &NO_COLOUR_TABLE,
            &decoder_configuration(track.parameters),
            &bt709_limited_range(),
            &atom(b"pasp", &[&be(1), &be(1)]),
        ],
    )
}

fn decoder_configuration(parameters: &ParameterSets) -> Vec<u8> {
    const FOUR_BYTE_LENGTHS: u8 = 0xff;
    const ONE_SEQUENCE_SET: u8 = 0xe1;
    let profile_and_level = parameters.sequence.get(1..4).unwrap_or_default();
    let length = |set: &[u8]| (set.len() as u16).to_be_bytes();
    atom(
        b"avcC",
        &[
            &[1],
            profile_and_level,
            &[FOUR_BYTE_LENGTHS, ONE_SEQUENCE_SET],
            &length(&parameters.sequence),
            &parameters.sequence,
            &[1],
            &length(&parameters.picture),
            &parameters.picture,
        ],
    )
}

fn bt709_limited_range() -> Vec<u8> {
    atom(b"colr", &[b"nclx", &[0, 1, 0, 1, 0, 1, 0]])
}

fn full_atom(kind: &[u8; 4], version: u8, flags: u32, body: &[&[u8]]) -> Vec<u8> {
    let head = be(u32::from(version) << 24 | flags);
    atom(kind, &[&[head.as_slice()], body].concat())
}

fn atom(kind: &[u8; 4], body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    [&be(body.len() as u32 + 8), kind.as_slice(), &body].concat()
}

fn be(number: u32) -> [u8; 4] {
    number.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_data_gets_a_64_bit_size() {
        assert_eq!(data_header(100), b"\0\0\0\x6cmdat");
        assert_eq!(data_header(1 << 32), b"\0\0\0\x01mdat\0\0\0\x01\0\0\0\x10");
    }
}
