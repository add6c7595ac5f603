//! Puts together what denoising starts from: noise, the latents of an earlier pass, and the media that condition the run.
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
use super::latents::Latents;
use super::passes::PassJob;
use super::start::{Beside, Placed, Start, lerp};
use super::stream::{Stream, frames_of};
use super::{Component, RunError};
use crate::sampling::{NoiseSource, Purpose};
use crate::tensor::Tensor;

/// Encoded pixels in token order.
struct Encoded {
    tokens: Vec<f32>,
    size: VideoSize,
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
        let shape = |frames: usize| {
            let VideoSize { height, width, .. } = pass.latents;
            [1, frames, height, width, job.channels]
        };
        let noise = self.draw_frames(take, Purpose::Initial, &shape(pass.latents.frames))?;
        let mut seeded = Vec::new();
        for (frames, seed) in job.seeded(pass) {
            let mut own = job.noise_of(seed.wrapping_add(self.takes[take].shift));
            let noise = own.draw_frames(Purpose::Initial, &shape(frames.len()))?;
            seeded.push((frames, noise));
        }
        let mut start = Start {
            size: pass.latents,
            channels: job.channels,
            compression: job.geometry.compression,
            frame_seconds: (1.0 / pass.fps) as f32,
            noise,
            seeded,
            given: given.zip(pass.timesteps.first().copied()),
            placed: Vec::new(),
            beside: Vec::new(),
            conditioned: !job.conditions.is_empty(),
        };
        for condition in &job.conditions {
            self.condition(take, &mut start, (pass, condition), encoder)?;
        }
        self.observe_start(take, &mut start)?;
        Ok(start)
    }

    /// Latents of an earlier pass or of the input video.
    fn given_latents(
        &mut self,
        take: usize,
        pass: &PassJob,
        op: &PrepareLatents,
        encoder: &mut Encoder<'_>,
    ) -> Result<Option<Latents>, RunError> {
        let job = self.job;
        if let Some(source) = &op.latents {
            return Ok(Some(self.latents_of(take, source)?));
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
        Ok(Some(self.encode(take, encoder, &clip)?.into()))
    }

    /// Normalised latents of pixels; the reference samples the encoder's distribution.
    fn encode(
        &mut self,
        take: usize,
        encoder: &mut Encoder<'_>,
        clip: &Clip<'_>,
    ) -> Result<Tensor, RunError> {
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
        let name = format!("vae_encode{}.latents", self.takes[take].encoded);
        self.takes[take].encoded += 1;
        self.observe(take, &name, &shape, encoded.values()?)?;
        Ok(encoded)
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
        start: &mut Start,
        (pass, condition): (&PassJob, &Condition),
        encoder: &mut Encoder<'_>,
    ) -> Result<(), RunError> {
        let (compression, strength) = (self.job.geometry.compression, condition.strength);
        let video = compression.video_of(pass.latents);
        let fitted = condition.fitted(&compression, video, pass.frame_step)?;
        let Fitted { step, size, frame } = fitted;
        let clip = Clip {
            media: &condition.media,
            step,
            size,
        };
        let encoded = self.encode(take, encoder, &clip)?;
        let encoded = Encoded {
            tokens: to_tokens(encoded.values()?, self.job.channels),
            size: compression.latents_of(size),
        };
        let beside = match condition.place {
            Place::Part { x, y } => {
                let side = compression.pixels();
                let placed = encoded.in_part(pass.latents, [y / side, x / side], strength);
                start.placed.push(placed);
                return Ok(());
            }
            Place::Frames if frame == 0 => {
                start.placed.extend(encoded.in_frames(0, 0, strength));
                return Ok(());
            }
            Place::Frames => {
                let latent = frame / compression.frames();
                start
                    .placed
                    .extend(encoded.in_frames(PREFIX, latent, strength));
                encoded.first_frames(PREFIX, start.channels)
            }
            Place::Reference => encoded,
        };
        let tokens = self.softened(take, condition, &beside)?;
        let mut coords = compression.pixel_coords(beside.size);
        coords[..beside.size.count()]
            .iter_mut()
            .for_each(|t| *t += frame as i64);
        start.beside.push(Beside {
            tokens,
            coords,
            strength,
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

    /// Shows the whole start, if somebody looks.
    fn observe_start(&mut self, take: usize, start: &mut Start) -> Result<(), RunError> {
        if !self.is_observed(take) {
            return Ok(());
        }
        let (pass, size, channels) = (self.passes_done, start.size, start.channels);
        let whole = start.window(&(0..size.frames))?;
        if !start.conditioned {
            let shape = [1, channels, size.frames, size.height, size.width];
            let values = to_channels_first(&whole.values, channels);
            self.observe(take, &format!("pass{pass}.init_latents"), &shape, &values)?;
        }
        let count = whole.values.len() / channels;
        let coords = start.pixel_coords();
        self.observe(
            take,
            &format!("pass{pass}.pixel_coords"),
            &[1, 3, count],
            &coords,
        )?;
        let shape = [1, count, channels];
        self.observe(
            take,
            &format!("pass{pass}.cond_tokens"),
            &shape,
            &whole.values,
        )?;
        match &whole.mask {
            Some(mask) => self.observe(take, &format!("pass{pass}.cond_mask"), &[1, count], mask),
            None => Ok(()),
        }
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

    /// Its latent frames from `first` on in the video, `at` frames after where the first would lie.
    fn in_frames(&self, first: usize, at: usize, strength: f32) -> Option<Placed> {
        let frame = self.size.height * self.size.width;
        let count = self.size.count().saturating_sub(first * frame);
        (count > 0).then(|| Placed {
            tokens: self.tokens.clone(),
            runs: vec![[first * frame, (at + first) * frame, count]],
            strength,
        })
    }

    /// Its latents in a part of the first frames of a video. Those at a side that does not lie on the frame's border are
    /// left out: the encoder saw a border there that the video does not have.
    fn in_part(self, whole: VideoSize, [top, left]: [usize; 2], strength: f32) -> Placed {
        let part = self.size;
        let inner = |start: usize, length: usize, full: usize| {
            usize::from(start > 0)..length - usize::from(start + length < full && length > 0)
        };
        let rows = inner(top, part.height, whole.height);
        let columns = inner(left, part.width, whole.width);
        let places = (0..part.frames).flat_map(|frame| rows.clone().map(move |row| [frame, row]));
        let run = |[frame, row]: [usize; 2]| {
            let from = (frame * part.height + row) * part.width + columns.start;
            let to = (frame * whole.height + top + row) * whole.width + left + columns.start;
            [from, to, columns.len()]
        };
        Placed {
            runs: places.map(run).collect(),
            tokens: self.tokens,
            strength,
        }
    }
}
