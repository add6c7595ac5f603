//! The stages of a plan in order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ltxc_bundle::{Stage, StageOp};

use super::decode::{Sink, Stop};
use super::encode::Text;
use super::event::{Event, StageTime};
use super::geometry::VideoSize;
use super::plan;
use super::prepare::Start;
use super::runner::Runner;
use super::{Component, Job, RunError};
use crate::media::{Crop, to_rgb8};
use crate::sampling::{NoiseSource, Purpose};
use crate::tensor::Tensor;

/// Most values of one draw: more than ten times the latents of a minute in 4K.
const MOST_DRAWN: usize = 1 << 32;

/// Hears of intermediate tensors by name, such as `step00.latents_out`.
pub type Observer<'a> = &'a mut dyn FnMut(&str, &Tensor);

/// Some frames of a video, in a row.
#[derive(Clone, Debug)]
pub struct Frames {
    /// (3, frames, height, width) in 0..1, without padding.
    pub video: Vec<f32>,
    /// Frames.
    pub frames: usize,
    /// Pixel rows.
    pub height: usize,
    /// Pixel columns.
    pub width: usize,
    /// Frames per second.
    pub fps: f64,
}

impl Frames {
    /// A frame, from 0 to `frames - 1`, as RGB bytes; indexing fails otherwise.
    pub fn rgb8(&self, frame: usize) -> Vec<u8> {
        rgb8(&self.video, self.frames, self.height, self.width, frame)
    }
}

/// What a video was decoded from.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The denoised latents, normalised, (1, C, F, H, W).
    pub latents: Tensor,
    /// The same after decode noise was mixed in, which is what was decoded.
    pub decoder_latents: Tensor,
}

/// A finished video.
#[derive(Clone, Debug)]
pub struct Generated {
    /// (3, frames, height, width) in 0..1, without padding.
    pub video: Vec<f32>,
    /// Frames.
    pub frames: usize,
    /// Pixel rows.
    pub height: usize,
    /// Pixel columns.
    pub width: usize,
    /// Frames per second.
    pub fps: f64,
    /// The denoised latents, normalised, (1, C, F, H, W).
    pub latents: Tensor,
    /// The same after decode noise was mixed in, which is what was decoded.
    pub decoder_latents: Tensor,
    /// How long the stages took, in order; empty for one of several takes.
    pub stages: Vec<StageTime>,
}

impl Generated {
    /// A frame, from 0 to `frames - 1`, as RGB bytes; indexing fails otherwise.
    pub fn rgb8(&self, frame: usize) -> Vec<u8> {
        rgb8(&self.video, self.frames, self.height, self.width, frame)
    }
}

fn rgb8(video: &[f32], frames: usize, height: usize, width: usize, frame: usize) -> Vec<u8> {
    let whole = Crop {
        top: 0,
        left: 0,
        height,
        width,
    };
    to_rgb8(video, frames, height, width, frame, whole)
}

/// Takes a finished video by the number of its take; an error ends the run.
pub type Finished<'a> = dyn FnMut(usize, Generated) -> Result<(), Stop> + 'a;

/// Keeps the frames of a take until all are there.
struct Gather<'f, 'a> {
    finished: &'f mut Finished<'a>,
    pieces: Vec<Frames>,
}

impl Sink for Gather<'_, '_> {
    fn frames(&mut self, _: usize, frames: Frames) -> Result<(), Stop> {
        self.pieces.push(frames);
        Ok(())
    }

    fn finished(&mut self, take: usize, decoded: Decoded) -> Result<(), Stop> {
        let pieces = std::mem::take(&mut self.pieces);
        match joined(pieces) {
            Some(frames) => (self.finished)(take, generated(frames, decoded)),
            None => Err(missing("video").into()),
        }
    }
}

fn joined(mut pieces: Vec<Frames>) -> Option<Frames> {
    if pieces.len() == 1 {
        return pieces.pop();
    }
    let count = pieces.iter().map(|piece| piece.frames).sum();
    let mut video = Vec::with_capacity(pieces.iter().map(|piece| piece.video.len()).sum());
    for channel in 0..3 {
        for piece in &pieces {
            let plane = piece.video.len() / 3;
            video.extend_from_slice(&piece.video[channel * plane..][..plane]);
        }
    }
    let frames = count;
    Some(Frames {
        video,
        frames,
        ..pieces.pop()?
    })
}

fn generated(frames: Frames, decoded: Decoded) -> Generated {
    Generated {
        video: frames.video,
        frames: frames.frames,
        height: frames.height,
        width: frames.width,
        fps: frames.fps,
        latents: decoded.latents,
        decoder_latents: decoded.decoder_latents,
        stages: Vec::new(),
    }
}

/// One of several videos of a run: they share everything but this.
pub struct Take<'n> {
    /// What it shows.
    pub prompt: String,
    /// Its random draws.
    pub noise: &'n mut dyn NoiseSource,
}

impl Runner {
    /// Runs the plan for one video. The draws of `noise` come in the order of the reference pipeline.
    pub fn generate<'r>(
        &'r self,
        job: &'r Job,
        noise: &'r mut dyn NoiseSource,
        events: &'r mut dyn FnMut(Event<'_>),
    ) -> Result<Generated, RunError> {
        self.generate_observed(job, noise, events, None)
    }

    /// Runs the plan for one video and shows intermediate tensors: for each pass from `pass0` on `.init_latents`,
    /// `.pixel_coords`, `.cond_tokens`, `.cond_mask`; `vae_encode0.latents` and further; for each step from `step00`
    /// on `.dit_velocity`, `.guided_velocity`, `.latents_out`; `upsample.out`; `decode.latents_in` and `video` at last.
    pub fn generate_observed<'r>(
        &'r self,
        job: &'r Job,
        noise: &'r mut dyn NoiseSource,
        events: &'r mut dyn FnMut(Event<'_>),
        mut observer: Option<Observer<'r>>,
    ) -> Result<Generated, RunError> {
        let take = Take {
            prompt: job.prompt.clone(),
            noise,
        };
        let mut made = None;
        let observer_of_run = observer
            .as_mut()
            .map(|observer| &mut **observer as Observer<'_>);
        let mut sink = Gather {
            finished: &mut |_, generated| {
                made = Some(generated);
                Ok(())
            },
            pieces: Vec::new(),
        };
        let stages = self.run_plan(job, vec![take], events, observer_of_run, &mut sink)?;
        let made = made.ok_or_else(|| missing(&self.bundle.manifest.plan.video))?;
        if let Some(observer) = observer {
            let shape = [3, made.frames, made.height, made.width];
            observer("video", &Tensor::new(shape, made.video.clone())?);
        }
        Ok(Generated { stages, ..made })
    }

    /// Runs the plan for several videos, every stage for all of them before the next; each equals what it would be
    /// alone. `finished` gets every video as soon as it is decoded.
    pub fn generate_takes<'r>(
        &'r self,
        job: &'r Job,
        takes: Vec<Take<'r>>,
        events: &'r mut dyn FnMut(Event<'_>),
        finished: &mut Finished<'_>,
    ) -> Result<Vec<StageTime>, RunError> {
        let mut sink = Gather {
            finished,
            pieces: Vec::new(),
        };
        self.run_plan(job, takes, events, None, &mut sink)
    }

    /// As [`Self::generate_takes`], but frames are given to `sink` as they are decoded; no whole video is held.
    pub fn generate_into<'r>(
        &'r self,
        job: &'r Job,
        takes: Vec<Take<'r>>,
        events: &'r mut dyn FnMut(Event<'_>),
        sink: &mut dyn Sink,
    ) -> Result<Vec<StageTime>, RunError> {
        self.run_plan(job, takes, events, None, sink)
    }

    fn run_plan<'r>(
        &'r self,
        job: &'r Job,
        takes: Vec<Take<'r>>,
        events: &'r mut dyn FnMut(Event<'_>),
        observer: Option<Observer<'r>>,
        sink: &mut dyn Sink,
    ) -> Result<Vec<StageTime>, RunError> {
        job.check_ready()?;
        let together = self.together().min(takes.len()).max(1);
        plan::check_sizes(&self.bundle.manifest, job, together)?;
        let takes = takes.into_iter().map(TakeState::new).collect();
        let mut run = self.begin(job, takes, events, observer);
        for stage in &self.bundle.manifest.plan.stages {
            run.stage(stage, sink)?;
        }
        Ok(run.times)
    }
}

impl Runner {
    /// Decodes latents, normalised (1, C, F, H, W), as the last stage of the plan does.
    pub fn decode_latents<'r>(
        &'r self,
        job: &'r Job,
        latents: Tensor,
        noise: &'r mut dyn NoiseSource,
        events: &'r mut dyn FnMut(Event<'_>),
        sink: &mut dyn Sink,
    ) -> Result<Vec<StageTime>, RunError> {
        let plan = &self.bundle.manifest.plan;
        let last = plan.stages.iter().find(|stage| stage.name == plan.video);
        let last = last.ok_or_else(|| missing(&plan.video))?;
        let StageOp::DecodeVideo(op) = &last.op else {
            return Err(missing(&plan.video));
        };
        let prompt = String::new();
        let mut take = TakeState::new(Take { prompt, noise });
        take.latents.insert(op.latents.clone(), latents);
        let mut run = self.begin(job, vec![take], events, None);
        run.stage(last, sink)?;
        Ok(run.times)
    }

    fn begin<'r, 'n>(
        &'r self,
        job: &'r Job,
        takes: Vec<TakeState<'n>>,
        events: &'r mut dyn FnMut(Event<'_>),
        observer: Option<Observer<'r>>,
    ) -> Run<'r, 'n> {
        Run {
            runner: self,
            job,
            takes,
            texts: BTreeMap::new(),
            passes_done: 0,
            steps_done: 0,
            reused: 0,
            events,
            observer,
            loading: Duration::ZERO,
            times: Vec::new(),
        }
    }
}

/// A take at work: results by the name of their stage.
pub(super) struct TakeState<'n> {
    pub prompt: String,
    noise: &'n mut dyn NoiseSource,
    pub starts: BTreeMap<String, Start>,
    pub latents: BTreeMap<String, Tensor>,
    /// How many media were encoded.
    pub encoded: usize,
}

impl<'n> TakeState<'n> {
    fn new(take: Take<'n>) -> Self {
        Self {
            prompt: take.prompt,
            noise: take.noise,
            starts: BTreeMap::new(),
            latents: BTreeMap::new(),
            encoded: 0,
        }
    }
}

/// A plan at work.
pub(super) struct Run<'r, 'n> {
    pub runner: &'r Runner,
    pub job: &'r Job,
    pub takes: Vec<TakeState<'n>>,
    /// Encoded prompts, by stage and text.
    pub texts: BTreeMap<String, BTreeMap<String, Arc<Text>>>,
    pub passes_done: usize,
    pub steps_done: usize,
    /// Steps of the stage at work that used work of an earlier one again.
    pub reused: usize,
    events: &'r mut dyn FnMut(Event<'_>),
    observer: Option<Observer<'r>>,
    pub loading: Duration,
    times: Vec<StageTime>,
}

impl Run<'_, '_> {
    fn stage(&mut self, stage: &Stage, sink: &mut dyn Sink) -> Result<(), RunError> {
        let (name, component) = (stage.name.as_str(), plan::component(&stage.op));
        let steps = self.steps_of(&stage.op)?;
        let start = Instant::now();
        self.loading = Duration::ZERO;
        self.tell(Event::StageStarted {
            stage: name,
            component,
            steps,
        });
        match &stage.op {
            StageOp::EncodeText(op) => self.encode_text(name, op)?,
            StageOp::PrepareLatents(op) => self.prepare(name, op)?,
            StageOp::Denoise(op) => self.denoise(name, op)?,
            StageOp::UpscaleLatents(op) => self.upscale(name, op)?,
            StageOp::DecodeVideo(op) => self.decode_all(name, op, sink)?,
        }
        let elapsed = start.elapsed();
        self.tell(Event::StageFinished {
            stage: name,
            elapsed,
        });
        self.times.push(StageTime {
            stage: name.to_owned(),
            component: component.to_owned(),
            steps,
            reused: std::mem::take(&mut self.reused),
            load_seconds: self.loading.as_secs_f64(),
            run_seconds: elapsed.saturating_sub(self.loading).as_secs_f64(),
        });
        Ok(())
    }

    fn steps_of(&self, op: &StageOp) -> Result<usize, RunError> {
        let StageOp::Denoise(op) = op else {
            return Ok(0);
        };
        let groups = self.takes.len().div_ceil(self.takes_at_once(op)?);
        let pass = self.job.pass(&op.start)?;
        Ok(groups * pass.windows() * pass.timesteps.len())
    }

    /// A component, and word of it.
    pub(super) fn load(
        &mut self,
        stage: &str,
        component: &str,
    ) -> Result<Arc<Component>, RunError> {
        let start = Instant::now();
        let ready = self.runner.component(component)?;
        let elapsed = start.elapsed();
        self.loading += elapsed;
        self.tell(Event::ComponentLoaded {
            stage,
            component,
            elapsed,
        });
        Ok(ready)
    }

    pub(super) fn tell(&mut self, event: Event<'_>) {
        (self.events)(event);
    }

    /// The next draw of a take.
    pub(super) fn draw(
        &mut self,
        take: usize,
        purpose: Purpose,
        shape: &[usize],
    ) -> Result<Vec<f32>, RunError> {
        let count = shape
            .iter()
            .try_fold(1_usize, |n, size| n.checked_mul(*size));
        if count.is_none_or(|count| count > MOST_DRAWN) {
            let why = format!("{purpose} noise of {shape:?} is more than {MOST_DRAWN} values");
            return Err(RunError::Manifest(why));
        }
        Ok(self.takes[take].noise.draw(purpose, shape)?)
    }

    /// Latent frames, rows and columns of (1, C, F, H, W).
    pub(super) fn size_of(&self, latents: &Tensor) -> Result<VideoSize, RunError> {
        match *latents.shape() {
            [1, _, frames, height, width] => Ok(VideoSize {
                frames,
                height,
                width,
            }),
            _ => Err(missing("latents")),
        }
    }

    /// Copies the values only if somebody looks, and only those of the first take.
    pub(super) fn observe(
        &mut self,
        take: usize,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), RunError> {
        if let Some(observer) = self.observer.as_mut().filter(|_| take == 0) {
            observer(name, &Tensor::new(shape, values.to_vec())?);
        }
        Ok(())
    }
}

/// A result that a checked plan always has.
pub(super) fn missing(name: &str) -> RunError {
    RunError::Manifest(format!("the result `{name}` is missing"))
}
