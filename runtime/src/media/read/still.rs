//! Still pictures: PNG, JPEG, WebP and BMP.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use image::error::ImageError;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::limits::Limits;
use super::sniff::Format;
use super::{Frame, ReadError, Source, jpeg};

/// No still picture needs a file of this size.
const LARGEST_FILE: u64 = 1 << 30;

/// One picture; decoded when it is asked for.
pub struct Still {
    picture: Option<(PathBuf, Format)>,
    limits: Limits,
}

impl Still {
    pub fn new(path: &Path, format: Format, limits: Limits) -> Self {
        Self {
            picture: Some((path.into(), format)),
            limits,
        }
    }
}

impl Source for Still {
    fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        match self.picture.take() {
            Some((path, format)) => decode(&path, format, self.limits).map(Some),
            None => Ok(None),
        }
    }

    fn fps(&self) -> Option<f64> {
        None
    }
}

/// The picture, or the first frame of an animation, turned as its EXIF data says.
pub fn decode(path: &Path, format: Format, limits: Limits) -> Result<Frame, ReadError> {
    let (name, kind) = kind_of(format);
    let fail = |error: ImageError| failure(path, name, error);
    let file = open(path, name)?;
    let mut reader = ImageReader::with_format(file, kind);
    reader.limits(for_decoder(limits));
    let mut decoder = reader.into_decoder().map_err(fail)?;
    let (width, height) = decoder.dimensions();
    limits.check_frame(path, width.into(), height.into())?;
    let orientation = decoder.orientation().map_err(fail)?;
    if kind == ImageFormat::Jpeg {
        check_end(path, name)?;
    }
    let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
    picture.apply_orientation(orientation);
    Ok(Frame {
        width: picture.width(),
        height: picture.height(),
        rgb: to_rgb8(picture),
    })
}

/// Checks that a WebP file is as long as its header says; the decoder takes the frames that
/// are missing for the end.
pub fn check_length(path: &Path, name: &'static str) -> Result<(), ReadError> {
    let mut head = [0; 8];
    let mut file = open(path, name)?;
    let read = file.read_exact(&mut head);
    let length = file
        .get_ref()
        .metadata()
        .map_err(ReadError::io(path))?
        .len();
    let [.., a, b, c, d] = head;
    let claimed = u64::from(u32::from_le_bytes([a, b, c, d])) + 8;
    if read.is_ok() && claimed <= length {
        return Ok(());
    }
    Err(cut_off(path, name))
}

fn cut_off(path: &Path, name: &'static str) -> ReadError {
    ReadError::broken(path, name, "the file is cut off")
}

/// What the format is called here and in the library.
pub fn kind_of(format: Format) -> (&'static str, ImageFormat) {
    match format {
        Format::Jpeg => ("JPEG", ImageFormat::Jpeg),
        Format::WebP => ("WebP", ImageFormat::WebP),
        Format::Bmp => ("BMP", ImageFormat::Bmp),
        Format::Gif => ("GIF", ImageFormat::Gif),
        Format::Png | Format::Mp4 | Format::Unknown => ("PNG", ImageFormat::Png),
    }
}

pub fn open(path: &Path, name: &'static str) -> Result<BufReader<File>, ReadError> {
    let file = File::open(path).map_err(ReadError::io(path))?;
    let size = file.metadata().map_err(ReadError::io(path))?.len();
    if size > LARGEST_FILE {
        let reason = format!("its {} MiB are too many for a picture", size >> 20);
        return Err(ReadError::broken(path, name, reason));
    }
    Ok(BufReader::new(file))
}

/// The library's limits; sides are checked here, with a better message.
pub fn for_decoder(limits: Limits) -> image::Limits {
    let mut theirs = image::Limits::no_limits();
    theirs.max_alloc = Some(limits.bytes);
    theirs
}

pub fn failure(path: &Path, name: &'static str, error: ImageError) -> ReadError {
    let reason = match error {
        ImageError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "the file is cut off".to_owned()
        }
        ImageError::Decoding(inner) => inner.to_string(),
        ImageError::Limits(_) => "it needs more memory than allowed".to_owned(),
        other => other.to_string(),
    };
    ReadError::broken(path, name, reason)
}

/// The decoder paints what is missing of a JPEG grey; here it is an error.
fn check_end(path: &Path, name: &'static str) -> Result<(), ReadError> {
    let mut data = Vec::new();
    open(path, name)?
        .read_to_end(&mut data)
        .map_err(ReadError::io(path))?;
    if jpeg::is_complete(&data) {
        return Ok(());
    }
    Err(cut_off(path, name))
}

/// Alpha is dropped and of 16 bits the high ones stay, as Pillow's `convert("RGB")` does.
fn to_rgb8(picture: DynamicImage) -> Vec<u8> {
    match picture {
        DynamicImage::ImageRgb8(picture) => picture.into_raw(),
        DynamicImage::ImageRgba8(picture) => drop_alpha(&picture),
        DynamicImage::ImageLuma8(picture) => grey(&picture, 1),
        DynamicImage::ImageLumaA8(picture) => grey(&picture, 2),
        DynamicImage::ImageRgb16(picture) => high_bytes(&picture),
        DynamicImage::ImageRgba16(picture) => drop_alpha(&high_bytes(&picture)),
        DynamicImage::ImageLuma16(picture) => grey(&high_bytes(&picture), 1),
        DynamicImage::ImageLumaA16(picture) => grey(&high_bytes(&picture), 2),
        other => other.into_rgb8().into_raw(),
    }
}

pub fn drop_alpha(rgba: &[u8]) -> Vec<u8> {
    let pixels = rgba.chunks_exact(4);
    pixels
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect()
}

fn grey(samples: &[u8], channels: usize) -> Vec<u8> {
    let pixels = samples.chunks_exact(channels);
    pixels.flat_map(|pixel| [pixel[0]; 3]).collect()
}

fn high_bytes(samples: &[u16]) -> Vec<u8> {
    samples.iter().map(|sample| (sample >> 8) as u8).collect()
}
