//! Single PNG pictures.

use std::io::Write;
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Encoder, EncodingError};

use super::output::Output;
use super::{FrameWriter, MediaError, VideoSpec};

/// Writes `width * height * 3` bytes of RGB as a PNG file, tagged as sRGB.
pub fn write_png(path: &Path, rgb: &[u8], width: u32, height: u32) -> Result<(), MediaError> {
    let spec = VideoSpec {
        width,
        height,
        fps: 1.0,
    };
    let mut output = Output::create(path)?;
    encode_png(&mut output, path, spec, rgb)?;
    output.commit()
}

pub fn encode_png(
    output: impl Write,
    path: &Path,
    spec: VideoSpec,
    rgb: &[u8],
) -> Result<(), MediaError> {
    spec.check_frame(rgb)?;
    let fail = |error| match error {
        EncodingError::IoError(source) => MediaError::io("write", path)(source),
        other => MediaError::encode(path, other),
    };
    let mut encoder = Encoder::new(output, spec.width, spec.height);
    encoder.set_color(ColorType::Rgb);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
    let mut writer = encoder.write_header().map_err(fail)?;
    writer.write_image_data(rgb).map_err(fail)?;
    writer.finish().map_err(fail)
}

/// A writer for exactly one frame.
pub struct OnePng {
    output: Output,
    spec: VideoSpec,
    written: bool,
}

impl OnePng {
    pub fn create(path: &Path, spec: VideoSpec) -> Result<Self, MediaError> {
        Ok(Self {
            output: Output::create(path)?,
            spec,
            written: false,
        })
    }
}

impl FrameWriter for OnePng {
    fn write(&mut self, rgb: &[u8]) -> Result<(), MediaError> {
        let path = self.output.target().to_path_buf();
        if self.written {
            let pattern = suggested_pattern(&path);
            return Err(MediaError::OnePicture { path, pattern });
        }
        encode_png(&mut self.output, &path, self.spec, rgb)?;
        self.written = true;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), MediaError> {
        if !self.written {
            let path = self.output.target().into();
            return Err(MediaError::NoFrames { path });
        }
        self.output.commit()
    }
}

fn suggested_pattern(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-%05d.png"))
}
