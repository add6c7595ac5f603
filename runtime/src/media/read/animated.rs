//! Animations: GIF, APNG and animated WebP, each frame as it is shown.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::codecs::gif::GifDecoder;
use image::codecs::png::PngDecoder;
use image::codecs::webp::WebPDecoder;
use image::error::ImageResult;
use image::{AnimationDecoder, Delay, Frames, ImageDecoder};

use super::limits::Limits;
use super::sniff::Format;
use super::{Frame, ReadError, Source, still};

type Input = BufReader<File>;

struct Animation {
    path: PathBuf,
    name: &'static str,
    frames: Frames<'static>,
    shown: u32,
    seconds: f64,
}

/// The animation in a file, or `None` when it holds a still picture.
pub fn open(
    path: &Path,
    format: Format,
    limits: Limits,
) -> Result<Option<Box<dyn Source>>, ReadError> {
    let (name, _) = still::kind_of(format);
    if format == Format::WebP {
        still::check_length(path, name)?;
    }
    let input = still::open(path, name)?;
    let start = match format {
        Format::Gif => gif(input, limits),
        Format::Png => apng(input, limits),
        Format::WebP => webp(input),
        Format::Jpeg | Format::Bmp | Format::Mp4 | Format::Unknown => return Ok(None),
    };
    let Some(start) = start.map_err(|error| still::failure(path, name, error))? else {
        return Ok(None);
    };
    let (width, height) = start.size;
    limits.check_frame(path, width.into(), height.into())?;
    Ok(Some(Box::new(Animation {
        path: path.into(),
        name,
        frames: (start.frames)(),
        shown: 0,
        seconds: 0.0,
    })))
}

/// An opened animation, of which no frame has been allocated yet.
struct Start {
    size: (u32, u32),
    frames: Box<dyn FnOnce() -> Frames<'static>>,
}

impl Start {
    fn new<D: AnimationDecoder<'static> + 'static>(size: (u32, u32), decoder: D) -> Option<Self> {
        let frames = Box::new(move || decoder.into_frames());
        Some(Self { size, frames })
    }
}

fn gif(input: Input, limits: Limits) -> ImageResult<Option<Start>> {
    let mut decoder = GifDecoder::new(input)?;
    decoder.set_limits(still::for_decoder(limits))?;
    Ok(Start::new(decoder.dimensions(), decoder))
}

fn apng(input: Input, limits: Limits) -> ImageResult<Option<Start>> {
    let decoder = PngDecoder::with_limits(input, still::for_decoder(limits))?;
    if !decoder.is_apng()? {
        return Ok(None);
    }
    Ok(Start::new(decoder.dimensions(), decoder.apng()?))
}

fn webp(input: Input) -> ImageResult<Option<Start>> {
    let decoder = WebPDecoder::new(input)?;
    if !decoder.has_animation() {
        return Ok(None);
    }
    Ok(Start::new(decoder.dimensions(), decoder))
}

impl Source for Animation {
    fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        let Some(frame) = self.frames.next() else {
            return Ok(None);
        };
        let frame = frame.map_err(|error| still::failure(&self.path, self.name, error))?;
        self.shown += 1;
        self.seconds += seconds(frame.delay());
        let picture = frame.into_buffer();
        Ok(Some(Frame {
            width: picture.width(),
            height: picture.height(),
            rgb: still::drop_alpha(&picture),
        }))
    }

    /// The mean over the frames given.
    fn fps(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| f64::from(self.shown) / self.seconds)
    }
}

fn seconds(delay: Delay) -> f64 {
    let (numerator, denominator) = delay.numer_denom_ms();
    f64::from(numerator) / f64::from(denominator.max(1)) / 1000.0
}
