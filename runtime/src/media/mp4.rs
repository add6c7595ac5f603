//! MP4 files with one H.264 track.
//!
//! Encoded samples go to a nameless file until `finish`, when the index is known and is put
//! before them, so that players can start while they download. Memory holds one frame and four
//! bytes per sample.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::bmff::{self, Track};
use super::h264::{H264, QUANTISER};
use super::output::{Output, scratch_file};
use super::rate::Rate;
use super::yuv::YuvFrame;
use super::{FrameWriter, MediaError, VideoSpec};

pub struct Mp4 {
    output: Output,
    samples: BufWriter<File>,
    encoder: H264,
    frame: YuvFrame,
    path: PathBuf,
    spec: VideoSpec,
    rate: Rate,
    sizes: Vec<u32>,
    keyframes: Vec<u32>,
}

impl Mp4 {
    pub fn create(path: &Path, spec: VideoSpec, rate: Rate) -> Result<Self, MediaError> {
        check_size(spec)?;
        let encoder = H264::new(spec.width, spec.height, rate, QUANTISER)
            .map_err(|e| MediaError::encode(path, e))?;
        Ok(Self {
            output: Output::create(path)?,
            samples: BufWriter::new(scratch_file(path)?),
            encoder,
            frame: YuvFrame::new(spec.width as usize, spec.height as usize),
            path: path.into(),
            spec,
            rate,
            sizes: Vec::new(),
            keyframes: Vec::new(),
        })
    }

    fn track(&self) -> Track<'_> {
        Track {
            width: self.spec.width.next_multiple_of(2) as u16,
            height: self.spec.height.next_multiple_of(2) as u16,
            rate: self.rate,
            parameters: self.encoder.parameters(),
            sizes: &self.sizes,
            keyframes: &self.keyframes,
        }
    }

    fn assemble(&mut self) -> io::Result<()> {
        let header = bmff::header(&self.track());
        self.output.write_all(&header)?;
        self.samples.flush()?;
        let samples = self.samples.get_mut();
        samples.seek(SeekFrom::Start(0))?;
        io::copy(samples, &mut self.output)?;
        Ok(())
    }
}

impl FrameWriter for Mp4 {
    fn write(&mut self, rgb: &[u8]) -> Result<(), MediaError> {
        self.spec.check_frame(rgb)?;
        let (width, height) = (self.spec.width as usize, self.spec.height as usize);
        self.frame.fill(rgb, width, height);
        let sample = self
            .encoder
            .encode(&self.frame)
            .map_err(|e| MediaError::encode(&self.path, e))?;
        self.samples
            .write_all(&sample.data)
            .map_err(MediaError::io("write", &self.path))?;
        self.sizes.push(sample.data.len() as u32);
        if sample.keyframe {
            self.keyframes.push(self.sizes.len() as u32);
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), MediaError> {
        if self.sizes.is_empty() {
            return Err(MediaError::NoFrames { path: self.path });
        }
        self.assemble()
            .map_err(MediaError::io("write", &self.path))?;
        self.output.commit()
    }
}

fn check_size(spec: VideoSpec) -> Result<(), MediaError> {
    let (short, long) = (spec.width.min(spec.height), spec.width.max(spec.height));
    if short < 16 {
        return Err(MediaError::size(
            "an MP4",
            spec,
            "the encoder needs at least 16x16; write a .gif or .png",
        ));
    }
    if long > 3840 || short > 2160 {
        return Err(MediaError::size(
            "an MP4",
            spec,
            "the encoder takes at most 3840x2160 or 2160x3840",
        ));
    }
    Ok(())
}
