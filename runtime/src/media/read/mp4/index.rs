//! What the index of an MP4 file says about its first video track.

use super::boxes::{Boxes, Fields, find, find_path};
use super::edits::{ALL, Shown, shown, ticks_a_second};
use super::fragments::Fragments;
use super::samples::Samples;
use crate::media::read::colour::{Coding, UNSPECIFIED};

/// The video track of a file.
pub struct Track {
    pub samples: Samples,
    /// More samples, if the file may have fragments.
    pub fragments: Option<Fragments>,
    pub shown: Shown,
    pub parameters: Parameters,
    /// From the container; the stream's own word counts first.
    pub coding: Option<Coding>,
    /// Quarter turns clockwise that bring the picture upright.
    pub turns: u8,
    pub fps: Option<f64>,
}

/// The content of `avcC`.
#[derive(Debug, Default)]
pub struct Parameters {
    /// Bytes of the length before each NAL unit.
    pub length_size: usize,
    pub sequence: Vec<Vec<u8>>,
    pub picture: Vec<Vec<u8>>,
}

/// Why there is no track to decode.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The file is fine but not for this reader: what it holds.
    Unsupported(String),
    /// The file is damaged: how.
    Broken(String),
}

fn broken(what: &str) -> Refusal {
    Refusal::Broken(format!("its index has no usable {what}"))
}

/// Reads the content of `moov`.
pub fn read(index: &[u8]) -> Result<Track, Refusal> {
    let is_video = |track: &&[u8]| {
        let handler = find_path(track, &[b"mdia", b"hdlr"]);
        handler.and_then(|body| body.get(8..12)) == Some(b"vide")
    };
    let tracks = Boxes(index).filter(|(kind, _)| kind == b"trak");
    let Some(track) = tracks.map(|(_, body)| body).find(is_video) else {
        return Err(Refusal::Broken("it has no video track".into()));
    };
    let media = find(track, b"mdia").ok_or_else(|| broken("box `mdia`"))?;
    let tables = find_path(media, &[b"minf", b"stbl"]).ok_or_else(|| broken("box `stbl`"))?;
    let entry = sample_entry(tables)?;
    let samples = Samples::read(tables).ok_or_else(|| broken("table of samples"))?;
    let ticks = find(media, b"mdhd").and_then(ticks_a_second);
    let number = find(track, b"tkhd").and_then(track_number).unwrap_or(1);
    let fragments = find(index, b"mvex").map(|extends| Fragments::new(extends, number, ticks));
    let configuration = find(entry, b"avcC").and_then(parameters);
    Ok(Track {
        shown: match fragments {
            None => shown(index, track, tables, samples.count()),
            Some(_) => ALL,
        },
        fragments,
        samples,
        parameters: configuration.ok_or_else(|| broken("H.264 parameters (box `avcC`)"))?,
        coding: Boxes(entry).find_map(colour),
        turns: find(track, b"tkhd").and_then(turns).unwrap_or(0),
        fps: frame_rate(media, tables),
    })
}

/// The boxes in the description of an H.264 track.
fn sample_entry(tables: &[u8]) -> Result<&[u8], Refusal> {
    const FIXED_FIELDS: usize = 78;
    let list = find(tables, b"stsd").and_then(|body| body.get(8..));
    let Some((kind, entry)) = list.and_then(|list| Boxes(list).next()) else {
        return Err(broken("description of the video (box `stsd`)"));
    };
    if !matches!(&kind, b"avc1" | b"avc3") {
        let codec = codec_name(&kind);
        return Err(Refusal::Unsupported(format!("{codec} video")));
    }
    let boxes = entry.get(FIXED_FIELDS..);
    boxes.ok_or_else(|| broken("description of the video (box `avc1`)"))
}

fn codec_name(kind: &[u8; 4]) -> String {
    match kind {
        b"hvc1" | b"hev1" => "H.265".into(),
        b"av01" => "AV1".into(),
        b"vp09" => "VP9".into(),
        b"mp4v" => "MPEG-4".into(),
        b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" => "ProRes".into(),
        b"encv" => "encrypted".into(),
        other => format!("`{}`", other.escape_ascii()),
    }
}

fn parameters(body: &[u8]) -> Option<Parameters> {
    let mut fields = Fields(body);
    fields.bytes(4)?;
    let length_size = usize::from(fields.u8()? & 3) + 1;
    let sequence_sets = fields.u8()? & 31;
    let sequence = parameter_sets(&mut fields, sequence_sets)?;
    let picture_sets = fields.u8()?;
    Some(Parameters {
        length_size,
        sequence,
        picture: parameter_sets(&mut fields, picture_sets)?,
    })
}

fn parameter_sets(fields: &mut Fields<'_>, count: u8) -> Option<Vec<Vec<u8>>> {
    let mut set = |_| {
        let length = fields.u16()?;
        fields.bytes(length.into()).map(<[u8]>::to_vec)
    };
    (0..count).map(&mut set).collect()
}

/// MOV files name no range; it is limited then.
fn colour((kind, body): ([u8; 4], &[u8])) -> Option<Coding> {
    let mut fields = Fields(body);
    let scheme = fields.bytes(4).filter(|_| &kind == b"colr")?;
    if scheme != b"nclx" && scheme != b"nclc" {
        return None;
    }
    fields.bytes(4)?;
    let matrix = u8::try_from(fields.u16()?).unwrap_or(UNSPECIFIED);
    let full_range = scheme == b"nclx" && fields.u8()? & 0x80 != 0;
    Some(Coding { matrix, full_range })
}

/// What fragments call the track.
fn track_number(header: &[u8]) -> Option<u32> {
    let mut fields = Fields(header);
    let times = if fields.u8()? == 1 { 16 } else { 8 };
    fields.bytes(3 + times)?;
    fields.u32()
}

/// The rotation of the display matrix, if it is one of quarter turns.
fn turns(header: &[u8]) -> Option<u8> {
    let mut fields = Fields(header);
    let times = if fields.u8()? == 1 { 32 } else { 20 };
    fields.bytes(3 + times + 16)?;
    let mut row = || {
        let (x, y) = (fields.u32()? as i32, fields.u32()? as i32);
        fields.u32()?;
        Some((x.signum(), y.signum()))
    };
    let (right, down) = (row()?, row()?);
    match (right, down) {
        ((0, 1), (-1, 0)) => Some(1),
        ((-1, 0), (0, -1)) => Some(2),
        ((0, -1), (1, 0)) => Some(3),
        _ => None,
    }
}

/// Samples by the time they take together.
fn frame_rate(media: &[u8], tables: &[u8]) -> Option<f64> {
    let ticks_a_second = f64::from(ticks_a_second(find(media, b"mdhd")?)?);
    let mut durations = Fields(find(tables, b"stts")?);
    durations.bytes(8)?;
    let (mut samples, mut ticks) = (0.0, 0.0);
    while let (Some(count), Some(duration)) = (durations.u32(), durations.u32()) {
        samples += f64::from(count);
        ticks += f64::from(count) * f64::from(duration);
    }
    let fps = samples / ticks * ticks_a_second;
    (fps.is_finite() && fps > 0.0).then_some(fps)
}
