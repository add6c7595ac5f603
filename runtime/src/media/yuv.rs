//! RGB frames to BT.709 limited-range 4:2:0 planes.
//!
//! A chroma sample is the mean of its 2x2 block, as swscale and libyuv make and read it by
//! default. Sides are padded to even numbers by repeating the last column and row.

use openh264::formats::YUVSource;

const KR: f32 = 0.2126;
const KB: f32 = 0.0722;
const KG: f32 = 1.0 - KR - KB;
const LUMA_SCALE: f32 = 219.0 / 255.0;
const CHROMA_SCALE: f32 = 224.0 / 255.0;

/// A frame with even sides, its planes without padding between rows.
pub struct YuvFrame {
    width: usize,
    height: usize,
    luma: Vec<u8>,
    blue: Vec<u8>,
    red: Vec<u8>,
}

impl YuvFrame {
    /// A frame that has room for pictures of this size.
    pub fn new(width: usize, height: usize) -> Self {
        let (width, height) = (width.next_multiple_of(2), height.next_multiple_of(2));
        Self {
            width,
            height,
            luma: vec![0; width * height],
            blue: vec![0; width * height / 4],
            red: vec![0; width * height / 4],
        }
    }

    /// Converts a picture of the size given to [`YuvFrame::new`].
    pub fn fill(&mut self, rgb: &[u8], width: usize, height: usize) {
        let picture = Picture { rgb, width, height };
        for (y, row) in self.luma.chunks_exact_mut(self.width).enumerate() {
            for (x, luma) in row.iter_mut().enumerate() {
                *luma = to_luma(picture.at(x, y));
            }
        }
        let half = self.width / 2;
        let rows = self
            .blue
            .chunks_exact_mut(half)
            .zip(self.red.chunks_exact_mut(half));
        for (y, (blue, red)) in rows.enumerate() {
            for (x, (blue, red)) in blue.iter_mut().zip(red).enumerate() {
                (*blue, *red) = to_chroma(picture.block(x * 2, y * 2));
            }
        }
    }
}

impl YUVSource for YuvFrame {
    fn dimensions(&self) -> (usize, usize) {
        (self.width, self.height)
    }

    fn strides(&self) -> (usize, usize, usize) {
        (self.width, self.width / 2, self.width / 2)
    }

    fn y(&self) -> &[u8] {
        &self.luma
    }

    fn u(&self) -> &[u8] {
        &self.blue
    }

    fn v(&self) -> &[u8] {
        &self.red
    }
}

struct Picture<'a> {
    rgb: &'a [u8],
    width: usize,
    height: usize,
}

impl Picture<'_> {
    fn at(&self, x: usize, y: usize) -> [f32; 3] {
        let (x, y) = (x.min(self.width - 1), y.min(self.height - 1));
        let start = (y * self.width + x) * 3;
        [0, 1, 2].map(|channel| f32::from(self.rgb[start + channel]))
    }

    /// The mean of a 2x2 block.
    fn block(&self, x: usize, y: usize) -> [f32; 3] {
        let corners = [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)];
        let pixels = corners.map(|(x, y)| self.at(x, y));
        [0, 1, 2].map(|channel| pixels.iter().map(|p| p[channel]).sum::<f32>() / 4.0)
    }
}

fn weigh([r, g, b]: [f32; 3]) -> f32 {
    KR * r + KG * g + KB * b
}

fn to_luma(rgb: [f32; 3]) -> u8 {
    (weigh(rgb) * LUMA_SCALE + 16.5) as u8
}

fn to_chroma(rgb: [f32; 3]) -> (u8, u8) {
    let luma = weigh(rgb);
    let blue = (rgb[2] - luma) / (2.0 * (1.0 - KB));
    let red = (rgb[0] - luma) / (2.0 * (1.0 - KR));
    let byte = |value: f32| (value * CHROMA_SCALE + 128.5) as u8;
    (byte(blue), byte(red))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(rgb: [u8; 3]) -> (u8, u8, u8) {
        let mut frame = YuvFrame::new(2, 2);
        frame.fill(&rgb.repeat(4), 2, 2);
        (frame.luma[3], frame.blue[0], frame.red[0])
    }

    #[test]
    fn primaries_have_their_bt709_codes() {
        assert_eq!(flat([0, 0, 0]), (16, 128, 128));
        assert_eq!(flat([255, 255, 255]), (235, 128, 128));
        assert_eq!(flat([255, 0, 0]), (63, 102, 240));
        assert_eq!(flat([0, 255, 0]), (173, 42, 26));
        assert_eq!(flat([0, 0, 255]), (32, 240, 118));
    }

    #[test]
    fn odd_sides_repeat_the_last_column_and_row() {
        let mut frame = YuvFrame::new(1, 1);
        frame.fill(&[255, 255, 255], 1, 1);
        assert_eq!(frame.dimensions(), (2, 2));
        assert_eq!(frame.luma, [235; 4]);
    }
}
