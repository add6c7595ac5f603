//! Latents to pixels.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;

use ltxc_bundle::{DecodeVideo, StageOp};

use super::component::Tensors;
use super::component::sizes;
use super::cuts::{Cuts, Planner};
use super::decoder::Decoder;
use super::generate::{Run, missing};
use super::geometry::VideoSize;
use super::latents::frames_in;
use super::passes::PassJob;
use super::ports::{Given, PortSpec};
use super::queue::{self, Feed, Order, Ready};
use super::solve::Sizes;
use super::video::{Decoded, Sink};
use super::{Job, RunError, Runner};
use crate::sampling::{FrameNoise, Purpose};
use crate::tensor::{DType, Tensor, element_count};

/// How much of a video is decoded at a time. The frames are the same within rounding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pieces {
    /// As few latent frames as keep the processor busy; all, where the decoder cannot do otherwise.
    #[default]
    Auto,
    /// All of it.
    Whole,
    /// So many latent frames.
    Frames(NonZeroUsize),
}

impl FromStr for Pieces {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.parse()) {
            ("auto", _) => Ok(Self::Auto),
            ("whole", _) => Ok(Self::Whole),
            (_, Ok(frames)) => Ok(Self::Frames(frames)),
            _ => Err("write auto, whole, or a number of latent frames".to_owned()),
        }
    }
}

impl Runner {
    /// How the last stage decodes; `None` for all at once.
    pub fn decodes_by(&self, job: &Job) -> Result<Option<Cuts>, RunError> {
        let plan = &self.manifest().plan;
        let video = plan.stages.iter().find(|stage| stage.name == plan.video);
        match video.map(|stage| &stage.op) {
            Some(StageOp::DecodeVideo(op)) => {
                let pass = pass_of(self, job, &op.latents)?;
                self.pieces_of(&op.component, job, pass.latents())
            }
            _ => Ok(None),
        }
    }

    pub(super) fn pieces_of(
        &self,
        component: &str,
        job: &Job,
        latents: VideoSize,
    ) -> Result<Option<Cuts>, RunError> {
        let VideoSize {
            frames,
            height,
            width,
        } = latents;
        let shape = [1, job.channels, frames, height, width];
        let video = job.geometry.compression.video_of(latents);
        self.cuts_for(
            component,
            self.pieces(),
            ("latents", &shape[..]),
            (frames, video),
        )
    }

    /// How a component takes `frames` latent frames that stand for a video; `given` is its first input with frames.
    pub(super) fn cuts_for(
        &self,
        component: &str,
        pieces: Pieces,
        given: (&str, &[usize]),
        (frames, video): (usize, VideoSize),
    ) -> Result<Option<Cuts>, RunError> {
        match pieces {
            Pieces::Whole => Ok(None),
            Pieces::Auto => {
                self.automatic(component, given, (frames, video.count()), self.memory())
            }
            Pieces::Frames(frames) if self.described(component)?.stream.is_some() => Ok(Some(
                self.cuts_of(component, given, frames.get(), self.memory())?,
            )),
            Pieces::Frames(frames) => Err(self.takes_whole(component, frames)),
        }
    }

    /// How a component that has stages is computed on at most `most` units of time, where its first input with frames
    /// has this name and shape.
    pub(super) fn cuts_of(
        &self,
        component: &str,
        (name, shape): (&str, &[usize]),
        most: usize,
        budget: Option<u64>,
    ) -> Result<Cuts, RunError> {
        let given = Given::from([(name, (DType::F32, shape))]);
        let sizes = sizes(component, self.spec(component)?, &given)?;
        let planner = Planner::new(self.stream_of(component)?, &sizes, shape)?;
        Ok(planner.cut(most, budget))
    }

    /// How a component is best computed whose first input with frames has this name and shape.
    pub(super) fn automatic(
        &self,
        component: &str,
        (name, shape): (&str, &[usize]),
        counts: (usize, usize),
        budget: Option<u64>,
    ) -> Result<Option<Cuts>, RunError> {
        let Some(stream) = &self.described(component)?.stream else {
            return Ok(None);
        };
        let given = Given::from([(name, (DType::F32, shape))]);
        let sizes = sizes(component, self.spec(component)?, &given)?;
        let weights = self.weights(component);
        Cuts::automatic(stream, weights, &sizes, shape, counts, budget)
    }

    fn takes_whole(&self, component: &str, frames: NonZeroUsize) -> RunError {
        let notes = &self.manifest().notes;
        let why = notes
            .iter()
            .find(|note| note.starts_with(&format!("`{component}` takes a whole video")));
        let why = why.map_or_else(
            || "this bundle's decoder takes the whole video only".to_owned(),
            String::clone,
        );
        RunError::Setting {
            name: "decode",
            found: frames.to_string(),
            help: format!("{why}; write auto or whole"),
        }
    }
}

/// What is mixed into latents before they are decoded.
pub(super) struct Mix {
    /// Decode noise and its share.
    noise: Option<(FrameNoise, f32)>,
    tone_map: f32,
}

impl Mix {
    /// Latent frames as they are decoded, the first of them at `start`. A decoder that takes a timestep was trained on
    /// latents with that much noise left. Large values are compressed after it is mixed in.
    pub fn of(&mut self, latents: &Arc<Tensor>, start: usize) -> Result<Arc<Tensor>, RunError> {
        if self.noise.is_none() && self.tone_map == 0.0 {
            return Ok(Arc::clone(latents));
        }
        let mut mixed = latents.values::<f32>()?.to_vec();
        if let Some((noise, scale)) = &mut self.noise {
            let noise = noise.frames(start..start + frames_in(latents));
            let pairs = mixed.iter_mut().zip(noise);
            pairs.for_each(|(z, noise)| *z = *z * (1.0 - *scale) + noise * *scale);
        }
        if self.tone_map > 0.0 {
            mixed
                .iter_mut()
                .for_each(|z| *z *= tone_scale(*z, self.tone_map));
        }
        Ok(Arc::new(Tensor::new(latents.shape(), mixed)?))
    }
}

impl<'r> Run<'r, '_> {
    /// Decodes every take and hands its frames out as they are there.
    pub(super) fn decode_all(
        &mut self,
        stage: &str,
        op: &DecodeVideo,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let decoder = self.decoder(stage, op);
        let mut takes = 0..self.takes.len();
        let loading = queue::decoding(&decoder, sink, |feed| {
            takes.try_for_each(|take| self.feed_whole(take, op, feed))
        })?;
        self.loading += loading;
        Ok(())
    }

    /// The decoder of a stage.
    pub(super) fn decoder<'a>(&self, stage: &'a str, op: &'a DecodeVideo) -> Decoder<'a>
    where
        'r: 'a,
    {
        Decoder {
            runner: self.runner,
            job: self.job,
            news: self.news,
            stage,
            component: &op.component,
            takes: self.takes.len(),
            wanted: self.runner.bundle.manifest.plan.video == stage,
        }
    }

    fn feed_whole(
        &mut self,
        take: usize,
        op: &DecodeVideo,
        feed: &Feed<'_>,
    ) -> Result<(), RunError> {
        let mut latents = self.latents_of(take, &op.latents)?;
        let size = latents.size()?;
        let cuts = self.runner.pieces_of(&op.component, self.job, size)?;
        let piece = match cuts {
            Some(cuts) if !self.is_observed(take) => cuts.frames,
            _ => size.frames,
        };
        let (order, mut mix) = self.order(take, op, size)?;
        feed.send(Ready::Take(order))?;
        for start in (0..size.frames).step_by(piece) {
            let count = piece.min(size.frames - start);
            let denoised = latents.along(start, count)?;
            latents.forget(start + count);
            let mixed = mix.of(&denoised, start)?;
            self.observe(take, "decode.latents_in", mixed.shape(), mixed.values()?)?;
            feed.send(Ready::Latents(Decoded {
                latents: denoised,
                decoder_latents: mixed,
            }))?;
        }
        Ok(())
    }

    /// What the decoder of a take is given besides latents, of this size. Decode noise is drawn first, then the noise
    /// planes in the order of the inputs.
    pub(super) fn order(
        &mut self,
        take: usize,
        op: &DecodeVideo,
        size: VideoSize,
    ) -> Result<(Order, Mix), RunError> {
        let (runner, name) = (self.runner, op.component.as_str());
        let (pass, spec) = (pass_of(runner, self.job, &op.latents)?, runner.spec(name)?);
        let (c, f, h, w) = (self.job.channels, size.frames, size.height, size.width);
        let (mut noise, mut given) = (None, Tensors::new());
        if spec.input("timestep").is_some() {
            let drawn = self.draw_frames(take, Purpose::Decode, &[1, f, h, w, c])?;
            noise = Some((drawn, pass.decode_noise_scale));
            let timestep = Tensor::new([1], vec![pass.decode_timestep])?;
            given.insert("timestep".to_owned(), timestep);
        }
        let shape = [1, c, f, h, w];
        let latents = Given::from([("latents", (DType::F32, shape.as_slice()))]);
        let sizes = sizes(name, spec, &latents)?;
        for port in spec.inputs.iter().filter(|port| port.drawn) {
            let shape = plane_shape(name, port, &sizes)?;
            element_count(&shape)?;
            let values = self.draw(take, Purpose::Plane, &shape)?;
            given.insert(port.name.clone(), Tensor::new(shape, values)?);
        }
        let tone_map = pass.tone_map;
        Ok((Order { take, given, size }, Mix { noise, tone_map }))
    }
}

/// The pass that a stage's latents belong to.
fn pass_of<'r>(runner: &Runner, job: &'r Job, latents: &str) -> Result<&'r PassJob, RunError> {
    let mut wanted = latents;
    for stage in runner.manifest().plan.stages.iter().rev() {
        match &stage.op {
            StageOp::Denoise(op) if stage.name == wanted => return job.pass(&op.start),
            StageOp::UpscaleLatents(op) if stage.name == wanted => wanted = &op.latents,
            _ => {}
        }
    }
    Err(missing(latents))
}

/// What a latent value is multiplied with, so that large ones shrink: a sigmoid between 1 and 1 - 0.6 `ratio`.
fn tone_scale(value: f32, ratio: f32) -> f32 {
    let strength = 0.75 * ratio;
    let sigmoid = 1.0 / (1.0 + (-4.0 * strength * (value.abs() - 1.0)).exp());
    1.0 - 0.8 * strength * sigmoid
}

fn plane_shape(name: &str, port: &PortSpec, sizes: &Sizes) -> Result<Vec<usize>, RunError> {
    let known = |name: &str| sizes.get(name).copied();
    let values = port.shape.iter().map(|size| size.value(&known));
    let shape: Option<Vec<_>> = values
        .map(|v| v.and_then(|v| usize::try_from(v).ok()))
        .collect();
    shape.ok_or_else(|| {
        let input = &port.name;
        RunError::Manifest(format!(
            "the sizes of `{name}` input `{input}` do not follow from its latents"
        ))
    })
}
