//! H.264 encoding: frames in, length-prefixed samples out.
//!
//! The quantiser is the same for every picture, so quality is the same for a small
//! cartoon and a large film and the bit rate follows the content. A keyframe comes every two
//! seconds and at scene changes.

use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, IntraFramePeriod, QpRange,
    RateControlMode, VuiConfig,
};
use openh264::formats::YUVSource;
use openh264::{OpenH264API, Timestamp, nal_units};

use super::rate::Rate;

/// Close to transparent; 51 is the coarsest.
pub const QUANTISER: u8 = 18;
const SEQUENCE_PARAMETERS: u8 = 7;
const PICTURE_PARAMETERS: u8 = 8;
const KEYFRAME_SLICE: u8 = 5;

/// What a decoder must know before the first sample.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParameterSets {
    pub sequence: Vec<u8>,
    pub picture: Vec<u8>,
}

/// One coded picture, each NAL unit behind its length as 4 bytes.
pub struct Sample {
    pub data: Vec<u8>,
    pub keyframe: bool,
}

pub struct H264 {
    encoder: Encoder,
    rate: Rate,
    frames: u64,
    parameters: ParameterSets,
}

impl H264 {
    /// An encoder whose quantiser stands still, from 0, the finest, to 51.
    pub fn new(
        width: u32,
        height: u32,
        rate: Rate,
        quantiser: u8,
    ) -> Result<Self, openh264::Error> {
        let config = configuration(width, height, rate.fps(), quantiser);
        Ok(Self {
            encoder: Encoder::with_api_config(OpenH264API::from_source(), config)?,
            rate,
            frames: 0,
            parameters: ParameterSets::default(),
        })
    }

    /// The parameter sets of the stream, empty before the first sample.
    pub fn parameters(&self) -> &ParameterSets {
        &self.parameters
    }

    pub fn encode(&mut self, frame: &impl YUVSource) -> Result<Sample, openh264::Error> {
        let time = Timestamp::from_millis(self.rate.start(self.frames, 1000));
        let stream = self.encoder.encode_at(frame, time)?.to_vec();
        self.frames += 1;
        self.package(&stream)
    }

    /// One picture as a byte stream of its own, parameter sets included.
    pub fn encode_alone(&mut self, frame: &impl YUVSource) -> Result<Vec<u8>, openh264::Error> {
        Ok(self.encoder.encode(frame)?.to_vec())
    }

    /// Parameter sets leave the stream, since the container states them once; the encoder
    /// repeats the same ones before each keyframe.
    fn package(&mut self, stream: &[u8]) -> Result<Sample, openh264::Error> {
        let mut sample = Sample {
            data: Vec::with_capacity(stream.len()),
            keyframe: false,
        };
        for unit in nal_units(stream).map(without_start_code) {
            match unit.first().map(|header| header & 0x1f) {
                None => continue,
                Some(SEQUENCE_PARAMETERS) => keep(&mut self.parameters.sequence, unit)?,
                Some(PICTURE_PARAMETERS) => keep(&mut self.parameters.picture, unit)?,
                Some(kind) => {
                    sample.keyframe |= kind == KEYFRAME_SLICE;
                    sample.data.extend((unit.len() as u32).to_be_bytes());
                    sample.data.extend(unit);
                }
            }
        }
        if sample.data.is_empty() {
            return Err(openh264::Error::msg("the encoder skipped a frame"));
        }
        Ok(sample)
    }
}

/// The bit rate does not steer the pinned quantiser; it makes the encoder state a level that
/// decoders can rely on.
fn configuration(width: u32, height: u32, fps: f64, quantiser: u8) -> EncoderConfig {
    let bits = f64::from(width) * f64::from(height) * fps * 0.5;
    EncoderConfig::new()
        .rate_control_mode(RateControlMode::Bufferbased)
        .qp(QpRange::new(quantiser, quantiser))
        .bitrate(BitRate::from_bps(
            bits.clamp(100_000.0, 200_000_000.0) as u32
        ))
        .max_frame_rate(FrameRate::from_hz(fps as f32))
        .intra_frame_period(IntraFramePeriod::from_num_frames((fps * 2.0).ceil() as u32))
        .skip_frames(false)
        .adaptive_quantization(false)
        .background_detection(false)
        .complexity(Complexity::High)
        .vui(VuiConfig::bt709())
}

fn keep(stored: &mut Vec<u8>, unit: &[u8]) -> Result<(), openh264::Error> {
    if stored.is_empty() {
        stored.extend(unit);
    }
    if stored != unit {
        return Err(openh264::Error::msg("the encoder changed its parameters"));
    }
    Ok(())
}

fn without_start_code(unit: &[u8]) -> &[u8] {
    let zeros = unit.iter().take_while(|byte| **byte == 0).count();
    unit.get(zeros + 1..).unwrap_or_default()
}
