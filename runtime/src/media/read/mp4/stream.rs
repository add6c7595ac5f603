//! Samples to what the decoder takes, and what it cannot take.

use h264_reader::nal::sps::{ChromaFormat, FrameMbsFlags, SeqParameterSet};
use h264_reader::rbsp::{BitReader, decode_nal};

use super::index::{Parameters, Refusal};
use crate::media::read::colour::{Coding, UNSPECIFIED};

const START_CODE: [u8; 4] = [0, 0, 0, 1];
const SEQUENCE_PARAMETERS: u8 = 7;
/// The most 16x16 blocks of a picture that the decoder takes.
const MOST_BLOCKS: u32 = 36_864;

/// What the stream says about its pictures.
pub struct Layout {
    pub width: u32,
    pub height: u32,
    full_range: Option<bool>,
    matrix: Option<u8>,
}

impl Layout {
    /// The stream's own colours; the container's where it says nothing, as ffmpeg does it.
    pub fn coding(&self, container: Option<Coding>) -> Coding {
        let matrix = container.map(|coding| coding.matrix);
        let full_range = container.map(|coding| coding.full_range);
        Coding {
            matrix: self.matrix.or(matrix).unwrap_or(UNSPECIFIED),
            full_range: self.full_range.or(full_range).unwrap_or(false),
        }
    }
}

/// Turns samples into byte streams with start codes.
pub struct Stream {
    length_size: usize,
    /// The parameter sets, until the first sample takes them along.
    pending: Vec<u8>,
    buffer: Vec<u8>,
}

impl Stream {
    /// Refuses streams that the decoder would get wrong or not decode.
    pub fn new(parameters: &Parameters) -> Result<(Self, Layout), Refusal> {
        let Some(first) = parameters.sequence.first() else {
            let what = "H.264 without parameters in the header";
            return Err(Refusal::Unsupported(what.into()));
        };
        let layout = check(first)?;
        for other in &parameters.sequence {
            check(other)?;
        }
        let sets = parameters.sequence.iter().chain(&parameters.picture);
        let stream = Self {
            length_size: parameters.length_size,
            pending: sets
                .flat_map(|set| START_CODE.iter().chain(set))
                .copied()
                .collect(),
            buffer: Vec::new(),
        };
        Ok((stream, layout))
    }

    /// The NAL units of a sample behind start codes.
    pub fn annex_b(&mut self, sample: &[u8]) -> Result<&[u8], String> {
        self.buffer.clear();
        self.buffer.append(&mut self.pending);
        let mut rest = sample;
        while !rest.is_empty() {
            let unit = self.take_unit(&mut rest);
            let unit = unit.ok_or("a picture's data does not fit its length")?;
            if unit
                .first()
                .is_some_and(|byte| byte & 31 == SEQUENCE_PARAMETERS)
            {
                check(unit).map_err(|refusal| match refusal {
                    Refusal::Unsupported(what) => format!("it changes to {what}"),
                    Refusal::Broken(reason) => reason,
                })?;
            }
            self.buffer.extend(START_CODE);
            self.buffer.extend(unit);
        }
        Ok(&self.buffer)
    }

    fn take_unit<'a>(&self, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, after) = rest.split_at_checked(self.length_size)?;
        let length = length
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
        let (unit, after) = after.split_at_checked(length)?;
        *rest = after;
        Some(unit)
    }
}

/// Reads a sequence parameter set.
fn check(set: &[u8]) -> Result<Layout, Refusal> {
    let damaged = || Refusal::Broken("its H.264 parameters are damaged".into());
    if set.len() < 2 {
        return Err(damaged());
    }
    let payload = decode_nal(set).map_err(|_| damaged())?;
    let set = SeqParameterSet::from_bits(BitReader::new(&*payload)).map_err(|_| damaged())?;
    let (width, height) = set.pixel_dimensions().map_err(|_| damaged())?;
    if let Some(what) = beyond(&set) {
        return Err(Refusal::Unsupported(what.into()));
    }
    let blocks = width.div_ceil(16).saturating_mul(height.div_ceil(16));
    if blocks > MOST_BLOCKS {
        return Err(Refusal::Unsupported(format!("H.264 of {width}x{height}")));
    }
    let signal = set.vui_parameters.and_then(|vui| vui.video_signal_type);
    let described = signal.as_ref().and_then(|s| s.colour_description.as_ref());
    Ok(Layout {
        width,
        height,
        full_range: signal.as_ref().map(|s| s.video_full_range_flag),
        matrix: described
            .map(|colours| colours.matrix_coefficients)
            .filter(|matrix| *matrix != UNSPECIFIED),
    })
}

/// What the decoder does not know.
fn beyond(set: &SeqParameterSet) -> Option<&'static str> {
    let chroma = &set.chroma_info;
    if chroma.bit_depth_luma_minus8 > 0 || chroma.bit_depth_chroma_minus8 > 0 {
        return Some("H.264 with more than 8 bits");
    }
    if chroma.chroma_format != ChromaFormat::YUV420 {
        return Some("H.264 that is not 4:2:0");
    }
    if set.frame_mbs_flags != FrameMbsFlags::Frames {
        return Some("interlaced H.264");
    }
    None
}
