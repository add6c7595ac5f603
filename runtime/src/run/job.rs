//! The settings of a run, checked as a whole before anything is loaded.

use std::ops::RangeInclusive;

use ltxc_bundle::{Manifest, ModelFacts, Settings};

use super::RunError;
use super::geometry::{Geometry, VideoSize};
use super::plan;
use crate::sampling::schedule::{check_allowed, custom_timesteps, skip_steps};
use crate::sampling::{Guidance, NoiseLayout, Row, Schedule, SchedulerConfig, Seeded};

/// The defaults of the reference program, used where neither caller nor preset say anything.
const SIZE: VideoSize = VideoSize {
    frames: 121,
    height: 704,
    width: 1216,
};
const FPS: f64 = 30.0;
const STEPS: usize = 40;
const MAX_TOKENS: usize = 256;
const DECODE_TIMESTEP: f32 = 0.05;
const DECODE_NOISE_SCALE: f32 = 0.025;

/// Rates that a video file can have.
const FPS_RANGE: RangeInclusive<f64> = 0.01..=1000.0;

/// The number of steps that checkpoints were trained with; the reference takes no more.
const MAX_STEPS: usize = 1000;

/// A run that a bundle can do: every number is in its range and every component takes the sizes.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    pub(super) max_tokens: usize,
    pub(super) geometry: Geometry,
    pub(super) channels: usize,
    pub(super) fps: f64,
    pub(super) timesteps: Vec<f32>,
    pub(super) guidance: Guidance,
    pub(super) stochastic: bool,
    pub(super) decode_timestep: f32,
    pub(super) decode_noise_scale: f32,
    seed: u64,
    layout: NoiseLayout,
}

impl Job {
    /// Joins `settings` with the bundle's defaults and checks them.
    ///
    /// Hand-written timesteps are used as given: steps, skipped steps and the checkpoint's shift are then ignored, as
    /// in the reference.
    pub fn new(manifest: &Manifest, settings: Settings) -> Result<Self, RunError> {
        plan::check(manifest)?;
        let settings = settings.or(&manifest.defaults);
        let asked = VideoSize {
            frames: settings.frames.unwrap_or(SIZE.frames),
            height: settings.height.unwrap_or(SIZE.height),
            width: settings.width.unwrap_or(SIZE.width),
        };
        let geometry = Geometry::new(&manifest.model, asked)?;
        let job = Self {
            prompt: prompt(manifest, &settings)?,
            negative_prompt: settings.negative_prompt.clone().unwrap_or_default(),
            max_tokens: positive("max_tokens", settings.max_tokens.unwrap_or(MAX_TOKENS))?,
            geometry,
            channels: manifest.model.latent_channels,
            fps: fps(&settings)?,
            timesteps: timesteps(&manifest.model, &settings, geometry.latents.count())?,
            guidance: guidance(&settings)?,
            stochastic: settings.stochastic_sampling.unwrap_or(false),
            decode_timestep: share("decode_timestep", settings.decode_timestep, DECODE_TIMESTEP)?,
            decode_noise_scale: share(
                "decode_noise_scale",
                settings.decode_noise_scale,
                DECODE_NOISE_SCALE,
            )?,
            seed: settings.seed.unwrap_or(0),
            layout: layout(&settings)?,
        };
        plan::check_sizes(manifest, &job)?;
        Ok(job)
    }

    /// The sizes in pixels and latents.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The noise levels of the steps, falling; the last step goes to zero.
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    /// Frames per second.
    pub fn fps(&self) -> f64 {
        self.fps
    }

    /// The seed, 0 where none was set.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The noise that the seed stands for, from the start.
    pub fn noise(&self) -> Seeded {
        Seeded::new(self.layout, self.seed, self.seed)
    }

    /// The rows of the network's batch, in order.
    pub(super) fn rows(&self) -> Vec<Row> {
        self.guidance.rows()
    }

    /// (B, F, H, W, C) of the latents, the shape that noise is asked for in.
    pub(super) fn token_shape(&self) -> [usize; 5] {
        let VideoSize {
            frames,
            height,
            width,
        } = self.geometry.latents;
        [1, frames, height, width, self.channels]
    }

    /// (B, C, F, H, W) of the latents.
    pub(super) fn latent_shape(&self) -> [usize; 5] {
        let VideoSize {
            frames,
            height,
            width,
        } = self.geometry.latents;
        [1, self.channels, frames, height, width]
    }
}

fn wrong(name: &'static str, found: impl ToString, help: impl Into<String>) -> RunError {
    RunError::Setting {
        name,
        found: found.to_string(),
        help: help.into(),
    }
}

fn prompt(manifest: &Manifest, settings: &Settings) -> Result<String, RunError> {
    match &settings.prompt {
        Some(prompt) => Ok(prompt.clone()),
        None if plan::encodes_text(manifest) => {
            Err(wrong("prompt", "not set", "say what the video should show"))
        }
        None => Ok(String::new()),
    }
}

fn positive(name: &'static str, found: usize) -> Result<usize, RunError> {
    match found {
        0 => Err(wrong(name, found, "give a number from 1")),
        found => Ok(found),
    }
}

fn fps(settings: &Settings) -> Result<f64, RunError> {
    let fps = settings.fps.unwrap_or(FPS);
    if FPS_RANGE.contains(&fps) {
        return Ok(fps);
    }
    Err(wrong("fps", fps, "give a number from 0.01 to 1000"))
}

fn share(name: &'static str, found: Option<f32>, default: f32) -> Result<f32, RunError> {
    let found = found.unwrap_or(default);
    if (0.0..=1.0).contains(&found) {
        return Ok(found);
    }
    Err(wrong(name, found, "give a number from 0 to 1"))
}

fn guidance(settings: &Settings) -> Result<Guidance, RunError> {
    let guidance_scale = settings.guidance_scale.unwrap_or(1.0);
    if !guidance_scale.is_finite() {
        return Err(wrong(
            "guidance_scale",
            guidance_scale,
            "give a number; 1 is off",
        ));
    }
    Ok(Guidance {
        guidance_scale,
        stg_scale: 0.0,
        rescaling_scale: 1.0,
        cfg_star: settings.cfg_star_rescale.unwrap_or(false),
    })
}

fn layout(settings: &Settings) -> Result<NoiseLayout, RunError> {
    match &settings.noise {
        Some(name) => Ok(name.parse()?),
        None => Ok(NoiseLayout::default()),
    }
}

fn timesteps(model: &ModelFacts, settings: &Settings, tokens: usize) -> Result<Vec<f32>, RunError> {
    let timesteps = match &settings.timesteps {
        Some(values) => custom_timesteps(values)?,
        None => scheduled(model, settings, tokens)?,
    };
    if let Some(allowed) = &model.allowed_inference_steps {
        check_allowed(&timesteps, allowed)?;
    }
    Ok(timesteps)
}

fn scheduled(model: &ModelFacts, settings: &Settings, tokens: usize) -> Result<Vec<f32>, RunError> {
    let steps = settings.steps.unwrap_or(STEPS);
    if steps > MAX_STEPS {
        return Err(wrong(
            "steps",
            steps,
            format!("give a number from 1 to {MAX_STEPS}"),
        ));
    }
    let config: SchedulerConfig = serde_json::from_value(model.scheduler.clone())
        .map_err(|error| RunError::Manifest(format!("its scheduler is not known: {error}")))?;
    let all = Schedule::new(&config)?.timesteps(steps, tokens)?;
    let first = settings.skip_initial_inference_steps.unwrap_or(0);
    let last = settings.skip_final_inference_steps.unwrap_or(0);
    Ok(skip_steps(&all, first, last)?)
}
