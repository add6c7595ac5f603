//! Sizes of a video in pixels and latents, and the positions of its tokens.
//!
//! The rules are those of the reference program: sides are padded to whole latents on both sides, frames to whole
//! latent frames at the end, and the padding is cut off again after decoding.

use ltxc_bundle::ModelFacts;

use super::RunError;
use crate::media::resize::{Size, bilinear};

/// Largest side and number of frames; what a component takes is usually less.
pub const MAX_SIZE: usize = 1 << 16;

/// Frames, rows and columns, of pixels or of latents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoSize {
    /// Frames.
    pub frames: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl VideoSize {
    /// The number of places in it.
    pub fn count(&self) -> usize {
        self.frames
            .saturating_mul(self.height)
            .saturating_mul(self.width)
    }

    /// Rows and columns of a frame.
    pub fn side(&self) -> Size {
        Size {
            height: self.height,
            width: self.width,
        }
    }
}

/// How many pixels a latent stands for, and when its first frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    frames: usize,
    pixels: usize,
    causal: bool,
}

impl Compression {
    /// That of a model.
    pub fn new(model: &ModelFacts) -> Result<Self, RunError> {
        let (frames, pixels) = (model.frames_per_latent, model.pixels_per_latent);
        for found in [frames, pixels, model.latent_channels] {
            if !(1..=MAX_SIZE).contains(&found) {
                let why = format!("a latent of the model has {found} frames, pixels or channels");
                return Err(RunError::Manifest(why));
            }
        }
        Ok(Self {
            frames,
            pixels,
            causal: model.causal_positions,
        })
    }

    /// Frames of a latent frame after the first.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Rows and columns of a latent.
    pub fn pixels(&self) -> usize {
        self.pixels
    }

    /// The latents that cover a video.
    pub fn latents_of(&self, video: VideoSize) -> VideoSize {
        VideoSize {
            frames: video.frames.saturating_sub(1).div_ceil(self.frames) + 1,
            height: video.height.div_ceil(self.pixels),
            width: video.width.div_ceil(self.pixels),
        }
    }

    /// The video that latents stand for.
    pub fn video_of(&self, latents: VideoSize) -> VideoSize {
        VideoSize {
            frames: (latents.frames - 1) * self.frames + 1,
            height: latents.height * self.pixels,
            width: latents.width * self.pixels,
        }
    }

    /// The longest clip of whole latent frames in `frames` frames.
    pub fn whole_frames(&self, frames: usize) -> usize {
        match frames {
            0 => 0,
            frames => (frames - 1) / self.frames * self.frames + 1,
        }
    }

    /// The first pixel frame of a latent frame. With causal positions the first latent frame stands for one pixel frame
    /// only, so all later ones begin earlier.
    pub fn first_frame(&self, latent: usize) -> usize {
        let late = if self.causal { self.frames - 1 } else { 0 };
        (latent * self.frames).saturating_sub(late)
    }

    /// First pixel frame, pixel row and pixel column of every latent, as (3, tokens) in token order.
    pub fn pixel_coords(&self, latents: VideoSize) -> Vec<i64> {
        let axes: [&dyn Fn(Token) -> usize; 3] = [
            &|token| self.first_frame(token.frame),
            &|token| token.row * self.pixels,
            &|token| token.column * self.pixels,
        ];
        axes.into_iter()
            .flat_map(|axis| tokens(latents).map(axis))
            .map(|position| position as i64)
            .collect()
    }
}

/// What is asked for, what is computed for it, and where the one lies in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The video asked for.
    pub asked: VideoSize,
    /// `asked` filled up to whole latents.
    pub padded: VideoSize,
    /// Its latents.
    pub latents: VideoSize,
    /// Padding above the first row asked for.
    pub top: usize,
    /// Padding left of the first column asked for.
    pub left: usize,
    /// What a latent stands for.
    pub compression: Compression,
}

impl Geometry {
    /// Fills `asked` up to whole latents of the model.
    pub fn new(model: &ModelFacts, asked: VideoSize) -> Result<Self, RunError> {
        let compression = Compression::new(model)?;
        check_size("frames", asked.frames)?;
        check_size("height", asked.height)?;
        check_size("width", asked.width)?;
        let latents = compression.latents_of(asked);
        let padded = compression.video_of(latents);
        Ok(Self {
            asked,
            padded,
            latents,
            top: (padded.height - asked.height) / 2,
            left: (padded.width - asked.width) / 2,
            compression,
        })
    }

    /// The asked part of a decoded (3, frames, height, width) video in -1..1, moved to 0..1.
    ///
    /// A video of another height or width than the padded one is resized to it first, bilinearly, as the reference
    /// does after its second pass; frames beyond the first `most` are left out.
    pub fn crop(&self, video: &[f32], decoded: VideoSize, most: usize) -> Vec<f32> {
        let padded = self.padded;
        let (from, to) = (decoded.side(), padded.side());
        let mut cropped = Vec::with_capacity(3 * most * self.asked.height * self.asked.width);
        let planes = video.chunks_exact(from.area()).enumerate();
        for (_, plane) in planes.filter(|(index, _)| index % decoded.frames < most) {
            let unit = plane.iter().map(|x| (x / 2.0 + 0.5).clamp(0.0, 1.0));
            let plane = bilinear(&unit.collect::<Vec<f32>>(), from, to);
            let rows = plane.chunks_exact(padded.width).skip(self.top);
            for row in rows.take(self.asked.height) {
                cropped.extend_from_slice(&row[self.left..self.left + self.asked.width]);
            }
        }
        cropped
    }
}

#[derive(Clone, Copy)]
struct Token {
    frame: usize,
    row: usize,
    column: usize,
}

fn tokens(latents: VideoSize) -> impl Iterator<Item = Token> {
    let (rows, columns) = (latents.height, latents.width);
    (0..latents.count()).map(move |token| Token {
        frame: token / (rows * columns),
        row: token / columns % rows,
        column: token % columns,
    })
}

fn check_size(name: &'static str, found: usize) -> Result<(), RunError> {
    if (1..=MAX_SIZE).contains(&found) {
        return Ok(());
    }
    Err(RunError::Setting {
        name,
        found: found.to_string(),
        help: format!("give a number from 1 to {MAX_SIZE}"),
    })
}

/// (tokens, channels) to (channels, tokens), the inner order of (C, F, H, W).
pub(super) fn to_channels_first(tokens: &[f32], channels: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(tokens.len());
    for channel in 0..channels {
        values.extend(tokens.iter().skip(channel).step_by(channels));
    }
    values
}

/// (channels, tokens) to (tokens, channels).
pub(super) fn to_tokens(values: &[f32], channels: usize) -> Vec<f32> {
    to_channels_first(values, values.len() / channels.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(causal_positions: bool) -> ModelFacts {
        ModelFacts {
            latent_channels: 4,
            frames_per_latent: 8,
            pixels_per_latent: 32,
            causal_positions,
            scheduler: serde_json::json!({}),
            allowed_inference_steps: None,
        }
    }

    fn geometry(frames: usize, height: usize, width: usize) -> Result<Geometry, RunError> {
        let asked = VideoSize {
            frames,
            height,
            width,
        };
        Geometry::new(&model(true), asked)
    }

    #[test]
    fn frames_are_padded_by_the_official_rule() {
        for asked in 1..100_usize {
            let official = ((asked as i64 - 2).div_euclid(8) + 1) * 8 + 1;
            let padded = geometry(asked, 32, 32).expect("valid sizes").padded;
            assert_eq!(padded.frames as i64, official, "{asked}");
        }
    }

    #[test]
    fn sides_are_padded_on_both_sides() {
        let geometry = geometry(2, 65, 30).expect("valid sizes");
        assert_eq!((geometry.padded.height, geometry.padded.width), (96, 32));
        assert_eq!((geometry.top, geometry.left), (15, 1));
        assert_eq!(geometry.latents.count(), 2 * 3);
    }

    #[test]
    fn senseless_sizes_are_refused_by_name() {
        for (sizes, name) in [
            ((0, 1, 1), "`frames` is 0"),
            ((1, 0, 1), "`height` is 0"),
            ((1, 1, usize::MAX), "`width` is 18446744073709551615"),
        ] {
            let refused = geometry(sizes.0, sizes.1, sizes.2).expect_err(name);
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }

    #[test]
    fn positions_start_late_only_when_causal() {
        let asked = VideoSize {
            frames: 17,
            height: 32,
            width: 64,
        };
        for (causal, frames) in [(true, [0, 0, 1, 1, 9, 9]), (false, [0, 0, 8, 8, 16, 16])] {
            let geometry = Geometry::new(&model(causal), asked).expect("valid sizes");
            let coords = geometry.compression.pixel_coords(geometry.latents);
            assert_eq!(coords[..6], frames);
            assert_eq!(coords[6..], [0, 0, 0, 0, 0, 0, 0, 32, 0, 32, 0, 32]);
        }
    }

    #[test]
    fn the_crop_is_the_part_asked_for() {
        let geometry = geometry(2, 30, 31).expect("valid sizes");
        let place = |channel: usize, frame: usize, row: usize, column: usize| {
            ((channel * 9 + frame) * 32 + row) * 32 + column
        };
        let mut video = vec![-3.0; 3 * 9 * 32 * 32];
        video[place(1, 1, 1, 0)] = 0.0;
        video[place(2, 1, 30, 30)] = 7.0;
        let cropped = geometry.crop(&video, geometry.padded, geometry.asked.frames);
        assert_eq!(cropped.len(), 3 * 2 * 30 * 31);
        let mut expected = vec![0.0; cropped.len()];
        expected[3 * 30 * 31] = 0.5;
        expected[3 * 2 * 30 * 31 - 1] = 1.0;
        assert_eq!(cropped, expected);
    }

    #[test]
    fn tokens_turn_into_channels() {
        let tokens = [0.0, 10.0, 1.0, 11.0, 2.0, 12.0];
        let expected = [0.0, 1.0, 2.0, 10.0, 11.0, 12.0];
        assert_eq!(to_channels_first(&tokens, 2), expected);
    }
}
