//! What denoising starts from: noise, the latents of an earlier pass, and the media that condition the run.
//!
//! Draws come in the reference's order: the posterior of an input video, the initial noise, then for each condition
//! its posterior and the noise of its extra tokens.

use std::sync::Arc;

use ltxc_bundle::PrepareLatents;

use super::component::Tensors;
use super::condition::{Condition, Fitted, Media, Place};
use super::cuts::Cuts;
use super::decode::Pieces;
use super::generate::{Run, missing};
use super::geometry::{VideoSize, to_channels_first, to_tokens};
use super::job::PREFIX;
use super::passes::PassJob;
use super::stream::{Stream, frames_of};
use super::{Component, RunError};
use crate::sampling::{NoiseSource, Purpose};
use crate::tensor::Tensor;

/// The tokens a pass starts from; those of conditions that lie beside the video come first.
#[derive(Clone)]
pub(super) struct Start {
    /// (N, C)
    pub tokens: Vec<f32>,
    /// How many of them lie beside the video.
    pub extra: usize,
    /// Seconds, pixel row and pixel column of each, (1, 3, N).
    pub coords: Tensor,
    /// How strongly each is given, 0 to 1, if anything is.
    pub mask: Option<Vec<f32>>,
}

/// Encoded pixels in token order.
struct Encoded {
    tokens: Vec<f32>,
    size: VideoSize,
}

/// A start in the making.
struct Draft<'a> {
    pass: &'a PassJob,
    channels: usize,
    tokens: Vec<f32>,
    mask: Vec<f32>,
    beside: Vec<Beside>,
}

/// Tokens beside the video.
struct Beside {
    tokens: Vec<f32>,
    coords: Vec<i64>,
    strength: f32,
}

/// The encoder of a pass, which is loaded when a clip needs it whole.
struct Encoder<'a> {
    stage: &'a str,
    component: &'a str,
    loaded: Option<Arc<Component>>,
}

/// Every `step`th frame of a medium in the size that is encoded.
struct Clip<'a> {
    media: &'a Media,
    step: usize,
    size: VideoSize,
}

impl Clip<'_> {
    fn shape(&self, frames: usize) -> [usize; 5] {
        [1, 3, frames, self.size.height, self.size.width]
    }

    fn frames(&self, first: usize, count: usize) -> Result<Tensor, RunError> {
        let pixels = self
            .media
            .sampled(self.step, first, count, self.size.side());
        Ok(Tensor::new(self.shape(count), pixels)?)
    }
}

impl Run<'_, '_> {
    /// Prepares every take for a pass.
    pub(super) fn prepare(&mut self, stage: &str, op: &PrepareLatents) -> Result<(), RunError> {
        let pass = self.job.pass(stage)?;
        let mut encoder = Encoder {
            stage,
            component: &op.component,
            loaded: None,
        };
        for take in 0..self.takes.len() {
            let start = self.start(take, pass, op, &mut encoder)?;
            self.takes[take].starts.insert(stage.to_owned(), start);
        }
        Ok(())
    }

    fn start(
        &mut self,
        take: usize,
        pass: &PassJob,
        op: &PrepareLatents,
        encoder: &mut Encoder<'_>,
    ) -> Result<Start, RunError> {
        let job = self.job;
        let given = self.given_latents(take, pass, op, encoder)?;
        let VideoSize {
            frames,
            height,
            width,
        } = pass.latents;
        let shape = [1, frames, height, width, job.channels];
        let mut tokens = self.draw(take, Purpose::Initial, &shape)?;
        for (seeded, seed) in job.seeded(pass) {
            let shape = [1, seeded.len(), height, width, job.channels];
            let own = job.noise_of(seed).draw(Purpose::Initial, &shape)?;
            let from = seeded.start * height * width * job.channels;
            tokens[from..from + own.len()].copy_from_slice(&own);
        }
        if let (Some(given), Some(&t)) = (given, pass.timesteps.first()) {
            let pairs = tokens.iter_mut().zip(given);
            pairs.for_each(|(noise, z)| *noise = t * *noise + (1.0 - t) * z);
        }
        if job.conditions.is_empty() {
            let shape = [1, job.channels, frames, height, width];
            let observed = to_channels_first(&tokens, job.channels);
            self.observe(
                take,
                &format!("pass{}.init_latents", self.passes_done),
                &shape,
                &observed,
            )?;
        }
        let mut draft = Draft {
            pass,
            channels: job.channels,
            mask: vec![0.0; pass.latents.count()],
            tokens,
            beside: Vec::new(),
        };
        for condition in &job.conditions {
            self.condition(take, &mut draft, condition, encoder)?;
        }
        self.finish_start(take, draft)
    }

    /// Latents of an earlier pass or of the input video, as tokens.
    fn given_latents(
        &mut self,
        take: usize,
        pass: &PassJob,
        op: &PrepareLatents,
        encoder: &mut Encoder<'_>,
    ) -> Result<Option<Vec<f32>>, RunError> {
        let job = self.job;
        if let Some(source) = &op.latents {
            let latents = self.takes[take].latents.get(source);
            let latents = latents.ok_or_else(|| missing(source))?;
            return Ok(Some(to_tokens(latents.values()?, job.channels)));
        }
        let Some(input) = job.input.as_ref().filter(|_| job.encodes(pass)) else {
            return Ok(None);
        };
        let size = job.geometry.compression.video_of(pass.latents);
        let clip = Clip {
            media: input,
            step: pass.frame_step,
            size,
        };
        Ok(Some(self.encode(take, encoder, &clip)?.tokens))
    }

    /// Normalised latents of pixels; the reference samples the encoder's distribution.
    fn encode(
        &mut self,
        take: usize,
        encoder: &mut Encoder<'_>,
        clip: &Clip<'_>,
    ) -> Result<Encoded, RunError> {
        let job = self.job;
        let latents = job.geometry.compression.latents_of(clip.size);
        let shape = [
            1,
            job.channels,
            latents.frames,
            latents.height,
            latents.width,
        ];
        let noise = match job.posterior_mean {
            true => vec![0.0; shape.iter().product()],
            false => self.draw(take, Purpose::Posterior, &shape)?,
        };
        let noise = Tensor::new(shape, noise)?;
        let given = clip.shape(clip.size.frames);
        let counted = (latents.frames, clip.size);
        let (runner, component) = (self.runner, encoder.component);
        let cuts = runner.cuts_for(component, Pieces::Auto, ("video", &given[..]), counted)?;
        let encoded = match cuts {
            None => self.encode_whole(encoder, clip, noise)?,
            Some(cuts) => self.encode_by(&cuts, component, clip, noise)?,
        };
        let values = encoded.values::<f32>()?;
        let name = format!("vae_encode{}.latents", self.takes[take].encoded);
        self.takes[take].encoded += 1;
        self.observe(take, &name, &shape, values)?;
        Ok(Encoded {
            tokens: to_tokens(values, job.channels),
            size: latents,
        })
    }

    fn encode_whole(
        &mut self,
        encoder: &mut Encoder<'_>,
        clip: &Clip<'_>,
        noise: Tensor,
    ) -> Result<Tensor, RunError> {
        let component = match encoder.loaded.take() {
            Some(component) => component,
            None => self.load(encoder.stage, encoder.component)?,
        };
        let shape = noise.shape().iter().copied().map(Some);
        let shape: Vec<_> = shape.collect();
        let inputs = Tensors::from([
            ("video".to_owned(), clip.frames(0, clip.size.frames)?),
            ("noise".to_owned(), noise),
        ]);
        let encoded = component.run_for(inputs, "latents", &shape)?;
        encoder.loaded = Some(component);
        Ok(encoded)
    }

    /// Encodes in pieces; of the clip, no more is there in the encoder's size than a piece.
    fn encode_by(
        &mut self,
        cuts: &Cuts,
        component: &str,
        clip: &Clip<'_>,
        noise: Tensor,
    ) -> Result<Tensor, RunError> {
        let described = self.runner.stream_of(component)?;
        let flow = |name: &str| {
            let flow = described.frames.iter().find(|flow| flow.name == name);
            flow.ok_or_else(|| missing(name))
        };
        let (video, given) = (flow("video")?, flow("noise")?);
        let mut stream = Stream::new(self.runner, &described.stages, Tensors::new(), cuts)?;
        let mut pieces = Vec::new();
        let mut out = |mut made: Tensors| {
            let latents = made.remove("latents").ok_or_else(|| missing("latents"))?;
            pieces.push(Tensor::new(latents.shape(), latents.to_f32()?)?);
            Ok(())
        };
        let total = noise.shape()[given.axis];
        for at in (0..total).step_by(cuts.frames) {
            let units = cuts.frames.min(total - at);
            let (start, count) = frames_of(video, at, units);
            let pixels = clip.frames(start, count)?;
            let (start, count) = frames_of(given, at, units);
            let noise = noise.along(given.axis, start, count)?;
            let frames = [("video".to_owned(), pixels), ("noise".to_owned(), noise)];
            stream.push(Tensors::from(frames), &mut out)?;
        }
        stream.finish(&mut out)?;
        self.loading += stream.loading;
        Ok(Tensor::joined(given.axis, &pieces)?)
    }

    fn condition(
        &mut self,
        take: usize,
        draft: &mut Draft<'_>,
        condition: &Condition,
        encoder: &mut Encoder<'_>,
    ) -> Result<(), RunError> {
        let compression = self.job.geometry.compression;
        let video = compression.video_of(draft.pass.latents);
        let fitted = condition.fitted(&compression, video, draft.pass.frame_step)?;
        let Fitted { step, size, frame } = fitted;
        let clip = Clip {
            media: &condition.media,
            step,
            size,
        };
        let encoded = self.encode(take, encoder, &clip)?;
        let beside = match condition.place {
            Place::Part { x, y } => {
                let side = compression.pixels();
                draft.place_part(&encoded, [y / side, x / side], condition.strength);
                return Ok(());
            }
            Place::Frames if frame == 0 => {
                draft.place_frames(&encoded, 0, 0, condition.strength);
                return Ok(());
            }
            Place::Frames => {
                draft.place_frames(
                    &encoded,
                    PREFIX,
                    frame / compression.frames(),
                    condition.strength,
                );
                encoded.first_frames(PREFIX, draft.channels)
            }
            Place::Reference => encoded,
        };
        let tokens = self.softened(take, condition, &beside)?;
        let mut coords = compression.pixel_coords(beside.size);
        coords[..beside.size.count()]
            .iter_mut()
            .for_each(|t| *t += frame as i64);
        draft.beside.push(Beside {
            tokens,
            coords,
            strength: condition.strength,
        });
        Ok(())
    }

    /// Tokens beside the video, mixed with noise where they are not given wholly; a reference is taken as it is.
    fn softened(
        &mut self,
        take: usize,
        condition: &Condition,
        encoded: &Encoded,
    ) -> Result<Vec<f32>, RunError> {
        if condition.place == Place::Reference {
            return Ok(encoded.tokens.clone());
        }
        let (channels, size) = (self.job.channels, encoded.size);
        let shape = [1, channels, size.frames, size.height, size.width];
        let mut tokens = to_tokens(&self.draw(take, Purpose::Condition, &shape)?, channels);
        lerp(&mut tokens, &encoded.tokens, condition.strength);
        Ok(tokens)
    }

    fn finish_start(&mut self, take: usize, draft: Draft<'_>) -> Result<Start, RunError> {
        let (channels, fps) = (draft.channels, draft.pass.fps);
        let pixel_coords = draft.coords(
            &self
                .job
                .geometry
                .compression
                .pixel_coords(draft.pass.latents),
        );
        let count = pixel_coords.len() / 3;
        let observed: Vec<f32> = pixel_coords.iter().map(|place| *place as f32).collect();
        let (mask, tokens, extra) = draft.joined();
        let pass = self.passes_done;
        self.observe(
            take,
            &format!("pass{pass}.pixel_coords"),
            &[1, 3, count],
            &observed,
        )?;
        self.observe(
            take,
            &format!("pass{pass}.cond_tokens"),
            &[1, count, channels],
            &tokens,
        )?;
        let mask = (!self.job.conditions.is_empty()).then_some(mask);
        if let Some(mask) = &mask {
            self.observe(take, &format!("pass{pass}.cond_mask"), &[1, count], mask)?;
        }
        Ok(Start {
            tokens,
            extra,
            coords: Tensor::new([1, 3, count], seconds(observed, count, fps))?,
            mask,
        })
    }
}

impl Encoded {
    fn first_frames(self, frames: usize, channels: usize) -> Self {
        let frames = frames.min(self.size.frames);
        let size = VideoSize {
            frames,
            ..self.size
        };
        let mut tokens = self.tokens;
        tokens.truncate(size.count() * channels);
        Self { tokens, size }
    }
}

impl Draft<'_> {
    /// Mixes latent frames from `first` on into the video, `at` frames after where the first would lie.
    fn place_frames(&mut self, encoded: &Encoded, first: usize, at: usize, strength: f32) {
        let frame = encoded.size.height * encoded.size.width;
        let count = encoded.size.count().saturating_sub(first * frame);
        if count == 0 {
            return;
        }
        let to = (at + first) * frame;
        let source = &encoded.tokens[encoded.tokens.len() - count * self.channels..];
        let target = &mut self.tokens[to * self.channels..][..count * self.channels];
        lerp(target, source, strength);
        self.mask[to..to + count].fill(strength);
    }

    /// Mixes latents into a part of the first frames. Latents at a side that does not lie on the frame's border are
    /// left out: the encoder saw a border there that the video does not have.
    fn place_part(&mut self, encoded: &Encoded, [top, left]: [usize; 2], strength: f32) {
        let (part, whole) = (encoded.size, self.pass.latents);
        let inner = |start: usize, length: usize, full: usize| {
            usize::from(start > 0)..length - usize::from(start + length < full && length > 0)
        };
        let rows = inner(top, part.height, whole.height);
        let columns = inner(left, part.width, whole.width);
        for frame in 0..part.frames {
            for row in rows.clone() {
                let from = (frame * part.height + row) * part.width + columns.start;
                let to = (frame * whole.height + top + row) * whole.width + left + columns.start;
                let (count, c) = (columns.len(), self.channels);
                let source = &encoded.tokens[from * c..][..count * c];
                lerp(&mut self.tokens[to * c..][..count * c], source, strength);
                self.mask[to..to + count].fill(strength);
            }
        }
    }

    /// First pixel frame, row and column of every token, those beside the video first; (3, N).
    fn coords(&self, video: &[i64]) -> Vec<i64> {
        let axis = |coords: &[i64], axis: usize| {
            coords[axis * coords.len() / 3..][..coords.len() / 3].to_vec()
        };
        let sources = || {
            self.beside
                .iter()
                .map(|beside| beside.coords.as_slice())
                .chain([video])
        };
        (0..3)
            .flat_map(|n| sources().flat_map(move |coords| axis(coords, n)))
            .collect()
    }

    /// Mask and tokens, those beside the video first, and how many those are.
    fn joined(self) -> (Vec<f32>, Vec<f32>, usize) {
        let (mut mask, mut tokens) = (Vec::new(), Vec::new());
        for beside in self.beside {
            let count = beside.tokens.len() / self.channels;
            mask.extend(std::iter::repeat_n(beside.strength, count));
            tokens.extend(beside.tokens);
        }
        let extra = mask.len();
        mask.extend(self.mask);
        tokens.extend(self.tokens);
        (mask, tokens, extra)
    }
}

/// Frames in seconds, which is what the network takes; rows and columns stay pixels.
fn seconds(mut coords: Vec<f32>, count: usize, fps: f64) -> Vec<f32> {
    let seconds_per_frame = (1.0 / fps) as f32;
    coords[..count]
        .iter_mut()
        .for_each(|frame| *frame *= seconds_per_frame);
    coords
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
