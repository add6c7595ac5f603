//! 4:2:0 planes to RGB, as swscale does by default: a chroma sample is that of its 2x2 block.

use openh264::formats::YUVSource;

/// How the planes code colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// `matrix_coefficients` of ISO/IEC 23091-2.
    pub matrix: u8,
    pub full_range: bool,
}

/// The matrix number that says nothing.
pub const UNSPECIFIED: u8 = 2;

impl Coding {
    /// What this program writes.
    pub const BT709_LIMITED: Self = Self {
        matrix: 1,
        full_range: false,
    };

    /// The shares of red and blue in luma; unknown matrices count as BT.601.
    fn weights(self) -> (f32, f32) {
        match self.matrix {
            1 => (0.2126, 0.0722),
            4 => (0.30, 0.11),
            7 => (0.212, 0.087),
            9 | 10 => (0.2627, 0.0593),
            _ => (0.299, 0.114),
        }
    }
}

/// The contributions of each code to each colour, with [`PRECISION`] bits behind the point.
pub struct Converter {
    luma: [i32; 256],
    red_of_v: [i32; 256],
    green_of_u: [i32; 256],
    green_of_v: [i32; 256],
    blue_of_u: [i32; 256],
}

const PRECISION: u32 = 16;

impl Converter {
    pub fn new(coding: Coding) -> Self {
        let (kr, kb) = coding.weights();
        let kg = 1.0 - kr - kb;
        let (black, luma, chroma) = if coding.full_range {
            (0.0, 1.0, 1.0)
        } else {
            (16.0, 255.0 / 219.0, 255.0 / 224.0)
        };
        let table = |middle: f32, scale: f32| {
            let fixed = scale * (1 << PRECISION) as f32;
            std::array::from_fn(|code| ((code as f32 - middle) * fixed).round() as i32)
        };
        Self {
            luma: table(black, luma),
            red_of_v: table(128.0, chroma * 2.0 * (1.0 - kr)),
            green_of_u: table(128.0, -chroma * 2.0 * (1.0 - kb) * kb / kg),
            green_of_v: table(128.0, -chroma * 2.0 * (1.0 - kr) * kr / kg),
            blue_of_u: table(128.0, chroma * 2.0 * (1.0 - kb)),
        }
    }

    /// The picture's rows of RGB triples; what a plane lacks stays black.
    pub fn to_rgb(&self, planes: &impl YUVSource) -> Vec<u8> {
        let (width, height) = planes.dimensions();
        let (y_stride, u_stride, v_stride) = planes.strides();
        let mut rgb = vec![0; width * height * 3];
        for (row, target) in rgb.chunks_exact_mut((width * 3).max(1)).enumerate() {
            let y = planes.y().get(row * y_stride..).unwrap_or_default();
            let u = planes.u().get(row / 2 * u_stride..).unwrap_or_default();
            let v = planes.v().get(row / 2 * v_stride..).unwrap_or_default();
            let chroma = u.iter().zip(v);
            let pairs = target.chunks_mut(6).zip(y.chunks(2)).zip(chroma);
            for ((pixels, lumas), (u, v)) in pairs {
                self.pair(pixels, lumas, usize::from(*u), usize::from(*v));
            }
        }
        rgb
    }

    /// Two neighbours of one chroma sample.
    fn pair(&self, pixels: &mut [u8], lumas: &[u8], u: usize, v: usize) {
        let offsets = [
            self.red_of_v[v],
            self.green_of_u[u] + self.green_of_v[v],
            self.blue_of_u[u],
        ];
        for (pixel, luma) in pixels.chunks_exact_mut(3).zip(lumas) {
            let luma = self.luma[usize::from(*luma)] + (1 << (PRECISION - 1));
            for (value, offset) in pixel.iter_mut().zip(offsets) {
                *value = ((luma + offset) >> PRECISION).clamp(0, 255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use openh264::formats::YUVSlices;

    fn pixel(matrix: u8, full_range: bool, [y, u, v]: [u8; 3]) -> Vec<u8> {
        let planes = (&[y; 4][..], &[u][..], &[v][..]);
        let picture = YUVSlices::new(planes, (2, 2), (2, 1, 1));
        let coding = Coding { matrix, full_range };
        Converter::new(coding).to_rgb(&picture)[..3].to_vec()
    }

    #[test]
    fn codes_have_their_colours() {
        assert_eq!(pixel(1, false, [16, 128, 128]), [0, 0, 0]);
        assert_eq!(pixel(1, false, [235, 128, 128]), [255, 255, 255]);
        assert_eq!(pixel(1, false, [63, 102, 240]), [255, 1, 0]);
        assert_eq!(pixel(6, false, [81, 90, 240]), [254, 0, 0]);
        assert_eq!(pixel(UNSPECIFIED, true, [76, 85, 255]), [254, 0, 0]);
        assert_eq!(pixel(1, true, [7, 128, 128]), [7, 7, 7]);
    }
}
