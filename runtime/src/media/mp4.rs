//! MP4 files with one H.264 track.
//!
//! Encoded samples reach the disk a second at a time, as fragments of a [`Part`]. `finish`, which
//! knows all of them, puts one index before the samples, so that players can seek, and start
//! while they download; then the part goes away. Memory holds the samples of a second and four
//! bytes for each before.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::bmff::{self, Track};
use super::h264::{H264, QUANTISER};
use super::output::Output;
use super::part::Part;
use super::rate::Rate;
use super::yuv::YuvFrame;
use super::{FrameWriter, MediaError, VideoSpec};

/// Bytes of samples that make a fragment before its second is over.
const LARGE: usize = 4 << 20;

pub struct Mp4 {
    part: Option<Part>,
    encoder: H264,
    frame: YuvFrame,
    path: PathBuf,
    spec: VideoSpec,
    rate: Rate,
    sizes: Vec<u32>,
    keyframes: Vec<u32>,
    /// Samples that are in no fragment yet: the last of `sizes`.
    waiting: Vec<u8>,
    in_fragments: usize,
}

impl Mp4 {
    pub fn create(path: &Path, spec: VideoSpec, rate: Rate) -> Result<Self, MediaError> {
        check_size(spec)?;
        let encoder = H264::new(spec.width, spec.height, rate, QUANTISER)
            .map_err(|e| MediaError::encode(path, e))?;
        // Shows early whether there can be a file.
        drop(Output::create(path)?);
        Ok(Self {
            part: None,
            encoder,
            frame: YuvFrame::new(spec.width as usize, spec.height as usize),
            path: path.into(),
            spec,
            rate,
            sizes: Vec::new(),
            keyframes: Vec::new(),
            waiting: Vec::new(),
            in_fragments: 0,
        })
    }

    fn track<'a>(&'a self, sizes: &'a [u32], keyframes: &'a [u32]) -> Track<'a> {
        Track {
            width: self.spec.width.next_multiple_of(2) as u16,
            height: self.spec.height.next_multiple_of(2) as u16,
            rate: self.rate,
            parameters: self.encoder.parameters(),
            sizes,
            keyframes,
        }
    }

    /// Makes a fragment of the samples that wait.
    fn flush(&mut self) -> io::Result<()> {
        let first = self.in_fragments;
        let part = match self.part.take() {
            Some(part) => part,
            None => Part::create(&self.path, &bmff::open_header(&self.track(&[], &[])))?,
        };
        let keyframes = self.keyframes.iter().filter(|key| **key > first as u32);
        let keyframes: Vec<u32> = keyframes.map(|key| key - 1 - first as u32).collect();
        let track = self.track(&self.sizes[first..], &keyframes);
        let index = bmff::fragment(part.fragments() as u32 + 1, first as u64, &track);
        self.part.insert(part).append(&index, &self.waiting)?;
        self.waiting.clear();
        self.in_fragments = self.sizes.len();
        Ok(())
    }

    fn assemble(&mut self, output: &mut Output) -> io::Result<()> {
        let header = bmff::header(&self.track(&self.sizes, &self.keyframes));
        output.write_all(&header)?;
        let part = self.part.as_mut();
        part.map_or(Ok(()), |part| part.copy_samples(output))
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
        self.waiting.extend(&sample.data);
        self.sizes.push(sample.data.len() as u32);
        if sample.keyframe {
            self.keyframes.push(self.sizes.len() as u32);
        }
        let a_second = (self.sizes.len() - self.in_fragments) as f64 >= self.rate.fps();
        if a_second || self.waiting.len() >= LARGE {
            self.flush().map_err(MediaError::io("write", &self.path))?;
        }
        Ok(())
    }

    fn part(&self) -> Option<&Path> {
        let part = self.part.as_ref().filter(|part| part.fragments() > 0);
        part.map(Part::path)
    }

    fn finish(mut self: Box<Self>) -> Result<(), MediaError> {
        if self.sizes.is_empty() {
            return Err(MediaError::NoFrames {
                path: self.path.clone(),
            });
        }
        if !self.waiting.is_empty() {
            self.flush().map_err(MediaError::io("write", &self.path))?;
        }
        let mut output = Output::create(&self.path)?;
        self.assemble(&mut output)
            .map_err(MediaError::io("write", &self.path))?;
        output.commit()?;
        if let Some(part) = self.part.take() {
            part.remove();
        }
        Ok(())
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
