//! The stages of a plan in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ltxc_bundle::{Stage, StageOp};

use super::encode::Text;
use super::event::{Event, Listener, News, StageTime};
use super::latents::Latents;
use super::memory::Order;
use super::plan;
use super::runner::Runner;
use super::start::Start;
use super::state::State;
use super::video::{Finished, Gather, Generated, Sink};
use super::{Component, Job, RunError};
use crate::sampling::{FrameNoise, NoiseSource, Purpose};
use crate::tensor::Tensor;

/// Most values of one draw: more than ten times the latents of a minute in 4K.
const MOST_DRAWN: usize = 1 << 32;

/// Hears of intermediate tensors by name, such as `step00.latents_out`.
pub type Observer<'a> = &'a mut dyn FnMut(&str, &Tensor);

/// One of several videos of a run: they share everything but this.
pub struct Take<'n> {
    /// What it shows.
    pub prompt: String,
    /// Its random draws.
    pub noise: &'n mut dyn NoiseSource,
    /// How far its seed lies from the job's; seeds of cues move as far.
    pub shift: u64,
}

/// What a run does besides its videos.
#[derive(Default)]
pub struct Aside<'a> {
    /// Keeps what is finished, and has what was.
    pub state: Option<&'a State>,
    /// Takes small early versions of the first video.
    pub preview: Option<&'a mut dyn Sink>,
}

impl Runner {
    /// Runs the plan for one video. The draws of `noise` come in the order of the reference pipeline.
    pub fn generate<'r>(
        &'r self,
        job: &'r Job,
        noise: &'r mut dyn NoiseSource,
        events: &'r mut Listener<'r>,
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
        events: &'r mut Listener<'r>,
        mut observer: Option<Observer<'r>>,
    ) -> Result<Generated, RunError> {
        let take = Take {
            prompt: job.prompt.clone(),
            noise,
            shift: 0,
        };
        let mut made = None;
        let observer_of_run = observer
            .as_mut()
            .map(|observer| &mut **observer as Observer<'_>);
        let mut finished = |_, generated| {
            made = Some(generated);
            Ok(())
        };
        let mut sink = Gather::new(&mut finished);
        let aside = Aside::default();
        let stages = self.run_plan(job, vec![take], events, observer_of_run, &mut sink, aside)?;
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
        events: &'r mut Listener<'r>,
        finished: &mut Finished<'_>,
    ) -> Result<Vec<StageTime>, RunError> {
        let mut sink = Gather::new(finished);
        self.run_plan(job, takes, events, None, &mut sink, Aside::default())
    }

    /// As [`Self::generate_takes`], but frames are given to `sink` as they are decoded; no whole video is held.
    pub fn generate_into<'r>(
        &'r self,
        job: &'r Job,
        takes: Vec<Take<'r>>,
        events: &'r mut Listener<'r>,
        sink: &mut dyn Sink,
        aside: Aside<'_>,
    ) -> Result<Vec<StageTime>, RunError> {
        self.run_plan(job, takes, events, None, sink, aside)
    }

    fn run_plan<'r>(
        &'r self,
        job: &'r Job,
        takes: Vec<Take<'r>>,
        events: &'r mut Listener<'r>,
        observer: Option<Observer<'r>>,
        sink: &mut dyn Sink,
        aside: Aside<'_>,
    ) -> Result<Vec<StageTime>, RunError> {
        job.check_ready()?;
        let together = self.together().min(takes.len()).max(1);
        plan::check_sizes(&self.bundle.manifest, job, together)?;
        let order = self.order(job, takes.len())?;
        let events = Mutex::new(events);
        let news = |event: Event<'_>| tell(&events, event);
        let takes = takes.into_iter().map(TakeState::new).collect();
        let mut run = self.begin(job, takes, &news);
        run.observer = observer.map(|observer| observer as Observer<'_>);
        run.preview = aside.preview.map(|sink| sink as &mut dyn Sink);
        run.state = aside.state;
        let beside = order == Order::Beside && run.may_draw_ahead();
        let mut coming = self.bundle.manifest.plan.stages.as_slice();
        while let [stage, after @ ..] = coming {
            self.keep_for(job, coming);
            let last = after.split_first();
            let last =
                last.filter(|(last, _)| beside && last.name == self.bundle.manifest.plan.video);
            run.after = last.map_or(after, |(_, rest)| rest);
            match last {
                Some((last, _)) => run.denoise_and_decode([stage, last], sink)?,
                None => run.stage(stage, sink)?,
            }
            coming = run.after;
        }
        Ok(run.times)
    }
}

fn tell(events: &Mutex<&mut Listener<'_>>, event: Event<'_>) {
    let mut events = events.lock().unwrap_or_else(PoisonError::into_inner);
    (*events)(event);
}

impl Runner {
    /// Decodes latents, normalised (1, C, F, H, W), as the last stage of the plan does.
    pub fn decode_latents<'r>(
        &'r self,
        job: &'r Job,
        latents: Tensor,
        noise: &'r mut dyn NoiseSource,
        events: &'r mut Listener<'r>,
        sink: &mut dyn Sink,
    ) -> Result<Vec<StageTime>, RunError> {
        self.decode_pieces(job, latents.into(), noise, events, sink)
    }

    pub(super) fn decode_pieces<'r>(
        &'r self,
        job: &'r Job,
        latents: Latents,
        noise: &'r mut dyn NoiseSource,
        events: &'r mut Listener<'r>,
        sink: &mut dyn Sink,
    ) -> Result<Vec<StageTime>, RunError> {
        let plan = &self.bundle.manifest.plan;
        let last = plan.stages.iter().find(|stage| stage.name == plan.video);
        let last = last.ok_or_else(|| missing(&plan.video))?;
        let StageOp::DecodeVideo(op) = &last.op else {
            return Err(missing(&plan.video));
        };
        let prompt = String::new();
        let shift = 0;
        let mut take = TakeState::new(Take {
            prompt,
            noise,
            shift,
        });
        take.latents.insert(op.latents.clone(), latents);
        let events = Mutex::new(events);
        let news = |event: Event<'_>| tell(&events, event);
        let mut run = self.begin(job, vec![take], &news);
        run.stage(last, sink)?;
        Ok(run.times)
    }

    fn begin<'r, 'n>(
        &'r self,
        job: &'r Job,
        takes: Vec<TakeState<'n>>,
        news: &'r News<'r>,
    ) -> Run<'r, 'n> {
        Run {
            runner: self,
            job,
            takes,
            texts: BTreeMap::new(),
            after: &[],
            passes_done: 0,
            steps_done: 0,
            reused: 0,
            news,
            observer: None,
            state: None,
            preview: None,
            loading: Duration::ZERO,
            times: Vec::new(),
        }
    }
}

/// A take at work: results by the name of their stage.
pub(super) struct TakeState<'n> {
    pub prompt: String,
    pub noise: &'n mut dyn NoiseSource,
    pub shift: u64,
    /// The noise of the pass at work, where `noise` is ahead of it.
    pub own: Option<Box<dyn NoiseSource>>,
    pub starts: BTreeMap<String, Start>,
    pub latents: BTreeMap<String, Latents>,
    /// How many media were encoded.
    pub encoded: usize,
}

impl<'n> TakeState<'n> {
    fn new(take: Take<'n>) -> Self {
        Self {
            prompt: take.prompt,
            noise: take.noise,
            shift: take.shift,
            own: None,
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
    /// The stages after those at work.
    after: &'r [Stage],
    pub passes_done: usize,
    pub steps_done: usize,
    /// Steps of the stage at work that used work of an earlier one again.
    pub reused: usize,
    pub news: &'r News<'r>,
    observer: Option<Observer<'r>>,
    pub state: Option<&'r State>,
    pub preview: Option<&'r mut dyn Sink>,
    pub loading: Duration,
    times: Vec<StageTime>,
}

/// A stage that has begun.
pub(super) struct Clock {
    steps: usize,
    start: Instant,
}

impl Run<'_, '_> {
    fn stage(&mut self, stage: &Stage, sink: &mut dyn Sink) -> Result<(), RunError> {
        let (name, clock) = (stage.name.as_str(), self.begin_stage(stage)?);
        match &stage.op {
            StageOp::EncodeText(op) => self.encode_text(name, op)?,
            StageOp::PrepareLatents(op) => self.prepare(name, op)?,
            StageOp::Denoise(op) => self.denoise(name, op, None)?,
            StageOp::UpscaleLatents(op) => self.upscale(name, op)?,
            StageOp::DecodeVideo(op) => self.decode_all(name, op, sink)?,
        }
        self.end_stage(stage, &clock);
        Ok(())
    }

    pub(super) fn begin_stage(&mut self, stage: &Stage) -> Result<Clock, RunError> {
        let steps = self.steps_of(&stage.op)?;
        self.loading = Duration::ZERO;
        self.tell(Event::StageStarted {
            stage: &stage.name,
            component: plan::component(&stage.op),
            steps,
        });
        let start = Instant::now();
        Ok(Clock { steps, start })
    }

    pub(super) fn end_stage(&mut self, stage: &Stage, clock: &Clock) {
        let elapsed = clock.start.elapsed();
        self.tell(Event::StageFinished {
            stage: &stage.name,
            elapsed,
        });
        self.times.push(StageTime {
            stage: stage.name.clone(),
            component: plan::component(&stage.op).to_owned(),
            steps: clock.steps,
            reused: std::mem::take(&mut self.reused),
            load_seconds: self.loading.as_secs_f64(),
            run_seconds: elapsed.saturating_sub(self.loading).as_secs_f64(),
        });
    }

    /// Whether the decoder's noise can be drawn before denoising ends, and nobody looks at the tensors in their order.
    fn may_draw_ahead(&self) -> bool {
        let last = self.job.passes.last();
        let draws = last.is_some_and(|pass| pass.draws());
        let mut noises = self.takes.iter().map(|take| &take.noise);
        self.observer.is_none() && (!draws || noises.all(|noise| noise.copy().is_some()))
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

    pub(super) fn tell(&self, event: Event<'_>) {
        (self.news)(event);
    }

    /// The next draw of a take.
    pub(super) fn draw(
        &mut self,
        take: usize,
        purpose: Purpose,
        shape: &[usize],
    ) -> Result<Vec<f32>, RunError> {
        Ok(self.drawn_by(take, purpose, shape)?.draw(purpose, shape)?)
    }

    /// The next draw of a take for the latents of a video, [1, F, H, W, C], to be had some frames at a time.
    pub(super) fn draw_frames(
        &mut self,
        take: usize,
        purpose: Purpose,
        shape: &[usize],
    ) -> Result<FrameNoise, RunError> {
        let source = self.drawn_by(take, purpose, shape)?;
        Ok(source.draw_frames(purpose, shape)?)
    }

    /// What makes the next draw of a take.
    fn drawn_by(
        &mut self,
        take: usize,
        purpose: Purpose,
        shape: &[usize],
    ) -> Result<&mut dyn NoiseSource, RunError> {
        let count = shape
            .iter()
            .try_fold(1_usize, |n, size| n.checked_mul(*size));
        if count.is_none_or(|count| count > MOST_DRAWN) {
            let why = format!("{purpose} noise of {shape:?} is more than {MOST_DRAWN} values");
            return Err(RunError::Manifest(why));
        }
        let take = &mut self.takes[take];
        Ok(match &mut take.own {
            Some(own) => own.as_mut(),
            None => &mut *take.noise,
        })
    }

    /// The latents of a stage, which are let go here if no later stage reads them.
    pub(super) fn latents_of(&mut self, take: usize, stage: &str) -> Result<Latents, RunError> {
        let later = self.reads_later(stage);
        let latents = &mut self.takes[take].latents;
        let found = match later {
            true => latents.get(stage).cloned(),
            false => latents.remove(stage),
        };
        found.ok_or_else(|| missing(stage))
    }

    /// Whether a stage after those at work reads these latents.
    pub(super) fn reads_later(&self, latents: &str) -> bool {
        self.after.iter().any(|stage| match &stage.op {
            StageOp::EncodeText(_) | StageOp::Denoise(_) => false,
            StageOp::PrepareLatents(op) => op.latents.as_deref() == Some(latents),
            StageOp::UpscaleLatents(op) => op.latents == latents,
            StageOp::DecodeVideo(op) => op.latents == latents,
        })
    }

    /// Whether somebody looks at the tensors of a take.
    pub(super) fn is_observed(&self, take: usize) -> bool {
        self.observer.is_some() && take == 0
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
