//! The settings of a run, checked as a whole before anything is loaded.

use std::ops::RangeInclusive;

use ltxc_bundle::{Manifest, Pass, Settings, StageOp};

use super::RunError;
use super::condition::{Condition, Media, Place, check_input};
use super::cue::Cue;
use super::geometry::{Geometry, VideoSize};
use super::passes::{PassJob, passes};
use super::plan::{self, Call};
use super::window::segments;
use crate::sampling::{NoiseLayout, Seeded};

/// The defaults of the reference program, used where neither caller nor preset say anything.
const SIZE: VideoSize = VideoSize {
    frames: 121,
    height: 704,
    width: 1216,
};
const FPS: f64 = 30.0;
const MAX_TOKENS: usize = 256;

/// Rates that a video file can have.
const FPS_RANGE: RangeInclusive<f64> = 0.01..=1000.0;

/// What a section of the settings for one pass cannot change.
const WHOLE_RUN: [&str; 14] = [
    "prompt",
    "negative_prompt",
    "seed",
    "height",
    "width",
    "frames",
    "fps",
    "posterior",
    "downscale_factor",
    "adain_factor",
    "max_tokens",
    "noise",
    "first_pass",
    "second_pass",
];

/// A run that a bundle can do: every number is in its range and every component takes the sizes.
#[derive(Clone, Debug)]
pub struct Job {
    pub(super) prompt: String,
    pub(super) negative_prompt: String,
    pub(super) max_tokens: usize,
    pub(super) geometry: Geometry,
    pub(super) channels: usize,
    pub(super) fps: f64,
    pub(super) passes: Vec<PassJob>,
    pub(super) conditions: Vec<Condition>,
    pub(super) input: Option<Media>,
    /// What the windows show, where prompts do not say it.
    pub(super) cues: Vec<Cue>,
    pub(super) posterior_mean: bool,
    pub(super) adain_factor: f32,
    skipped_start: bool,
    seed: u64,
    pub(super) layout: NoiseLayout,
}

impl Job {
    /// Joins `settings` with the bundle's defaults and checks them.
    ///
    /// Hand-written timesteps are used as given: steps, skipped steps and the checkpoint's shift are then ignored, as
    /// in the reference.
    pub fn new(manifest: &Manifest, settings: Settings) -> Result<Self, RunError> {
        plan::check(manifest)?;
        let job = Self::of_any_plan(manifest, settings)?;
        plan::check_sizes(manifest, &job, 1)?;
        Ok(job)
    }

    /// The calls that a run without conditions makes, in order. The manifest need not be whole: calls of components
    /// that it lacks are left out.
    pub fn calls(manifest: &Manifest, settings: Settings) -> Result<Vec<Call>, RunError> {
        let job = Self::of_any_plan(manifest, settings)?;
        plan::sized_calls(manifest, &job, 1)
    }

    fn of_any_plan(manifest: &Manifest, settings: Settings) -> Result<Self, RunError> {
        check_sections(manifest, &settings)?;
        let whole = settings.of(None).or(&manifest.defaults.of(None));
        let asked = VideoSize {
            frames: whole.frames.unwrap_or(SIZE.frames),
            height: whole.height.unwrap_or(SIZE.height),
            width: whole.width.unwrap_or(SIZE.width),
        };
        let (geometry, fps) = (Geometry::new(&manifest.model, asked)?, fps(&whole)?);
        Ok(Self {
            prompt: prompt(manifest, &whole)?,
            negative_prompt: whole.negative_prompt.clone().unwrap_or_default(),
            max_tokens: positive("max_tokens", whole.max_tokens.unwrap_or(MAX_TOKENS))?,
            geometry,
            channels: manifest.model.latent_channels,
            fps,
            passes: passes(manifest, &settings, &geometry, fps)?,
            conditions: Vec::new(),
            input: None,
            cues: Vec::new(),
            posterior_mean: posterior_mean(&whole)?,
            adain_factor: share("adain_factor", whole.adain_factor, 1.0)?,
            skipped_start: skips_start(manifest, &settings),
            seed: whole.seed.unwrap_or(0),
            layout: layout(&whole)?,
        })
    }

    /// Adds the images and clips that the video has to contain.
    pub fn with_conditions(
        mut self,
        manifest: &Manifest,
        conditions: Vec<Condition>,
    ) -> Result<Self, RunError> {
        for condition in &conditions {
            condition.check(&self.geometry)?;
            for pass in &self.passes {
                self.check_fit(condition, pass)?;
            }
        }
        self.conditions = conditions;
        plan::check_sizes(manifest, &self, 1)?;
        Ok(self)
    }

    fn check_fit(&self, condition: &Condition, pass: &PassJob) -> Result<(), RunError> {
        let compression = self.geometry.compression;
        condition.fitted(
            &compression,
            compression.video_of(pass.latents),
            pass.frame_step,
        )?;
        let whole = pass.latents == self.geometry.latents;
        if matches!(condition.place, Place::Part { .. }) && !whole {
            let help = "a part of the frame needs a pipeline of one size, such as ltxv/base";
            return Err(wrong("condition", "a part", help));
        }
        Ok(())
    }

    /// Starts the first pass from a noised video instead of from noise.
    pub fn with_input(mut self, input: Media) -> Result<Self, RunError> {
        for pass in self.passes.iter().filter(|pass| !pass.continues) {
            let compression = &self.geometry.compression;
            check_input(&input, compression, pass.latents, pass.frame_step)?;
        }
        let first = self.passes.first().and_then(|pass| pass.timesteps.first());
        if first.is_some_and(|t| *t >= 1.0) {
            let help = "the first timestep would replace the input video by noise; leave out first steps, for instance half of them";
            return Err(wrong("skip_initial_inference_steps", 0, help));
        }
        self.input = Some(input);
        Ok(self)
    }

    /// Whether the run has everything its settings need.
    pub(super) fn check_ready(&self) -> Result<(), RunError> {
        if self.skipped_start && self.input.is_none() {
            let help = "first steps can be left out only with an input video";
            return Err(wrong("skip_initial_inference_steps", "set", help));
        }
        Ok(())
    }

    /// The sizes in pixels and latents.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The passes in order.
    pub fn passes(&self) -> &[PassJob] {
        &self.passes
    }

    /// The noise levels of all steps of all passes in order.
    pub fn timesteps(&self) -> Vec<f32> {
        let passes = self.passes.iter();
        passes.flat_map(|pass| pass.timesteps.clone()).collect()
    }

    /// Frames per second.
    pub fn fps(&self) -> f64 {
        self.fps
    }

    /// The seed, 0 where none was set.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What the video shows.
    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    /// The noise that the seed stands for, from the start.
    pub fn noise(&self) -> Seeded {
        self.noise_of(self.seed)
    }

    /// The noise of another seed.
    pub fn noise_of(&self, seed: u64) -> Seeded {
        Seeded::new(self.layout, seed, seed)
    }

    /// The pass that begins at a stage.
    pub(super) fn pass(&self, stage: &str) -> Result<&PassJob, RunError> {
        let found = self.passes.iter().find(|pass| pass.stage == stage);
        found.ok_or_else(|| RunError::Manifest(format!("`{stage}` begins no pass")))
    }

    /// The pass that makes a stage's latents.
    pub(super) fn pass_of(&self, manifest: &Manifest, latents: &str) -> Result<&PassJob, RunError> {
        let stages = manifest.plan.stages.iter();
        let start = stages
            .filter(|stage| stage.name == latents)
            .find_map(|stage| match &stage.op {
                StageOp::Denoise(op) => Some(op.start.as_str()),
                _ => None,
            });
        self.pass(start.unwrap_or(latents))
    }

    /// What a prompt is encoded as: the prompts of all windows, where there are several.
    pub(super) fn told(&self, prompt: &str) -> Vec<String> {
        match self.has_windows() {
            _ if !self.cues.is_empty() => self.cues.iter().map(|cue| cue.prompt.clone()).collect(),
            true => segments(prompt),
            false => vec![prompt.to_owned()],
        }
    }

    /// Whether some pass is denoised in windows.
    pub(super) fn has_windows(&self) -> bool {
        self.passes.iter().any(|pass| pass.windows() > 1)
    }

    /// Whether a pass has something to encode.
    pub(super) fn encodes(&self, pass: &PassJob) -> bool {
        !self.conditions.is_empty() || (self.input.is_some() && !pass.continues)
    }

    /// The sizes in pixels of what a pass encodes.
    pub(super) fn encoded_sizes(&self, pass: &PassJob) -> Result<Vec<VideoSize>, RunError> {
        let compression = self.geometry.compression;
        let video = compression.video_of(pass.latents);
        let input = self.input.is_some() && !pass.continues;
        let mut sizes: Vec<VideoSize> = input.then_some(video).into_iter().collect();
        for condition in &self.conditions {
            sizes.push(condition.fitted(&compression, video, pass.frame_step)?.size);
        }
        Ok(sizes)
    }

    /// Tokens that conditions and anchors add to a window of a pass, at most.
    pub(super) fn extra_tokens(&self, pass: &PassJob) -> Result<usize, RunError> {
        let compression = self.geometry.compression;
        let mut extra = pass.anchors();
        for condition in &self.conditions {
            let video = compression.video_of(pass.latents);
            let fitted = condition.fitted(&compression, video, pass.frame_step)?;
            let mut latents = compression.latents_of(fitted.size);
            match condition.place {
                Place::Reference => {}
                Place::Frames if fitted.frame > 0 => latents.frames = latents.frames.min(PREFIX),
                Place::Frames | Place::Part { .. } => continue,
            }
            extra += latents.count();
        }
        Ok(extra)
    }
}

/// Latent frames of a clip in the middle of a video that become extra tokens: its first latent frame stands for one
/// pixel frame only, which nothing in the middle of a video does.
pub(super) const PREFIX: usize = 2;

/// Sections for passes must belong to a pass of the plan and keep to what a pass can decide.
fn check_sections(manifest: &Manifest, settings: &Settings) -> Result<(), RunError> {
    let sections = [
        ("first_pass", Pass::FirstPass, &settings.first_pass),
        ("second_pass", Pass::SecondPass, &settings.second_pass),
        ("first_pass", Pass::FirstPass, &manifest.defaults.first_pass),
        (
            "second_pass",
            Pass::SecondPass,
            &manifest.defaults.second_pass,
        ),
    ];
    for (name, pass, section) in sections {
        let Some(section) = section else { continue };
        let known =
            manifest.plan.stages.iter().any(
                |stage| matches!(&stage.op, StageOp::PrepareLatents(op) if op.pass == Some(pass)),
            );
        if !known {
            let help = format!("the pipeline `{}` has no such pass", manifest.plan.name);
            return Err(wrong(name, "set", help));
        }
        if let Some(whole) = section
            .set()
            .into_iter()
            .find(|key| WHOLE_RUN.contains(key))
        {
            return Err(wrong(
                name,
                format!("setting `{whole}`"),
                "it is the same for all passes; set it outside",
            ));
        }
    }
    Ok(())
}

/// Whether first steps are left out in a pass that starts from noise.
fn skips_start(manifest: &Manifest, settings: &Settings) -> bool {
    manifest.plan.stages.iter().any(|stage| match &stage.op {
        StageOp::PrepareLatents(op) if op.latents.is_none() => {
            let settings = settings.of(op.pass).or(&manifest.defaults.of(op.pass));
            settings.timesteps.is_none() && settings.skip_initial_inference_steps.unwrap_or(0) > 0
        }
        _ => false,
    })
}

pub(super) fn wrong(name: &'static str, found: impl ToString, help: impl Into<String>) -> RunError {
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

pub(super) fn positive_or_zero(name: &'static str, found: Option<f32>) -> Result<f32, RunError> {
    let found = found.unwrap_or(0.0);
    match found.is_finite() && found >= 0.0 {
        true => Ok(found),
        false => Err(wrong(name, found, "give a number from 0")),
    }
}

fn fps(settings: &Settings) -> Result<f64, RunError> {
    let fps = settings.fps.unwrap_or(FPS);
    if FPS_RANGE.contains(&fps) {
        return Ok(fps);
    }
    Err(wrong("fps", fps, "give a number from 0.01 to 1000"))
}

pub(super) fn share(name: &'static str, found: Option<f32>, default: f32) -> Result<f32, RunError> {
    let found = found.unwrap_or(default);
    if (0.0..=1.0).contains(&found) {
        return Ok(found);
    }
    Err(wrong(name, found, "give a number from 0 to 1"))
}

fn posterior_mean(settings: &Settings) -> Result<bool, RunError> {
    match settings.posterior.as_deref() {
        None | Some("sample") => Ok(false),
        Some("mean") => Ok(true),
        Some(other) => Err(wrong("posterior", other, "write `sample` or `mean`")),
    }
}

fn layout(settings: &Settings) -> Result<NoiseLayout, RunError> {
    match &settings.noise {
        Some(name) => Ok(name.parse()?),
        None => Ok(NoiseLayout::default()),
    }
}
