//! The shape in a frame: what is not background.

use super::Clip;
use super::clip::{distance2, median, pixels};

/// Distance in RGB from which a pixel is not background.
const DIFFERS: f32 = 45.0;
/// Share of a frame that a shape fills at least.
const SMALLEST: f32 = 0.004;
/// Rows and columns of a shape's box have this share of the fullest one's pixels.
const FULL: f32 = 0.07;

/// The background's colour: the median of the border over some frames.
pub(super) fn background(clip: &Clip, frames: &[Vec<u8>]) -> [f32; 3] {
    let (height, width) = (clip.height, clip.width);
    let border = |index: usize| {
        let (y, x) = (index / width, index % width);
        y == 0 || x == 0 || y + 1 == height || x + 1 == width
    };
    let of_frame = |frame| {
        pixels(frame)
            .enumerate()
            .filter(|(index, _)| border(*index))
    };
    let colours: Vec<_> = frames.iter().flat_map(|f| of_frame(f)).collect();
    let colours: Vec<[f32; 3]> = colours.into_iter().map(|(_, colour)| colour).collect();
    median(&colours).unwrap_or_default()
}

/// The shape of a frame.
pub(super) struct Mask {
    /// Its pixels' colours.
    pub colours: Vec<[f32; 3]>,
    /// The middle, x and y, in pixels.
    pub middle: [f32; 2],
    /// Its pixels in each row and in each column.
    rows: Vec<u32>,
    columns: Vec<u32>,
}

impl Mask {
    /// `None` where there is too little of a shape.
    pub fn of(clip: &Clip, frame: &[u8], background: [f32; 3]) -> Option<Self> {
        let mut mask = Self {
            colours: Vec::new(),
            middle: [0.0; 2],
            rows: vec![0; clip.height],
            columns: vec![0; clip.width],
        };
        for (index, colour) in pixels(frame).enumerate() {
            if distance2(colour, background) > DIFFERS * DIFFERS {
                mask.colours.push(colour);
                mask.rows[index / clip.width] += 1;
                mask.columns[index % clip.width] += 1;
            }
        }
        mask.middle = [mean_index(&mask.columns), mean_index(&mask.rows)];
        let whole = (clip.height * clip.width) as f32;
        (mask.area() >= SMALLEST * whole).then_some(mask)
    }

    /// Pixels.
    pub fn area(&self) -> f32 {
        self.colours.len() as f32
    }

    /// The share of the box around it that it fills: a square all, a circle 0.79, a triangle half.
    pub fn fill(&self) -> f32 {
        self.area() / (extent(&self.rows) * extent(&self.columns))
    }
}

fn mean_index(counts: &[u32]) -> f32 {
    let sum: f32 = counts
        .iter()
        .enumerate()
        .map(|(i, n)| i as f32 * *n as f32)
        .sum();
    sum / counts.iter().sum::<u32>().max(1) as f32
}

/// How many rows or columns are not nearly empty.
fn extent(counts: &[u32]) -> f32 {
    let most = counts.iter().max().copied().unwrap_or(0) as f32;
    counts.iter().filter(|n| **n as f32 > FULL * most).count() as f32
}
