//! H.264 video in MP4 and MOV files.
//!
//! Samples are found through the index one at a time and decoded by openh264, which puts the
//! pictures into the order of display. An edit list that shows one stretch of the video is
//! followed, others and those of fragmented files are not.

mod boxes;
mod edits;
mod fragments;
mod index;
mod samples;
mod stream;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use image::RgbImage;
use image::imageops::{rotate90, rotate180, rotate270};
use openh264::OpenH264API;
use openh264::decoder::{DecodedYUV, Decoder, DecoderConfig, Flush};
use openh264::formats::YUVSource;

use super::colour::Converter;
use super::limits::Limits;
use super::{Frame, ReadError, Source};
use index::{Refusal, Track};
use stream::{Layout, Stream};

const FORMAT: &str = "MP4 video";
/// No picture of a size that can be decoded is larger.
const LARGEST_SAMPLE: u32 = 64 << 20;

/// What a file turns out to hold.
pub enum Opened {
    Video(Box<dyn Source>),
    /// A sound file of this kind, which another program may read.
    Unsupported(String),
}

/// Opens a file whose first box is one of MP4's.
pub fn open(path: &Path, limits: Limits) -> Result<Opened, ReadError> {
    let fail = |reason: String| ReadError::broken(path, FORMAT, reason);
    let io = || ReadError::io(path);
    let mut file = File::open(path).map_err(io())?;
    let length = file.metadata().map_err(io())?.len();
    let (index, end) = boxes::read_index(&mut file, length)
        .map_err(io())?
        .map_err(fail)?;
    let opened = index::read(&index).and_then(|mut track| {
        track.fragments = track.fragments.map(|all| all.within(end, length));
        let (stream, layout) = Stream::new(&track.parameters)?;
        Ok((track, stream, layout))
    });
    let (track, stream, layout) = match opened {
        Ok(opened) => opened,
        Err(Refusal::Unsupported(what)) => return Ok(Opened::Unsupported(what)),
        Err(Refusal::Broken(reason)) => return Err(fail(reason)),
    };
    limits.check_frame(path, layout.width.into(), layout.height.into())?;
    let video = Video::new(path, file, length, track, stream, &layout)?;
    Ok(Opened::Video(Box::new(video)))
}

struct Video {
    path: PathBuf,
    file: File,
    length: u64,
    track: Track,
    stream: Stream,
    decoder: Decoder,
    converter: Converter,
    ready: VecDeque<Frame>,
    /// Samples that went into the decoder, and pictures that came out.
    decoded: u32,
    pictures: u32,
    /// Why there is nothing behind the frames that are ready, once that is so.
    end: Option<Result<(), String>>,
}

impl Video {
    fn new(
        path: &Path,
        file: File,
        length: u64,
        track: Track,
        stream: Stream,
        layout: &Layout,
    ) -> Result<Self, ReadError> {
        let config = DecoderConfig::new().flush_after_decode(Flush::NoFlush);
        let decoder = Decoder::with_api_config(OpenH264API::from_source(), config)
            .map_err(|e| ReadError::broken(path, FORMAT, e))?;
        Ok(Self {
            path: path.into(),
            file,
            length,
            converter: Converter::new(layout.coding(track.coding)),
            track,
            stream,
            decoder,
            ready: VecDeque::new(),
            decoded: 0,
            pictures: 0,
            end: None,
        })
    }

    /// Offset and size of the next sample.
    fn place(&mut self) -> Option<Result<(u64, u32), String>> {
        let listed = self.track.samples.next();
        listed.or_else(|| self.track.fragments.as_mut()?.next(&mut self.file))
    }

    /// Decodes the next sample; pictures that are complete by then are ready.
    fn advance(&mut self) {
        let sample = match self.place() {
            Some(place) => place.and_then(|(offset, size)| self.sample(offset, size)),
            None => return self.finish(Ok(())),
        };
        let data = match sample.and_then(|sample| self.stream.annex_b(&sample)) {
            Ok(data) => data,
            Err(reason) => return self.finish(Err(reason)),
        };
        match self.decoder.decode(data) {
            Ok(picture) => {
                let frame = picture.map(|p| to_frame(&self.converter, self.track.turns, &p));
                self.decoded += 1;
                self.pictures += u32::from(frame.is_some());
                self.ready.extend(frame);
            }
            Err(error) => {
                let reason = format!("the decoder refuses picture {}: {error}", self.decoded + 1);
                self.finish(Err(reason));
            }
        }
    }

    /// Takes the pictures that the decoder still holds back.
    fn finish(&mut self, end: Result<(), String>) {
        let rest = match self.decoder.flush_remaining() {
            Ok(rest) => rest,
            Err(error) => {
                self.end = Some(end.and(Err(error.to_string())));
                return;
            }
        };
        self.pictures += rest.len() as u32;
        let frames = rest
            .iter()
            .map(|p| to_frame(&self.converter, self.track.turns, p));
        self.ready.extend(frames);
        let (pictures, samples) = (self.pictures, self.decoded);
        self.end = Some(end.and(if pictures < samples {
            Err(format!(
                "only {pictures} of {samples} pictures can be decoded"
            ))
        } else {
            Ok(())
        }));
    }

    fn sample(&mut self, offset: u64, size: u32) -> Result<Vec<u8>, String> {
        let number = self.decoded + 1;
        if offset.saturating_add(size.into()) > self.length {
            return Err(format!(
                "the file is cut off before the end of picture {number}"
            ));
        }
        if size > LARGEST_SAMPLE {
            return Err(format!("picture {number} claims {} MiB", size >> 20));
        }
        let mut data = vec![0; size as usize];
        self.file
            .seek(SeekFrom::Start(offset))
            .and_then(|_| self.file.read_exact(&mut data))
            .map_err(|error| format!("picture {number} cannot be read: {error}"))?;
        Ok(data)
    }
}

impl Source for Video {
    fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        while self.track.shown.count > 0 {
            while self.ready.is_empty() && self.end.is_none() {
                self.advance();
            }
            let Some(frame) = self.ready.pop_front() else {
                break;
            };
            if self.track.shown.skip == 0 {
                self.track.shown.count -= 1;
                return Ok(Some(frame));
            }
            self.track.shown.skip -= 1;
        }
        if self.track.shown.count == 0 {
            return Ok(None);
        }
        match self.end.replace(Ok(())) {
            Some(Err(reason)) => Err(ReadError::broken(&self.path, FORMAT, reason)),
            _ => Ok(None),
        }
    }

    fn fps(&self) -> Option<f64> {
        let fragments = self.track.fragments.as_ref();
        self.track.fps.or_else(|| fragments?.fps())
    }
}

fn to_frame(converter: &Converter, turns: u8, picture: &DecodedYUV<'_>) -> Frame {
    let rgb = converter.to_rgb(picture);
    let (width, height) = picture.dimensions();
    let (width, height) = (width as u32, height as u32);
    let upright = RgbImage::from_raw(width, height, rgb).map(|picture| match turns {
        1 => rotate90(&picture),
        2 => rotate180(&picture),
        3 => rotate270(&picture),
        _ => picture,
    });
    let picture = upright.unwrap_or_default();
    Frame {
        width: picture.width(),
        height: picture.height(),
        rgb: picture.into_raw(),
    }
}
