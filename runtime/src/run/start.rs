//! What denoising starts from, window by window.
//!
//! A start knows where all of its tokens lie and what is given, but of the video's noise it holds nothing: a window draws
//! its part when it is due. What is held are the latents that noise is mixed with, where there are some, and the media.

use std::ops::Range;

use super::RunError;
use super::geometry::{Compression, VideoSize, to_tokens};
use super::latents::Latents;
use crate::sampling::FrameNoise;
use crate::tensor::Tensor;

/// What a pass starts from.
pub(super) struct Start {
    pub size: VideoSize,
    pub channels: usize,
    pub compression: Compression,
    /// Seconds of a frame, which is what the network takes; rows and columns stay pixels.
    pub frame_seconds: f32,
    /// The noise of the video.
    pub noise: FrameNoise,
    /// Noise of some latent frames in its place.
    pub seeded: Vec<(Range<usize>, FrameNoise)>,
    /// Latents, and how much of the noise is mixed into them.
    pub given: Option<(Latents, f32)>,
    pub placed: Vec<Placed>,
    /// Tokens beside the video.
    pub beside: Vec<Beside>,
    /// Whether something is given that way, however weakly.
    pub conditioned: bool,
}

/// The tokens that a window starts from; those that lie beside the video come first.
pub(super) struct Tokens {
    /// (N, C)
    pub values: Vec<f32>,
    /// How many of them lie beside the video.
    pub extra: usize,
    /// Seconds, pixel row and pixel column of each, (1, 3, N).
    pub coords: Tensor,
    /// How strongly each is given, 0 to 1, if anything is.
    pub mask: Option<Vec<f32>>,
}

/// Tokens in the place of the video's, in runs.
pub(super) struct Placed {
    /// (N, C)
    pub tokens: Vec<f32>,
    /// From which token of `tokens` on, to which of the video, how many.
    pub runs: Vec<[usize; 3]>,
    pub strength: f32,
}

/// Tokens beside the video.
pub(super) struct Beside {
    /// (N, C)
    pub tokens: Vec<f32>,
    /// First pixel frame, row and column, (3, N).
    pub coords: Vec<i64>,
    pub strength: f32,
}

impl Beside {
    fn count(&self) -> usize {
        self.coords.len() / 3
    }
}

impl Start {
    /// Tokens of a latent frame.
    pub fn frame(&self) -> usize {
        self.size.height * self.size.width
    }

    /// When a latent frame begins, in seconds.
    pub fn time(&self, latent: usize) -> f32 {
        self.seconds(self.compression.first_frame(latent) as i64)
    }

    fn seconds(&self, frame: i64) -> f32 {
        frame as f32 * self.frame_seconds
    }

    /// Pixel row or column of a token within its frame.
    pub fn side(&self, axis: usize, token: usize) -> f32 {
        let place = match axis {
            1 => token / self.size.width,
            _ => token % self.size.width,
        };
        (place * self.compression.pixels()) as f32
    }

    /// First pixel frame, row and column of every token, those beside the video first; (3, N).
    pub fn pixel_coords(&self) -> Vec<f32> {
        let video = self.compression.pixel_coords(self.size);
        let beside = self.beside.iter().map(|beside| beside.coords.as_slice());
        let sources: Vec<&[i64]> = beside.chain([video.as_slice()]).collect();
        let axis = |axis: usize| {
            let coords = sources.iter();
            coords.flat_map(move |coords| &coords[axis * coords.len() / 3..][..coords.len() / 3])
        };
        (0..3).flat_map(axis).map(|place| *place as f32).collect()
    }

    /// The tokens of some latent frames, with those beside the video that lie within their time. Times count from where
    /// the video begins, or from where its second latent frame does for what begins later.
    pub fn window(&mut self, span: &Range<usize>) -> Result<Tokens, RunError> {
        let beside = self.beside_within(span);
        let (extra, count) = (beside.len(), span.len() * self.frame());
        let (mut values, mut mask) = (Vec::new(), Vec::new());
        for (from, token) in &beside {
            let at = token * self.channels;
            values.extend_from_slice(&self.beside[*from].tokens[at..at + self.channels]);
            mask.push(self.beside[*from].strength);
        }
        mask.resize(extra + count, 0.0);
        let mut tokens = self.noise_of(span);
        self.mix_given(&mut tokens, span)?;
        for placed in &self.placed {
            placed.place(&mut tokens, &mut mask[extra..], span, self.frame());
        }
        values.extend(tokens);
        let coords = self.coords(&beside, span);
        Ok(Tokens {
            values,
            extra,
            coords: Tensor::new([1, 3, extra + count], coords)?,
            mask: self.conditioned.then_some(mask),
        })
    }

    /// How many tokens [`Self::window`] has, and whether some may be given.
    pub fn count(&self, span: &Range<usize>) -> (usize, bool) {
        let count = self.beside_within(span).len() + span.len() * self.frame();
        (count, self.conditioned)
    }

    /// Tokens beside the video within the time of a window, by the condition and the token of it.
    fn beside_within(&self, span: &Range<usize>) -> Vec<(usize, usize)> {
        let from = match span.start {
            0 => f32::NEG_INFINITY,
            start => self.time(start),
        };
        let to = match span.end < self.size.frames {
            true => self.time(span.end),
            false => f32::INFINITY,
        };
        let conditions = self.beside.iter().enumerate();
        let tokens = conditions.flat_map(|(at, beside)| {
            let within =
                move |token: &usize| (from..to).contains(&self.seconds(beside.coords[*token]));
            (0..beside.count())
                .filter(within)
                .map(move |token| (at, token))
        });
        tokens.collect()
    }

    fn noise_of(&mut self, span: &Range<usize>) -> Vec<f32> {
        let frame = self.frame() * self.channels;
        let mut tokens = self.noise.frames(span.clone());
        for (frames, noise) in &mut self.seeded {
            let (from, to) = (frames.start.max(span.start), frames.end.min(span.end));
            if from < to {
                let own = noise.frames(from - frames.start..to - frames.start);
                tokens[(from - span.start) * frame..][..own.len()].copy_from_slice(&own);
            }
        }
        tokens
    }

    fn mix_given(&self, tokens: &mut [f32], span: &Range<usize>) -> Result<(), RunError> {
        let Some((given, t)) = &self.given else {
            return Ok(());
        };
        let given = given.along(span.start, span.len())?;
        let given = to_tokens(given.values()?, self.channels);
        let pairs = tokens.iter_mut().zip(given);
        pairs.for_each(|(noise, z)| *noise = t * *noise + (1.0 - t) * z);
        Ok(())
    }

    /// (3, N)
    fn coords(&self, beside: &[(usize, usize)], span: &Range<usize>) -> Vec<f32> {
        let moved = match span.start {
            0 => 0.0,
            start => self.time(start) - self.time(1),
        };
        let frame = self.frame();
        let mut coords = Vec::new();
        for axis in 0..3 {
            let of_condition = |(at, token): &(usize, usize)| {
                let beside = &self.beside[*at];
                let place = beside.coords[axis * beside.count() + token];
                match axis {
                    0 => self.seconds(place) - moved,
                    _ => place as f32,
                }
            };
            let of_video = |token: usize| match axis {
                0 => self.time(span.start + token / frame) - moved,
                axis => self.side(axis, token % frame),
            };
            coords.extend(beside.iter().map(of_condition));
            coords.extend((0..span.len() * frame).map(of_video));
        }
        coords
    }
}

impl Placed {
    /// Mixes what falls into a window into its tokens; `mask` says how strongly each is given.
    fn place(&self, tokens: &mut [f32], mask: &mut [f32], span: &Range<usize>, frame: usize) {
        let channels = tokens.len() / mask.len().max(1);
        let window = span.start * frame..span.end * frame;
        for [from, to, count] in &self.runs {
            let (start, end) = ((*to).max(window.start), (to + count).min(window.end));
            if start >= end {
                continue;
            }
            let (count, source) = (end - start, from + (start - to));
            let source = &self.tokens[source * channels..][..count * channels];
            let at = start - window.start;
            lerp(
                &mut tokens[at * channels..][..count * channels],
                source,
                self.strength,
            );
            mask[at..at + count].fill(self.strength);
        }
    }
}

#[cfg(test)]
impl Start {
    /// Noise, (N, C), one frame a second, 8 frames and 32 x 32 pixels a latent.
    pub fn of_noise(size: VideoSize, noise: Vec<f32>, channels: usize) -> Self {
        let facts = ltxc_bundle::ModelFacts {
            latent_channels: channels,
            frames_per_latent: 8,
            pixels_per_latent: 32,
            causal_positions: true,
            scheduler: serde_json::json!({}),
            allowed_inference_steps: None,
        };
        let places = size.height * size.width;
        Self {
            size,
            channels,
            compression: Compression::new(&facts).expect("a model"),
            frame_seconds: 1.0,
            noise: FrameNoise::held(noise, [size.frames, places, channels], false),
            seeded: Vec::new(),
            given: None,
            placed: Vec::new(),
            beside: Vec::new(),
            conditioned: false,
        }
    }
}

/// From `values` towards `goal`, in torch's order of operations.
pub(super) fn lerp(values: &mut [f32], goal: &[f32], weight: f32) {
    for (value, goal) in values.iter_mut().zip(goal) {
        *value = match weight < 0.5 {
            true => *value + weight * (goal - *value),
            false => goal - (goal - *value) * (1.0 - weight),
        };
    }
}
