//! The two ways in which the reference implementation changes the size of pictures.
//!
//! [`bicubic`] gives, bit for bit, what Pillow's `Image.resize` gives for an RGB image;
//! [`bilinear`] what `torch.nn.functional.interpolate(mode="bilinear", align_corners=False)` gives.

/// Rows and columns of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl Size {
    /// Pixels of a picture.
    pub fn area(self) -> usize {
        self.height * self.width
    }
}

/// Planes of `from` one behind the other, each stretched to `to` without smoothing.
///
/// A video `(channels, frames, height, width)` is `channels * frames` planes. An incomplete
/// last plane is left out; a size without pixels gives no values.
pub fn bilinear(planes: &[f32], from: Size, to: Size) -> Vec<f32> {
    if from.area() == 0 || to.area() == 0 {
        return Vec::new();
    }
    if from == to {
        return planes[..planes.len() - planes.len() % from.area()].to_vec();
    }
    let rows = pairs(from.height, to.height);
    let columns = pairs(from.width, to.width);
    let mut result = Vec::with_capacity(planes.len() / from.area() * to.area());
    for plane in planes.chunks_exact(from.area()) {
        for row in &rows {
            let above = &plane[row.first * from.width..][..from.width];
            let below = &plane[row.second * from.width..][..from.width];
            let values = columns
                .iter()
                .map(|column| row.mix(column.of(above), column.of(below)));
            result.extend(values);
        }
    }
    result
}

/// Two neighbours and how much of the second to take.
struct Pair {
    first: usize,
    second: usize,
    share: f32,
}

impl Pair {
    fn of(&self, line: &[f32]) -> f32 {
        self.mix(line[self.first], line[self.second])
    }

    fn mix(&self, first: f32, second: f32) -> f32 {
        (1.0 - self.share) * first + self.share * second
    }
}

/// The neighbours of each position of a line of `to` in a line of `from`, in single precision
/// as the original.
fn pairs(from: usize, to: usize) -> Vec<Pair> {
    let scale = from as f32 / to as f32;
    let pair = |index: usize| {
        let place = (scale * (index as f32 + 0.5) - 0.5).max(0.0);
        let first = (place as usize).min(from - 1);
        Pair {
            first,
            second: (first + 1).min(from - 1),
            share: (place - first as f32).clamp(0.0, 1.0),
        }
    };
    (0..to).map(pair).collect()
}

/// RGB bytes of `from`, resized to `to` with a bicubic filter that widens when it shrinks.
///
/// `rgb` has at least `from.area() * 3` bytes; a size without pixels gives no bytes.
pub fn bicubic(rgb: &[u8], from: Size, to: Size) -> Vec<u8> {
    if from.area() == 0 || to.area() == 0 {
        return Vec::new();
    }
    let mut picture = rgb[..from.area() * 3].to_vec();
    if from.width != to.width {
        picture = across(&picture, from, to.width);
    }
    if from.height != to.height {
        picture = down(&picture, to.width, &Taps::all(from.height, to.height));
    }
    picture
}

fn across(rgb: &[u8], from: Size, width: usize) -> Vec<u8> {
    let taps = Taps::all(from.width, width);
    let mut result = Vec::with_capacity(from.height * width * 3);
    for row in rgb.chunks_exact(from.width * 3) {
        for taps in &taps {
            let mut sums = [HALF; 3];
            let pixels = row[taps.start * 3..].chunks_exact(3);
            for (weight, pixel) in taps.weights.iter().zip(pixels) {
                for (sum, value) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(*value);
                }
            }
            result.extend(sums.map(to_byte));
        }
    }
    result
}

fn down(rgb: &[u8], width: usize, taps: &[Taps]) -> Vec<u8> {
    let line = width * 3;
    let mut result = Vec::with_capacity(taps.len() * line);
    let mut sums = vec![HALF; line];
    for taps in taps {
        sums.fill(HALF);
        let rows = rgb[taps.start * line..].chunks_exact(line);
        for (weight, row) in taps.weights.iter().zip(rows) {
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += weight * i32::from(*value);
            }
        }
        result.extend(sums.iter().copied().map(to_byte));
    }
    result
}

/// Bits behind the point of a weight.
const PRECISION: u32 = 22;
const HALF: i32 = 1 << (PRECISION - 1);

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

/// The weights of the source pixels from `start` on that make one pixel.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

impl Taps {
    /// The taps of every pixel of a line of `to` made from a line of `from`.
    fn all(from: usize, to: usize) -> Vec<Self> {
        let scale = from as f64 / to as f64;
        let stretch = scale.max(1.0);
        (0..to)
            .map(|index| Self::around((index as f64 + 0.5) * scale, stretch, from))
            .collect()
    }

    fn around(centre: f64, stretch: f64, from: usize) -> Self {
        let reach = REACH * stretch;
        let start = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let weights: Vec<f64> = (start..end)
            .map(|index| cubic((index as f64 - centre + 0.5) / stretch))
            .collect();
        let total: f64 = weights.iter().sum();
        let fixed = |weight: &f64| (weight / total * f64::from(1 << PRECISION)).round() as i32;
        Self {
            start,
            weights: weights.iter().map(fixed).collect(),
        }
    }
}

/// How far the filter reaches at the original size, in pixels.
const REACH: f64 = 2.0;

/// Keys' cubic with a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::test_data::{distance, golden_bytes, golden_floats};

    fn size(height: usize, width: usize) -> Size {
        Size { height, width }
    }

    #[test]
    fn bicubic_is_pillows_bit_for_bit() {
        for index in 0..5 {
            let (from, source) = golden_bytes(&format!("bicubic.{index}.from"));
            let (to, expected) = golden_bytes(&format!("bicubic.{index}.to"));
            let got = bicubic(&source, size(from[0], from[1]), size(to[0], to[1]));
            assert_eq!(got, expected, "{from:?} to {to:?}");
        }
    }

    #[test]
    fn bilinear_is_torchs() {
        for index in 0..5 {
            let (from, source) = golden_floats(&format!("bilinear.{index}.from"));
            let (to, expected) = golden_floats(&format!("bilinear.{index}.to"));
            let got = bilinear(&source, size(from[2], from[3]), size(to[2], to[3]));
            let distance = distance(&got, &expected);
            assert!(distance <= 1e-6, "{from:?} to {to:?}: {distance}");
        }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        for to in [size(1, 1), size(3, 50), size(40, 2)] {
            assert_eq!(
                bicubic(&[9; 7 * 5 * 3], size(7, 5), to),
                vec![9; to.area() * 3]
            );
            assert_eq!(bilinear(&[0.5; 35], size(7, 5), to), vec![0.5; to.area()]);
        }
    }

    #[test]
    fn nothing_makes_nothing() {
        assert!(bicubic(&[], size(0, 4), size(2, 2)).is_empty());
        assert!(bilinear(&[1.0; 4], size(2, 2), size(0, 2)).is_empty());
    }
}
