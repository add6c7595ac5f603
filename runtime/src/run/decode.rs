//! Latents to pixels.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use ltxc_bundle::{DecodeVideo, StageOp};

use super::component::Tensors;
use super::component::sizes;
use super::event::{Event, News};
use super::generate::{Run, missing};
use super::geometry::VideoSize;
use super::passes::PassJob;
use super::ports::{Given, PortSpec};
use super::queue::{self, Feed, Order, Out, Pair, Ready};
use super::solve::Sizes;
use super::stream::Stream;
use super::video::{Decoded, Frames, Sink};
use super::{Component, Job, RunError, Runner};
use crate::sampling::Purpose;
use crate::tensor::{DType, Tensor, element_count};

/// Pixels that a step decodes at least where the program chooses: fewer would not keep a processor busy.
const PIXELS: usize = 1 << 22;

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
    /// How many latent frames the last stage decodes at a time; `None` for all at once.
    pub fn decodes_by(&self, job: &Job) -> Result<Option<usize>, RunError> {
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
    ) -> Result<Option<usize>, RunError> {
        let streams = !self.described(component)?.stream.is_empty();
        let video = job.geometry.compression.video_of(latents);
        let chosen = PIXELS.div_ceil((video.count() / latents.frames.max(1)).max(1));
        match self.pieces() {
            Pieces::Auto if streams && chosen < latents.frames => Ok(Some(chosen)),
            Pieces::Auto | Pieces::Whole => Ok(None),
            Pieces::Frames(frames) if streams => Ok(Some(frames.get())),
            Pieces::Frames(frames) => Err(RunError::Setting {
                name: "decode",
                found: frames.to_string(),
                help: "this bundle's decoder takes the whole video only; write auto or whole, or compile it again without --size".to_owned(),
            }),
        }
    }
}

/// What is mixed into latents before they are decoded.
pub(super) struct Mix {
    /// Decode noise, (1, C, F, H, W), and its share.
    noise: Option<(Tensor, f32)>,
    tone_map: f32,
}

impl Mix {
    /// Latent frames as they are decoded, the first of them at `start`. A decoder that takes a timestep was trained on
    /// latents with that much noise left. Large values are compressed after it is mixed in.
    pub fn of(&self, latents: &Tensor, start: usize) -> Result<Tensor, RunError> {
        let mut mixed = latents.values::<f32>()?.to_vec();
        if let Some((noise, scale)) = &self.noise {
            let noise = noise.along(2, start, frames_in(latents))?;
            let pairs = mixed.iter_mut().zip(noise.values::<f32>()?);
            pairs.for_each(|(z, noise)| *z = *z * (1.0 - scale) + noise * scale);
        }
        if self.tone_map > 0.0 {
            mixed
                .iter_mut()
                .for_each(|z| *z *= tone_scale(*z, self.tone_map));
        }
        Ok(Tensor::new(latents.shape(), mixed)?)
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
        let latents = self.takes[take].latents.get(&op.latents).cloned();
        let denoised = latents.ok_or_else(|| missing(&op.latents))?;
        let (order, mix) = self.order(take, op, self.size_of(&denoised)?)?;
        let mixed = mix.of(&denoised, 0)?;
        self.observe(take, "decode.latents_in", mixed.shape(), mixed.values()?)?;
        feed.send(Ready::Take(order))?;
        feed.send(Ready::Latents(Pair { denoised, mixed }))
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
            let drawn = self.draw(take, Purpose::Decode, &[1, f, h, w, c])?;
            noise = Some((
                Tensor::new([1, c, f, h, w], drawn)?,
                pass.decode_noise_scale,
            ));
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

/// A stage that decodes, as its own thread sees it.
pub(super) struct Decoder<'r> {
    runner: &'r Runner,
    job: &'r Job,
    news: &'r News<'r>,
    stage: &'r str,
    component: &'r str,
    /// How many there are.
    takes: usize,
    /// Whether what it makes is the plan's video.
    wanted: bool,
}

impl Decoder<'_> {
    /// Decodes take after take as their latents come; says how long loading took.
    pub fn run(&self, ready: &Receiver<Ready>, out: &Out) -> Result<Duration, RunError> {
        let (mut loading, mut kept) = (Duration::ZERO, None);
        while let Ok(Ready::Take(order)) = ready.recv() {
            let mut decoding = Decoding {
                decoder: self,
                ready,
                out,
                take: order.take,
                size: order.size,
                denoised: Vec::new(),
                mixed: Vec::new(),
                done: 0,
            };
            let pieces = self
                .runner
                .pieces_of(self.component, self.job, order.size)?;
            loading += match pieces {
                Some(most) => decoding.in_pieces(most, order.given)?,
                None => decoding.at_once(&mut kept, order.given)?,
            };
            decoding.finish()?;
        }
        Ok(loading)
    }

    fn load(&self) -> Result<(Arc<Component>, Duration), RunError> {
        let start = Instant::now();
        let component = self.runner.component(self.component)?;
        let elapsed = start.elapsed();
        (self.news)(Event::ComponentLoaded {
            stage: self.stage,
            component: self.component,
            elapsed,
        });
        Ok((component, elapsed))
    }
}

/// A take that is decoded: the latents that came, and how many frames left.
struct Decoding<'d> {
    decoder: &'d Decoder<'d>,
    ready: &'d Receiver<Ready>,
    out: &'d Out,
    take: usize,
    size: VideoSize,
    denoised: Vec<Tensor>,
    mixed: Vec<Tensor>,
    done: usize,
}

impl Decoding<'_> {
    /// The whole video in one call; the component is kept for the next take.
    fn at_once(
        &mut self,
        kept: &mut Option<Arc<Component>>,
        mut inputs: Tensors,
    ) -> Result<Duration, RunError> {
        let latents = self.latents(0, self.size.frames)?;
        inputs.insert("latents".to_owned(), latents);
        let (component, loading) = match kept.take() {
            Some(component) => (component, Duration::ZERO),
            None => self.decoder.load()?,
        };
        let video = self.decoder.job.geometry.compression.video_of(self.size);
        let shape = [1, 3, video.frames, video.height, video.width].map(Some);
        self.leave(&component.run_for(inputs, "video", &shape)?)?;
        *kept = Some(component);
        Ok(loading)
    }

    /// `most` latent frames at a time, each piece as soon as its latents are there.
    fn in_pieces(&mut self, most: usize, given: Tensors) -> Result<Duration, RunError> {
        let decoder = self.decoder;
        let stages = &decoder.runner.described(decoder.component)?.stream;
        let mut stream = Stream::new(decoder.runner, stages, given, most);
        for start in (0..self.size.frames).step_by(most) {
            let piece = self.latents(start, most.min(self.size.frames - start))?;
            let pushed = stream.push(piece, &mut |video| self.leave(&video));
            pushed.map_err(|error| self.placed(error))?;
        }
        let finished = stream.finish(&mut |video| self.leave(&video));
        finished.map_err(|error| self.placed(error))?;
        Ok(stream.loading)
    }

    /// Latent frames as they are decoded; waits until they have come.
    fn latents(&mut self, start: usize, count: usize) -> Result<Tensor, RunError> {
        while self.mixed.iter().map(frames_in).sum::<usize>() < start + count {
            let Pair { denoised, mixed } = queue::next_latents(self.ready)?;
            self.denoised.push(denoised);
            self.mixed.push(mixed);
        }
        let (mut pieces, mut before) = (Vec::new(), 0);
        for tensor in &self.mixed {
            let end = before + frames_in(tensor);
            let (from, to) = (start.max(before), end.min(start + count));
            if from < to {
                pieces.push(tensor.along(2, from - before, to - from)?);
            }
            before = end;
        }
        Ok(Tensor::joined(2, &pieces)?)
    }

    /// Hands decoded frames on.
    fn leave(&mut self, video: &Tensor) -> Result<(), RunError> {
        let (decoder, take) = (self.decoder, self.take);
        let total = decoder.job.geometry.asked.frames;
        let frames = frames_of(decoder.job, decoder.component, video, total - self.done)?;
        self.done += frames.frames;
        (decoder.news)(Event::FramesDecoded {
            stage: decoder.stage,
            frames: total * take + self.done,
            total: total * decoder.takes,
        });
        match decoder.wanted && frames.frames > 0 {
            true => self.out.frames(take, frames),
            false => Ok(()),
        }
    }

    fn finish(self) -> Result<(), RunError> {
        if !self.decoder.wanted {
            return Ok(());
        }
        let decoded = Decoded {
            latents: Tensor::joined(2, &self.denoised)?,
            decoder_latents: Tensor::joined(2, &self.mixed)?,
        };
        self.out.finished(self.take, decoded)
    }

    /// The error, with what was decoded before it.
    fn placed(&self, error: RunError) -> RunError {
        error.during(|| {
            let (stage, done) = (self.decoder.stage, self.done);
            format!("`{stage}`, after {done} decoded frames")
        })
    }
}

/// Frames of (1, C, F, H, W).
fn frames_in(tensor: &Tensor) -> usize {
    tensor.shape().get(2).copied().unwrap_or(0)
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

/// What is wanted of decoded frames, of which `most` were asked for.
fn frames_of(job: &Job, component: &str, video: &Tensor, most: usize) -> Result<Frames, RunError> {
    let (asked, found) = (job.geometry.asked, video.shape());
    let &[1, 3, frames, height, width] = found else {
        return Err(RunError::Output {
            component: component.to_owned(),
            output: "video".to_owned(),
            expected: "F32[1, 3, ?, ?, ?]".to_owned(),
            found: format!("{found:?}"),
        });
    };
    let size = VideoSize {
        frames,
        height,
        width,
    };
    let most = most.min(frames);
    Ok(Frames {
        video: job.geometry.crop(&video.to_f32()?, size, most),
        frames: most,
        height: asked.height,
        width: asked.width,
        fps: job.fps,
    })
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
