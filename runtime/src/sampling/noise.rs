//! Where the noise of a generation comes from.
//!
//! The three programs people make LTX-Video clips with draw different tensors from the same seed, so a
//! layout names the program to agree with. Callers say what a draw is for and get it in one order
//! whatever the layout; they must draw in the order of the reference pipeline, since all draws of one
//! generator share one stream.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::fill::Fill;
use super::frames::FrameNoise;
use super::random::TorchRng;

/// The program whose draws a seed should reproduce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseLayout {
    /// Lightricks' own pipeline: noise in token order, side draws from the global generator.
    #[default]
    Original,
    /// diffusers: noise as (B, C, F, H, W), every draw from the generator passed in.
    Diffusers,
    /// ComfyUI: noise as (B, C, F, H, W), every draw from the one seeded generator.
    ComfyUi,
}

impl NoiseLayout {
    const ALL: [Self; 3] = [Self::Original, Self::Diffusers, Self::ComfyUi];

    fn name(self) -> &'static str {
        match self {
            Self::Original => "original",
            Self::Diffusers => "diffusers",
            Self::ComfyUi => "comfyui",
        }
    }
}

impl fmt::Display for NoiseLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for NoiseLayout {
    type Err = NoiseError;

    fn from_str(text: &str) -> Result<Self, NoiseError> {
        Self::ALL
            .into_iter()
            .find(|layout| layout.name() == text)
            .ok_or_else(|| NoiseError::UnknownLayout {
                found: text.to_owned(),
            })
    }
}

/// What a draw of noise is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The latents the sampling starts from; asked for as [B, F, H, W, C], handed out as (B, F*H*W, C).
    Initial,
    /// The sample of the encoder's posterior for a conditioning medium, in the shape asked for.
    Posterior,
    /// The fresh noise of a stochastic step, (B, N, C).
    Step,
    /// The noise mixed in before decoding; asked for as [B, F, H, W, C], handed out as (B, C, F, H, W).
    Decode,
    /// One noise plane of the decoder, [H, W].
    Plane,
    /// Noise on conditioning tokens, in the shape asked for.
    Condition,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Initial => "initial",
            Self::Posterior => "posterior",
            Self::Step => "step",
            Self::Decode => "decode",
            Self::Plane => "plane",
            Self::Condition => "condition",
        })
    }
}

/// Why there is no noise.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NoiseError {
    /// The name of a layout is not one of the three.
    #[error("unknown noise layout `{found}`: write `original`, `diffusers` or `comfyui`")]
    UnknownLayout {
        /// The name as written.
        found: String,
    },
    /// A draw that depends on the layout needs all five dimensions, and one by frames is for one video.
    #[error(
        "{purpose} noise is drawn for the shape [B, F, H, W, C], by frames with B = 1, not {shape:?}"
    )]
    Rank {
        /// What the draw was for.
        purpose: Purpose,
        /// The shape asked for.
        shape: Vec<usize>,
    },
    /// The next recorded draw has another size than the one asked for.
    #[error("recorded draw `{name}` has {found} values where {purpose} noise needs {expected}")]
    Size {
        /// The recorded draw.
        name: String,
        /// What the draw was for.
        purpose: Purpose,
        /// The number of values asked for.
        expected: usize,
        /// The number of values recorded.
        found: usize,
    },
    /// The shape of a recorded draw does not describe its values.
    #[error("recorded draw `{name}` has {found} values but the shape {shape:?}")]
    Record {
        /// The recorded draw.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of values recorded.
        found: usize,
    },
    /// The recording is over.
    #[error("no recorded draw is left for {expected} values of {purpose} noise")]
    Exhausted {
        /// What the draw was for.
        purpose: Purpose,
        /// The number of values asked for.
        expected: usize,
    },
    /// Recorded draws were never asked for.
    #[error("{count} recorded draws were not used, the first is `{name}`")]
    LeftOver {
        /// How many are left.
        count: usize,
        /// The first of them.
        name: String,
    },
}

/// A source of standard normal noise.
pub trait NoiseSource {
    /// The next draw, in the order that `purpose` documents, as many values as `shape` has elements.
    fn draw(&mut self, purpose: Purpose, shape: &[usize]) -> Result<Vec<f32>, NoiseError>;

    /// The next draw for the latents of a video, `shape` [1, F, H, W, C], to be had some frames at a time. It is drawn
    /// here, and held where the source cannot draw a part of it again.
    fn draw_frames(&mut self, purpose: Purpose, shape: &[usize]) -> Result<FrameNoise, NoiseError> {
        let latent = LatentShape::of_one(purpose, shape)?;
        let values = self.draw(purpose, shape)?;
        Ok(FrameNoise::held(
            values,
            latent.by_frames(),
            purpose == Purpose::Decode,
        ))
    }

    /// Another source of the same draws from here on, where there can be one.
    fn copy(&self) -> Option<Box<dyn NoiseSource>> {
        None
    }
}

/// Noise from two seeded generators, drawn as one of the known programs draws it.
#[derive(Debug, Clone)]
pub struct Seeded {
    layout: NoiseLayout,
    generator: TorchRng,
    global: TorchRng,
}

impl Seeded {
    /// The generator passed to the pipeline, and torch's default one, both just seeded.
    pub fn new(layout: NoiseLayout, generator_seed: u64, global_seed: u64) -> Self {
        let generator = TorchRng::new(generator_seed);
        Self {
            layout,
            generator,
            global: TorchRng::new(global_seed),
        }
    }

    fn side_generator(&mut self) -> &mut TorchRng {
        match self.layout {
            NoiseLayout::Original => &mut self.global,
            NoiseLayout::Diffusers | NoiseLayout::ComfyUi => &mut self.generator,
        }
    }

    /// The next draw for latents: initial noise or what is mixed in before decoding. Channels lie outside but in the
    /// original's draws, which are made in token order.
    ///
    /// For decoding, the original draws into a view of the tokens whose memory has the channels last, and torch fills
    /// what is not contiguous by its serial algorithm. With one token or one channel the view is contiguous after all.
    fn of_latents(&mut self, purpose: Purpose, latent: LatentShape) -> (Fill, bool) {
        let original = self.layout == NoiseLayout::Original;
        let decodes = original && purpose == Purpose::Decode;
        let generator = match decodes {
            true => &mut self.global,
            false => &mut self.generator,
        };
        let serial = decodes && latent.tokens() > 1 && latent.channels > 1;
        (Fill::next(generator, latent.elements(), serial), !original)
    }
}

impl NoiseSource for Seeded {
    fn draw(&mut self, purpose: Purpose, shape: &[usize]) -> Result<Vec<f32>, NoiseError> {
        let count = shape.iter().product();
        Ok(match purpose {
            Purpose::Initial | Purpose::Decode => {
                let latent = LatentShape::new(purpose, shape)?;
                let (fill, drawn_first) = self.of_latents(purpose, latent);
                let values = fill.read(&mut fill.reader(), 0..count);
                let (tokens, channels) = (latent.tokens(), latent.channels);
                match (drawn_first, purpose == Purpose::Decode) {
                    (true, false) => transpose(&values, channels, tokens),
                    (false, true) => transpose(&values, tokens, channels),
                    _ => values,
                }
            }
            Purpose::Posterior | Purpose::Step | Purpose::Plane => {
                self.side_generator().normal(count)
            }
            Purpose::Condition => self.generator.normal(count),
        })
    }

    fn draw_frames(&mut self, purpose: Purpose, shape: &[usize]) -> Result<FrameNoise, NoiseError> {
        let latent = LatentShape::of_one(purpose, shape)?;
        let (fill, drawn_first) = self.of_latents(purpose, latent);
        let handed_first = purpose == Purpose::Decode;
        Ok(FrameNoise::drawn(
            fill,
            latent.by_frames(),
            drawn_first,
            handed_first,
        ))
    }

    fn copy(&self) -> Option<Box<dyn NoiseSource>> {
        Some(Box::new(self.clone()))
    }
}

#[derive(Debug, Clone, Copy)]
struct LatentShape {
    batch: usize,
    frames: usize,
    /// Places of a frame.
    places: usize,
    channels: usize,
}

impl LatentShape {
    fn new(purpose: Purpose, shape: &[usize]) -> Result<Self, NoiseError> {
        let &[batch, frames, height, width, channels] = shape else {
            return Err(NoiseError::Rank {
                purpose,
                shape: shape.to_vec(),
            });
        };
        Ok(Self {
            batch,
            frames,
            places: height * width,
            channels,
        })
    }

    /// That of a single video.
    fn of_one(purpose: Purpose, shape: &[usize]) -> Result<Self, NoiseError> {
        let latent = Self::new(purpose, shape)?;
        let rank = || NoiseError::Rank {
            purpose,
            shape: shape.to_vec(),
        };
        (latent.batch == 1).then_some(latent).ok_or_else(rank)
    }

    fn by_frames(self) -> [usize; 3] {
        [self.frames, self.places, self.channels]
    }

    fn tokens(self) -> usize {
        self.frames * self.places
    }

    fn elements(self) -> usize {
        self.batch * self.tokens() * self.channels
    }
}

/// Turns each of the stacked `rows` x `columns` matrices in `values` into its transpose.
pub(super) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut transposed = Vec::with_capacity(values.len());
    for matrix in values.chunks_exact((rows * columns).max(1)) {
        for column in 0..columns {
            transposed.extend(matrix[column..].iter().step_by(columns));
        }
    }
    transposed
}
