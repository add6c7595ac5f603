//! The stages of a plan in order.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ltxc_bundle::{Stage, StageOp};

use super::event::{Event, StageTime};
use super::plan;
use super::runner::Runner;
use super::{Component, Job, RunError};
use crate::media::{Crop, to_rgb8};
use crate::sampling::NoiseSource;
use crate::tensor::Tensor;

/// Hears of intermediate tensors by name, such as `step00.latents_out`.
pub type Observer<'a> = &'a mut dyn FnMut(&str, &Tensor);

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
    /// How long the stages took, in order.
    pub stages: Vec<StageTime>,
}

impl Generated {
    /// A frame, from 0 to `frames - 1`, as RGB bytes; indexing fails otherwise.
    pub fn rgb8(&self, frame: usize) -> Vec<u8> {
        let whole = Crop {
            top: 0,
            left: 0,
            height: self.height,
            width: self.width,
        };
        to_rgb8(
            &self.video,
            self.frames,
            self.height,
            self.width,
            frame,
            whole,
        )
    }
}

impl Runner {
    /// Runs the plan. The draws of `noise` come in the order of the reference pipeline.
    pub fn generate(
        &self,
        job: &Job,
        noise: &mut dyn NoiseSource,
        events: &mut dyn FnMut(Event<'_>),
    ) -> Result<Generated, RunError> {
        self.generate_observed(job, noise, events, None)
    }

    /// Runs the plan and shows intermediate tensors: `init_latents`, `coords`, and for each step from `step00`
    /// on `.dit_velocity`, `.guided_velocity`, `.latents_out`; `decode.latents_in` and `video` at last.
    pub fn generate_observed<'r>(
        &'r self,
        job: &'r Job,
        noise: &'r mut dyn NoiseSource,
        events: &'r mut dyn FnMut(Event<'_>),
        observer: Option<Observer<'r>>,
    ) -> Result<Generated, RunError> {
        let mut run = Run {
            runner: self,
            job,
            noise,
            events,
            observer,
            texts: BTreeMap::new(),
            latents: BTreeMap::new(),
            videos: BTreeMap::new(),
            times: Vec::new(),
        };
        for stage in &self.bundle.manifest.plan.stages {
            run.stage(stage)?;
        }
        run.finish()
    }
}

/// Hidden states of the rows of a batch, and the mask of their tokens.
pub(super) struct Text {
    pub hidden: Tensor,
    pub mask: Tensor,
}

/// A decoded video and the latents it came from.
pub(super) struct Decoded {
    pub video: Vec<f32>,
    pub latents: Tensor,
    pub mixed: Tensor,
}

/// A plan at work: results by the name of their stage.
pub(super) struct Run<'r> {
    pub runner: &'r Runner,
    pub job: &'r Job,
    pub noise: &'r mut dyn NoiseSource,
    events: &'r mut dyn FnMut(Event<'_>),
    observer: Option<Observer<'r>>,
    pub texts: BTreeMap<String, Rc<Text>>,
    pub latents: BTreeMap<String, Tensor>,
    videos: BTreeMap<String, Decoded>,
    times: Vec<StageTime>,
}

impl Run<'_> {
    fn stage(&mut self, stage: &Stage) -> Result<(), RunError> {
        let (name, component) = (stage.name.as_str(), plan::component(&stage.op));
        let steps = match stage.op {
            StageOp::Denoise(_) => self.job.timesteps.len(),
            StageOp::EncodeText(_) | StageOp::DecodeVideo(_) => 0,
        };
        let start = Instant::now();
        self.tell(Event::StageStarted {
            stage: name,
            component,
            steps,
        });
        let ready = self.runner.component(component)?;
        let load = start.elapsed();
        self.tell(Event::ComponentLoaded {
            stage: name,
            component,
            elapsed: load,
        });
        self.execute(stage, &ready)?;
        let elapsed = start.elapsed();
        self.tell(Event::StageFinished {
            stage: name,
            elapsed,
        });
        self.times
            .push(stage_time(name, component, steps, load, elapsed));
        Ok(())
    }

    fn execute(&mut self, stage: &Stage, component: &Component) -> Result<(), RunError> {
        let name = stage.name.clone();
        match &stage.op {
            StageOp::EncodeText(_) => {
                let text = self.encode_text(component)?;
                self.texts.insert(name, Rc::new(text));
            }
            StageOp::Denoise(op) => {
                let latents = self.denoise(&name, op, component)?;
                self.latents.insert(name, latents);
            }
            StageOp::DecodeVideo(op) => {
                let decoded = self.decode(&name, op, component)?;
                self.videos.insert(name, decoded);
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Generated, RunError> {
        let asked = self.job.geometry.asked;
        let name = &self.runner.bundle.manifest.plan.video;
        let decoded = self.videos.remove(name).ok_or_else(|| missing(name))?;
        Ok(Generated {
            video: decoded.video,
            frames: asked.frames,
            height: asked.height,
            width: asked.width,
            fps: self.job.fps,
            latents: decoded.latents,
            decoder_latents: decoded.mixed,
            stages: self.times,
        })
    }

    pub(super) fn tell(&mut self, event: Event<'_>) {
        (self.events)(event);
    }

    /// Copies the values only if somebody looks.
    pub(super) fn observe(
        &mut self,
        name: &str,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), RunError> {
        if let Some(observer) = &mut self.observer {
            observer(name, &Tensor::new(shape, values.to_vec())?);
        }
        Ok(())
    }
}

/// A result that a checked plan always has.
pub(super) fn missing(name: &str) -> RunError {
    RunError::Manifest(format!("the result `{name}` is missing"))
}

fn stage_time(
    stage: &str,
    component: &str,
    steps: usize,
    load: Duration,
    elapsed: Duration,
) -> StageTime {
    StageTime {
        stage: stage.to_owned(),
        component: component.to_owned(),
        steps,
        load_seconds: load.as_secs_f64(),
        run_seconds: (elapsed - load).as_secs_f64(),
    }
}
