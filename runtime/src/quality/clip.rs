//! Pixels to be measured.

use crate::run::Generated;

/// A video as RGB bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Clip {
    /// Pixel rows.
    pub height: usize,
    /// Pixel columns.
    pub width: usize,
    /// Every frame, `height * width * 3` bytes each.
    pub frames: Vec<Vec<u8>>,
}

impl Clip {
    /// The frames of a finished video.
    pub fn of(video: &Generated) -> Self {
        Self {
            height: video.height,
            width: video.width,
            frames: (0..video.frames).map(|frame| video.rgb8(frame)).collect(),
        }
    }

    /// One frame as a clip of its own.
    pub fn still(&self, frame: usize) -> Self {
        Self {
            frames: vec![self.frames[frame].clone()],
            ..*self
        }
    }
}

/// The pixels of a frame.
pub(super) fn pixels(frame: &[u8]) -> impl Iterator<Item = [f32; 3]> {
    frame
        .chunks_exact(3)
        .map(|p| [f32::from(p[0]), f32::from(p[1]), f32::from(p[2])])
}

/// The squared distance of two colours.
pub(super) fn distance2(a: [f32; 3], b: [f32; 3]) -> f32 {
    (0..3).map(|c| (a[c] - b[c]).powi(2)).sum()
}

/// The median of each channel; `None` of nothing.
pub(super) fn median(colours: &[[f32; 3]]) -> Option<[f32; 3]> {
    let middle = colours.len() / 2;
    let channel = |c: usize| {
        let mut values: Vec<f32> = colours.iter().map(|colour| colour[c]).collect();
        *values.select_nth_unstable_by(middle, f32::total_cmp).1
    };
    (!colours.is_empty()).then(|| [channel(0), channel(1), channel(2)])
}
