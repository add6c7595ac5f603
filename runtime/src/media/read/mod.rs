//! Frames out of pictures, animations, videos and folders.
//!
//! [`Reader`] gives one frame at a time and holds no others; [`open`] keeps the first few.
//! The content decides the format, never the name. Frames are rows of 8-bit RGB triples as a
//! display expects them; transparency is dropped, 16-bit samples keep their high bytes.
//!
//! Whatever the input is, reading neither panics nor takes memory beyond the [`Limits`].

mod animated;
mod colour;
mod error;
mod ffmpeg;
mod jpeg;
mod limits;
mod mp4;
mod numbered;
mod sniff;
mod still;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

use super::MediaError;
pub(super) use colour::{Coding, Converter};
pub use error::ReadError;
pub use ffmpeg::Ffmpeg;
pub use limits::Limits;
use sniff::{Format, sniff};

/// What to read, and what it may cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOptions {
    /// The most frames to give.
    pub max_frames: usize,
    /// The largest frames, and the most memory.
    pub limits: Limits,
    /// What reads formats that are not built in.
    pub ffmpeg: Ffmpeg,
}

impl ReadOptions {
    /// Up to so many frames, with the usual limits and the `ffmpeg` that the environment names.
    pub fn frames(max_frames: usize) -> Self {
        Self {
            max_frames,
            limits: Limits::default(),
            ffmpeg: Ffmpeg::from_env(),
        }
    }
}

/// Who decoded an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoder {
    /// This program.
    BuiltIn,
    /// The program `ffmpeg`, for the reason given.
    Ffmpeg {
        /// What is not built in.
        why: String,
    },
}

/// The first frames of an input.
#[derive(Debug, Clone)]
pub struct Clip {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// One to `max_frames` frames of `width * height * 3` bytes in the order of display.
    pub frames: Vec<Vec<u8>>,
    /// Frames per second, if the input says so and holds more than one frame.
    pub fps: Option<f64>,
    /// Whether there are more frames.
    pub more: bool,
    /// Who decoded it.
    pub decoder: Decoder,
}

/// Reads the first frames of a picture, an animation, a video, a folder of pictures in the
/// order of their numbers, or a pattern such as `frames/%05d.png`.
///
/// Built in are PNG and APNG, JPEG, WebP, BMP, GIF, and MP4 and MOV with 8-bit progressive
/// 4:2:0 H.264; others need [`Ffmpeg`]. A picture's EXIF orientation and a video's rotation are
/// applied, and an edit list that shows one stretch. An error after the frames asked for goes
/// unnoticed.
pub fn open(path: &Path, options: &ReadOptions) -> Result<Clip, ReadError> {
    let mut reader = Reader::open(path, options)?;
    let (width, height) = reader.size();
    let mut frames = Vec::new();
    while frames.len() < options.max_frames {
        let Some(frame) = reader.next_frame()? else {
            break;
        };
        options
            .limits
            .check_all(path, width, height, frames.len() + 1)?;
        frames.push(frame);
    }
    let full = frames.len() == options.max_frames;
    let more = full && !matches!(reader.next_frame(), Ok(None));
    Ok(Clip {
        width,
        height,
        fps: reader.fps().filter(|_| frames.len() > 1 || more),
        frames,
        more,
        decoder: reader.decoder().clone(),
    })
}

/// A frame as its source gives it.
struct Frame {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

/// Something that gives frames one by one.
trait Source {
    /// The next frame, or `None` after the last.
    fn next(&mut self) -> Result<Option<Frame>, ReadError>;

    /// Frames per second as far as is known by now.
    fn fps(&self) -> Option<f64>;

    /// What holds the frame given last, where that is not the input itself.
    fn place(&self) -> Option<&Path> {
        None
    }
}

/// Gives the frames of an input one by one, all of one size.
pub struct Reader {
    source: Box<dyn Source>,
    path: PathBuf,
    size: (u32, u32),
    first: Option<Vec<u8>>,
    given: usize,
    decoder: Decoder,
}

impl Reader {
    /// Opens an input as [`open`] does and decodes its first frame.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Self, ReadError> {
        if options.max_frames == 0 {
            return Err(ReadError::NothingAsked { path: path.into() });
        }
        let (mut source, decoder) = source(path, options)?;
        let Some(frame) = source.next()? else {
            return Err(ReadError::broken(path, "file", "it has no frames"));
        };
        Ok(Self {
            source,
            path: path.into(),
            size: (frame.width, frame.height),
            first: Some(frame.rgb),
            given: 0,
            decoder,
        })
    }

    /// Columns and rows of every frame.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Frames per second as far as is known by now; animations know it after their last frame.
    pub fn fps(&self) -> Option<f64> {
        self.source.fps()
    }

    /// Who decodes.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// The next frame, or `None` after the last.
    pub fn next_frame(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if let Some(first) = self.first.take() {
            self.given = 1;
            return Ok(Some(first));
        }
        let next = self.source.next().map_err(|e| e.after(self.given))?;
        let Some(frame) = next else {
            return Ok(None);
        };
        if (frame.width, frame.height) != self.size {
            return Err(ReadError::SizeChanges {
                path: self.source.place().unwrap_or(&self.path).into(),
                got: (frame.width, frame.height),
                first: self.size,
            });
        }
        self.given += 1;
        Ok(Some(frame.rgb))
    }
}

type Opened = (Box<dyn Source>, Decoder);

fn source(path: &Path, options: &ReadOptions) -> Result<Opened, ReadError> {
    let limits = options.limits;
    let built_in = |source: Box<dyn Source>| Ok((source, Decoder::BuiltIn));
    let kind = match fs::metadata(path) {
        Err(_) if super::sequence::is_pattern(path) => {
            return built_in(Box::new(numbered::pattern(path, limits)?));
        }
        found => found.map_err(ReadError::io(path))?,
    };
    if kind.is_dir() {
        return built_in(Box::new(numbered::folder(path, limits)?));
    }
    if !kind.is_file() {
        return Err(ReadError::NotAFile { path: path.into() });
    }
    let why = match sniff(path)? {
        Format::Mp4 => match mp4::open(path, limits)? {
            mp4::Opened::Video(video) => return built_in(video),
            mp4::Opened::Unsupported(what) => what,
        },
        Format::Unknown => "this format".to_owned(),
        format => return built_in(picture(path, format, limits)?),
    };
    let source = ffmpeg::open(path, options, &why)?;
    Ok((Box::new(source), Decoder::Ffmpeg { why }))
}

/// A picture or an animation.
fn picture(path: &Path, format: Format, limits: Limits) -> Result<Box<dyn Source>, ReadError> {
    if let Some(animation) = animated::open(path, format, limits)? {
        return Ok(animation);
    }
    Ok(Box::new(still::Still::new(path, format, limits)))
}
