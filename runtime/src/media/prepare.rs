//! What the reference implementation's command line does to media before a model sees them.
//!
//! Per frame: [centre crop](crop_of) to the aspect ratio of the output, for video to video also
//! a resize, a slight blur, a trip through H.264, and padding with mid grey. The reference
//! compresses with libx264 at crf 29; this trip is [optional](Preparation::quantiser) here and
//! made with openh264, so it is alike but not bit-equal. Everything else is.

#[cfg(test)]
mod tests;

use thiserror::Error;

use super::h264::H264;
use super::pixels::Crop;
use super::rate::Rate;
use super::read::{Coding, Converter};
use super::resize::{Size, bicubic};
use super::yuv::YuvFrame;

/// The quantiser with which the trip through H.264 loses as much as libx264 at crf 29: from 25 to
/// 27 on the pictures tried.
pub const REFERENCE_QUANTISER: u8 = 26;

/// What to do to the frames of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preparation {
    /// The output's size without padding, which gives the aspect ratio.
    pub size: Size,
    /// Whether frames are resized to `size` after the crop, as media for video to video are;
    /// conditioning media stay at their own resolution.
    pub resize: bool,
    /// Whether frames are blurred a little, as the reference does but for control clips.
    pub blur: bool,
    /// The coarseness of a trip through H.264, 0 to 51; the reference always makes one.
    pub quantiser: Option<u8>,
    /// Mid grey around the frame, in pixels of the frame as it then is.
    pub padding: Padding,
}

/// Columns and rows around a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Padding {
    /// Columns before the first.
    pub left: usize,
    /// Columns after the last.
    pub right: usize,
    /// Rows before the first.
    pub top: usize,
    /// Rows after the last.
    pub bottom: usize,
}

impl Padding {
    /// What makes `to` of `from`, the odd pixel at the right and at the bottom; nothing along a
    /// side that is long enough.
    pub fn between(from: Size, to: Size) -> Self {
        let width = to.width.saturating_sub(from.width);
        let height = to.height.saturating_sub(from.height);
        Self {
            left: width / 2,
            right: width - width / 2,
            top: height / 2,
            bottom: height - height / 2,
        }
    }
}

/// Planes of values from -1 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    /// `(3, frames, height, width)`.
    pub values: Vec<f32>,
    /// Frames.
    pub frames: usize,
    /// Rows and columns.
    pub size: Size,
}

/// Why frames cannot be prepared.
#[derive(Debug, Error)]
pub enum PrepareError {
    /// There is no frame, or one has no pixels.
    #[error("there are no pixels to prepare")]
    NoPixels,
    /// A frame has the wrong number of bytes.
    #[error("a frame has {got} bytes, but {}x{} RGB needs {}", size.width, size.height, size.area() * 3)]
    FrameBytes {
        /// Bytes given.
        got: usize,
        /// The size it should have.
        size: Size,
    },
    /// The trip through H.264 failed.
    #[error(
        "a frame of {}x{} cannot be compressed: {reason}; sides of 16 to 3840 columns and 16 to \
         2160 rows can, or leave the compression out", size.width, size.height
    )]
    Compression {
        /// The frame after crop and resize.
        size: Size,
        /// The codec's words.
        reason: String,
    },
}

/// Prepares frames of `size.width * size.height * 3` RGB bytes.
///
/// As the reference's compression does, with it or without, an odd last row and column are cut
/// off before the padding.
pub fn prepare<F: AsRef<[u8]>>(
    frames: &[F],
    size: Size,
    preparation: &Preparation,
) -> Result<Planes, PrepareError> {
    let prepared = frames
        .iter()
        .map(|frame| prepare_frame(frame.as_ref(), size, preparation))
        .collect::<Result<Vec<_>, _>>()?;
    let Some(first) = prepared.first() else {
        return Err(PrepareError::NoPixels);
    };
    let (size, area) = (first.size, first.size.area());
    let mut values = Vec::with_capacity(prepared.len() * area * 3);
    for channel in 0..3 {
        for frame in &prepared {
            values.extend(&frame.values[channel * area..][..area]);
        }
    }
    Ok(Planes {
        values,
        frames: prepared.len(),
        size,
    })
}

/// Prepares one frame; the result has `frames` 1.
pub fn prepare_frame(
    rgb: &[u8],
    size: Size,
    preparation: &Preparation,
) -> Result<Planes, PrepareError> {
    if rgb.len() != size.area() * 3 {
        let got = rgb.len();
        return Err(PrepareError::FrameBytes { got, size });
    }
    if size.area() == 0 || preparation.size.area() == 0 {
        return Err(PrepareError::NoPixels);
    }
    let crop = crop_of(size, preparation.size);
    let mut picture = cut(rgb, size.width, crop);
    let mut size = Size {
        height: crop.height,
        width: crop.width,
    };
    if preparation.resize {
        picture = bicubic(&picture, size, preparation.size);
        size = preparation.size;
    }
    let (planes, size) = even(filtered(&picture, size, kernel(preparation.blur)), size);
    let planes = match preparation.quantiser {
        Some(quantiser) => compressed(&planes, size, quantiser)?,
        None => planes,
    };
    let values = planes.iter().map(|value| value * 255.0 / 127.5 - 1.0);
    let (values, size) = padded(&values.collect::<Vec<_>>(), size, preparation.padding);
    Ok(Planes {
        values,
        frames: 1,
        size,
    })
}

/// The middle of a picture that has the aspect ratio of `target`, rounded as the reference does.
pub fn crop_of(size: Size, target: Size) -> Crop {
    let ratio = |size: Size| size.width as f64 / size.height as f64;
    let (wanted, given) = (ratio(target), ratio(size));
    let (mut width, mut height) = (size.width, size.height);
    if given > wanted {
        width = ((size.height as f64 * wanted) as usize).clamp(1, size.width);
    } else {
        height = ((size.width as f64 / wanted) as usize).clamp(1, size.height);
    }
    Crop {
        top: (size.height - height) / 2,
        left: (size.width - width) / 2,
        height,
        width,
    }
}

fn cut(rgb: &[u8], width: usize, crop: Crop) -> Vec<u8> {
    rgb.chunks_exact(width * 3)
        .skip(crop.top)
        .take(crop.height)
        .flat_map(|row| &row[crop.left * 3..][..crop.width * 3])
        .copied()
        .collect()
}

/// A Gaussian of sigma 1, or nothing.
fn kernel(blur: bool) -> [f32; 3] {
    let side = if blur { (-0.5f32).exp() } else { 0.0 };
    let total = 2.0 * side + 1.0;
    [side / total, 1.0 / total, side / total]
}

/// Bytes to planes from 0 to 1 under a separable kernel; the border is reflected.
fn filtered(rgb: &[u8], size: Size, kernel: [f32; 3]) -> Vec<f32> {
    let rows: Vec<_> = (0..size.height).map(|y| around(y, size.height)).collect();
    let columns: Vec<_> = (0..size.width).map(|x| around(x, size.width)).collect();
    let mut planes = Vec::with_capacity(size.area() * 3);
    for channel in 0..3 {
        let value = |y: usize, x: usize| f32::from(rgb[(y * size.width + x) * 3 + channel]) / 255.0;
        for rows in &rows {
            for columns in &columns {
                let mut sum = 0.0;
                for (y, down) in rows.iter().zip(kernel) {
                    for (x, right) in columns.iter().zip(kernel) {
                        sum += value(*y, *x) * (down * right);
                    }
                }
                planes.push(sum);
            }
        }
    }
    planes
}

/// A position and its neighbours; a line of one has only itself.
fn around(index: usize, length: usize) -> [usize; 3] {
    let before = if index == 0 { 1 } else { index - 1 };
    let after = if index + 1 == length {
        length.saturating_sub(2)
    } else {
        index + 1
    };
    [before.min(length - 1), index, after]
}

/// Cuts an odd last row and column off, but never the only one.
fn even(planes: Vec<f32>, size: Size) -> (Vec<f32>, Size) {
    let cut = |length: usize| (length / 2 * 2).max(1);
    let kept = Size {
        height: cut(size.height),
        width: cut(size.width),
    };
    if kept == size {
        return (planes, size);
    }
    let rows = planes
        .chunks_exact(size.area())
        .flat_map(|plane| plane.chunks_exact(size.width).take(kept.height));
    let values = rows.flat_map(|row| &row[..kept.width]).copied();
    (values.collect(), kept)
}

/// Encodes and decodes a picture, whose values are truncated to bytes as in the reference.
fn compressed(planes: &[f32], size: Size, quantiser: u8) -> Result<Vec<f32>, PrepareError> {
    let area = size.area();
    let byte = |value: f32| (value * 255.0) as u8;
    let rgb: Vec<u8> = (0..area)
        .flat_map(|pixel| [0, 1, 2].map(|channel| byte(planes[channel * area + pixel])))
        .collect();
    let decoded = round_trip(&rgb, size, quantiser.min(51))
        .map_err(|reason| PrepareError::Compression { size, reason })?;
    let plane = |channel| decoded.iter().skip(channel).step_by(3);
    let values = (0..3).flat_map(plane);
    Ok(values.map(|value| f32::from(*value) / 255.0).collect())
}

fn round_trip(rgb: &[u8], size: Size, quantiser: u8) -> Result<Vec<u8>, String> {
    let said = |error: openh264::Error| error.to_string();
    let rate = Rate {
        timescale: 1,
        delta: 1,
    };
    let mut frame = YuvFrame::new(size.width, size.height);
    frame.fill(rgb, size.width, size.height);
    let side = |length: usize| u32::try_from(length).map_err(|error| error.to_string());
    let (width, height) = (side(size.width)?, side(size.height)?);
    let mut encoder = H264::new(width, height, rate, quantiser).map_err(said)?;
    let stream = encoder.encode_alone(&frame).map_err(said)?;
    let mut decoder = openh264::decoder::Decoder::new().map_err(said)?;
    let picture = decoder.decode(&stream).map_err(said)?;
    let picture = picture.ok_or("the decoder gives no picture back")?;
    let decoded = Converter::new(Coding::BT709_LIMITED).to_rgb(&picture);
    if decoded.len() != rgb.len() {
        return Err("the codec changes the size".into());
    }
    Ok(decoded)
}

/// Zeros, which are mid grey, around each plane.
fn padded(planes: &[f32], size: Size, padding: Padding) -> (Vec<f32>, Size) {
    let whole = Size {
        height: size.height + padding.top + padding.bottom,
        width: size.width + padding.left + padding.right,
    };
    let mut result = vec![0.0; planes.len() / size.area() * whole.area()];
    let targets = result.chunks_exact_mut(whole.area());
    for (target, plane) in targets.zip(planes.chunks_exact(size.area())) {
        let rows = target.chunks_exact_mut(whole.width).skip(padding.top);
        for (target, row) in rows.zip(plane.chunks_exact(size.width)) {
            target[padding.left..][..size.width].copy_from_slice(row);
        }
    }
    (result, whole)
}
