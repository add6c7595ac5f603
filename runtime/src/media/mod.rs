//! Pictures and videos out of RGB frames; [`read`] goes the other way, [`prepare`] makes model input.
//!
//! [`create`] picks a format by the name of the file and returns a [`FrameWriter`] that takes
//! one frame at a time; memory does not grow with the pixels already written. Frames are rows
//! of 8-bit RGB triples, sRGB-encoded as a display expects them.
//!
//! Nothing appears under the final name before [`FrameWriter::finish`] has succeeded: data goes
//! to a temporary name in the same folder, which is renamed at the end and removed when the
//! writer is dropped early; only the seconds that an MP4 has by then stay, as `NAME.part.mp4`. A
//! missing parent folder is created and stays. An existing file is replaced.

mod bmff;
mod error;
mod gif;
mod h264;
mod mp4;
mod output;
mod part;
mod pixels;
mod png;
pub mod prepare;
mod rate;
pub mod read;
pub mod resize;
mod sequence;
mod strip;
#[cfg(test)]
mod test_data;
#[cfg(test)]
mod tests;
mod yuv;

use std::path::Path;

pub use error::MediaError;
pub use pixels::{Crop, to_rgb8};
pub use png::write_png;
pub use strip::strip;

/// Size in pixels and frames per second of a video.
///
/// Rates such as 23.976 and 29.97 mean their exact broadcast values, 24000/1001 and 30000/1001.
/// Pictures ignore the rate, but it must be a valid one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VideoSpec {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Frames per second, from 0.01 to 1000.
    pub fps: f64,
}

impl VideoSpec {
    fn frame_bytes(&self) -> usize {
        self.width as usize * self.height as usize * 3
    }

    fn check_frame(&self, rgb: &[u8]) -> Result<(), MediaError> {
        if rgb.len() == self.frame_bytes() {
            return Ok(());
        }
        Err(MediaError::FrameBytes {
            got: rgb.len(),
            expected: self.frame_bytes(),
            width: self.width,
            height: self.height,
        })
    }
}

/// Takes frames in order and makes a file of them.
pub trait FrameWriter {
    /// Appends a frame of `width * height * 3` bytes.
    fn write(&mut self, rgb: &[u8]) -> Result<(), MediaError>;

    /// The file with the frames so far, which can be read and stays when the writer goes early; none
    /// where nothing stays.
    fn part(&self) -> Option<&Path> {
        None
    }

    /// Completes the output and moves it to its final name; an error if no frame was written.
    fn finish(self: Box<Self>) -> Result<(), MediaError>;
}

/// Starts an output; the format follows the name, upper or lower case.
///
/// | name | output |
/// | --- | --- |
/// | `x.mp4` | H.264 video; an odd width or height is padded to even by repeating the last column or row; `x.part.mp4` until it is finished |
/// | `x.gif` | animation that loops for ever, 256 colours a frame |
/// | `x.png` | one picture; a second frame is an error |
/// | `x/%05d.png` | one picture per frame, counted from 0 |
pub fn create(path: &Path, spec: VideoSpec) -> Result<Box<dyn FrameWriter + Send>, MediaError> {
    let rate = rate::Rate::from_fps(spec.fps)?;
    if spec.width == 0 || spec.height == 0 {
        return Err(MediaError::size("a frame", spec, "both must be at least 1"));
    }
    let extension = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "mp4" => Ok(Box::new(mp4::Mp4::create(path, spec, rate)?)),
        "gif" => Ok(Box::new(gif::Gif::create(path, spec, rate)?)),
        "png" if sequence::is_pattern(path) => {
            Ok(Box::new(sequence::Sequence::create(path, spec)?))
        }
        "png" => Ok(Box::new(png::OnePng::create(path, spec)?)),
        _ => Err(MediaError::UnknownFormat { path: path.into() }),
    }
}
