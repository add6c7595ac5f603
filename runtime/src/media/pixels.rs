//! Model output to bytes.

/// A rectangle of a frame, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crop {
    /// The first row.
    pub top: usize,
    /// The first column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// One frame of a planar `(3, frames, height, width)` video in [0, 1] as RGB bytes.
///
/// Values are clamped, scaled by 255 and truncated, as the reference implementation does; NaN
/// becomes 0. The result has `crop.height * crop.width * 3` bytes.
///
/// The frame and the crop must lie inside the video; indexing fails otherwise.
pub fn to_rgb8(
    video01: &[f32],
    frames: usize,
    height: usize,
    width: usize,
    frame: usize,
    crop: Crop,
) -> Vec<u8> {
    let mut rgb = vec![0; crop.height * crop.width * 3];
    for channel in 0..3 {
        let plane = &video01[(channel * frames + frame) * height * width..][..height * width];
        for y in 0..crop.height {
            let row = &plane[(crop.top + y) * width..][..width][crop.left..][..crop.width];
            let target = rgb[y * crop.width * 3..]
                .iter_mut()
                .skip(channel)
                .step_by(3);
            for (byte, value) in target.zip(row) {
                *byte = (value.clamp(0.0, 1.0) * 255.0) as u8;
            }
        }
    }
    rgb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_clamped_and_truncated() {
        let video = [-0.5, 0.5, 1.5, f32::NAN, 0.999, 1.0];
        let crop = |left| Crop {
            top: 0,
            left,
            height: 1,
            width: 1,
        };
        assert_eq!(to_rgb8(&video, 1, 1, 2, 0, crop(0)), [0, 255, 254]);
        assert_eq!(to_rgb8(&video, 1, 1, 2, 0, crop(1)), [127, 0, 255]);
    }

    #[test]
    fn frame_and_crop_select_pixels() {
        let (frames, height, width) = (2, 3, 4);
        let video: Vec<f32> = (0..3 * frames * height * width)
            .map(|i| (i as f32 + 0.5) / 255.0)
            .collect();
        let crop = Crop {
            top: 1,
            left: 2,
            height: 2,
            width: 2,
        };
        let rgb = to_rgb8(&video, frames, height, width, 1, crop);
        assert_eq!(rgb, [18, 42, 66, 19, 43, 67, 22, 46, 70, 23, 47, 71]);
    }
}
