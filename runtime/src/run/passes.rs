//! The passes of a run: how large each is, and which settings hold in it.
//!
//! A pass begins where a stage prepares tokens. One that starts from noise and whose latents are upscaled later is
//! smaller than the video asked for, by the reference's rules; all sizes after it follow from the upscalers.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_bundle::{Manifest, Scheduled, Settings, StageOp};

use super::RunError;
use super::geometry::{Geometry, MAX_SIZE, VideoSize};
use super::job::{positive_or_zero, share, wrong};
use super::ports::{Given, Spec};
use super::window::Windows;
use crate::sampling::schedule::{check_allowed, custom_timesteps, skip_steps};
use crate::sampling::{Guidance, GuidanceSchedule, Row, Sampler, Schedule, SchedulerConfig};
use crate::tensor::DType;

/// The number of steps that checkpoints were trained with; the reference takes no more.
const MAX_STEPS: usize = 1000;
const STEPS: usize = 40;
/// The reference's: two thirds.
const DOWNSCALE: f64 = 0.666_666_6;
const DECODE_TIMESTEP: f32 = 0.05;
const DECODE_NOISE_SCALE: f32 = 0.025;

/// Everything that holds in one pass.
#[derive(Clone, Debug)]
pub struct PassJob {
    pub(super) stage: String,
    pub(super) latents: VideoSize,
    pub(super) windows: Windows,
    /// How many frames of the video one frame of this pass stands for.
    pub(super) frame_step: usize,
    pub(super) fps: f64,
    /// Whether it starts from latents of an earlier pass.
    pub(super) continues: bool,
    pub(super) timesteps: Vec<f32>,
    pub(super) guidance: GuidanceSchedule,
    pub(super) skip_blocks: Scheduled<Vec<usize>>,
    pub(super) stochastic: bool,
    pub(super) condition_noise: f32,
    pub(super) tone_map: f32,
    pub(super) decode_timestep: f32,
    pub(super) decode_noise_scale: f32,
    /// How little the first block's work must change for the work of the others to be used again.
    pub(super) step_cache: f32,
    /// First steps of a window that attend densely.
    pub(super) dense_steps: usize,
}

impl PassJob {
    /// The noise levels of the steps, falling; the last step goes to zero.
    pub fn timesteps(&self) -> &[f32] {
        &self.timesteps
    }

    /// Latent frames, rows and columns.
    pub fn latents(&self) -> VideoSize {
        self.latents
    }

    /// Latent frames, rows and columns of a window, which is the whole where there is one.
    pub fn window(&self) -> VideoSize {
        VideoSize {
            frames: self.windows.length(),
            ..self.latents
        }
    }

    /// Tokens of the first window that all later ones are given.
    pub(super) fn anchors(&self) -> usize {
        self.windows.anchors * self.latents.height * self.latents.width
    }

    /// How many windows there are.
    pub fn windows(&self) -> usize {
        self.windows.count()
    }

    /// Whether denoising may draw noise.
    pub(super) fn draws(&self) -> bool {
        self.stochastic || self.condition_noise > 0.0
    }

    /// The guidance of a step, and the blocks it perturbs.
    pub(super) fn step(&self, sigma: f32) -> Result<(Guidance, &[usize]), RunError> {
        let guidance = self.guidance.at(sigma)?;
        let blocks = self.guidance.pick(&self.skip_blocks, sigma)?;
        Ok((guidance, blocks))
    }

    /// The numbers of rows that steps need.
    pub(super) fn rows(&self) -> BTreeSet<usize> {
        self.timesteps.iter().map(|t| self.rows_at(*t)).collect()
    }

    /// The number of rows that a step needs.
    pub(super) fn rows_at(&self, sigma: f32) -> usize {
        match self.step(sigma) {
            Ok((guidance, [])) => guidance.rows().len() - usize::from(guidance.stg_scale > 0.0),
            Ok((guidance, _)) => guidance.rows().len(),
            Err(_) => 1,
        }
    }

    /// Whether some step looks at the negative prompt.
    pub(super) fn uses_negative(&self) -> bool {
        let negative = |t: &f32| {
            self.guidance
                .at(*t)
                .is_ok_and(|g| g.rows().contains(&Row::Negative))
        };
        self.timesteps.iter().any(negative)
    }
}

/// Joins a caller's settings with the bundle's, for every pass of its plan.
pub(super) fn passes(
    manifest: &Manifest,
    settings: &Settings,
    geometry: &Geometry,
    fps: f64,
) -> Result<Vec<PassJob>, RunError> {
    let sizes = sizes(manifest, settings, geometry)?;
    let mut passes = Vec::new();
    for stage in &manifest.plan.stages {
        let StageOp::PrepareLatents(op) = &stage.op else {
            continue;
        };
        let settings = settings.of(op.pass).or(&manifest.defaults.of(op.pass));
        let latents = sizes[stage.name.as_str()];
        let frame_step = frame_step(manifest, &stage.name, latents)?;
        let windows = windows(&settings, geometry, latents.frames, frame_step)?;
        let at_a_time = VideoSize {
            frames: windows.length(),
            ..latents
        };
        let pass = PassJob {
            stage: stage.name.clone(),
            latents,
            windows,
            frame_step,
            fps: fps / frame_step as f64,
            continues: op.latents.is_some(),
            timesteps: timesteps(manifest, &settings, at_a_time.count())?,
            guidance: guidance(&settings)?,
            skip_blocks: settings
                .skip_block_list
                .clone()
                .unwrap_or(Scheduled::Constant(Vec::new())),
            stochastic: settings.stochastic_sampling.unwrap_or(false),
            condition_noise: positive_or_zero(
                "image_cond_noise_scale",
                settings.image_cond_noise_scale,
            )?,
            tone_map: share(
                "tone_map_compression_ratio",
                settings.tone_map_compression_ratio,
                0.0,
            )?,
            decode_timestep: share("decode_timestep", settings.decode_timestep, DECODE_TIMESTEP)?,
            decode_noise_scale: share(
                "decode_noise_scale",
                settings.decode_noise_scale,
                DECODE_NOISE_SCALE,
            )?,
            step_cache: positive_or_zero("step_cache", settings.step_cache)?,
            dense_steps: settings.dense_steps.unwrap_or(0),
        };
        check_step_cache(manifest, &pass)?;
        check_guidance(manifest, &pass)?;
        check_start(&pass)?;
        passes.push(pass);
    }
    Ok(passes)
}

/// The windows of a pass that makes one frame of `step` of the video.
fn windows(
    settings: &Settings,
    geometry: &Geometry,
    frames: usize,
    step: usize,
) -> Result<Windows, RunError> {
    let unit = geometry.compression.frames() * step;
    let length = match settings.window {
        None => frames,
        Some(0) => return Err(wrong("window", 0, "give a number from 1")),
        Some(window) => (window - 1) / unit + 1,
    };
    let asked = settings
        .window_overlap
        .map(|overlap| overlap.div_ceil(unit));
    let overlap = asked.unwrap_or((length / 4).max(1));
    let spans = Windows::spans(frames, length, overlap)?;
    let anchors = settings.window_anchors.unwrap_or(0);
    if anchors > length && spans.len() > 1 {
        let help = format!("a window has {length} latent frames here; give 0 to {length}");
        return Err(wrong("window_anchors", anchors, help));
    }
    Ok(Windows {
        anchors: if spans.len() > 1 { anchors } else { 0 },
        spans,
        strength: share("window_strength", settings.window_strength, 1.0)?,
        adain_factor: share("window_adain_factor", settings.window_adain_factor, 0.0)?,
    })
}

/// Work can be used again only where the bundle was compiled in parts.
fn check_step_cache(manifest: &Manifest, pass: &PassJob) -> Result<(), RunError> {
    let denoises = manifest
        .plan
        .stages
        .iter()
        .filter_map(|stage| match &stage.op {
            StageOp::Denoise(op) if op.start == pass.stage => {
                manifest.components.get(&op.component)
            }
            _ => None,
        });
    let mut parts = denoises.flat_map(|component| &component.parts);
    if pass.step_cache == 0.0 || parts.any(|part| part.reuse.is_some()) {
        return Ok(());
    }
    let help = "the bundle was compiled without; compile it with --set defaults.step_cache=0.1";
    Err(wrong("step_cache", pass.step_cache, help))
}

fn guidance(settings: &Settings) -> Result<GuidanceSchedule, RunError> {
    let scale = |name: &'static str, scale: &Option<Scheduled<f32>>, default: f32| {
        let scale = scale.clone().unwrap_or(Scheduled::Constant(default));
        let wrong_one = scale.values().find(|value| !value.is_finite()).copied();
        wrong_one.map_or(Ok(scale), |found| Err(wrong(name, found, "give a number")))
    };
    Ok(GuidanceSchedule {
        guidance_scale: scale("guidance_scale", &settings.guidance_scale, 1.0)?,
        stg_scale: scale("stg_scale", &settings.stg_scale, 0.0)?,
        rescaling_scale: scale("rescaling_scale", &settings.rescaling_scale, 1.0)?,
        cfg_star_rescale: settings.cfg_star_rescale.unwrap_or(false),
        guidance_timesteps: settings.guidance_timesteps.clone().unwrap_or_default(),
    })
}

/// Every step's guidance must be there, and every block it perturbs; blocks of steps without STG do not matter.
fn check_guidance(manifest: &Manifest, pass: &PassJob) -> Result<(), RunError> {
    let blocks = blocks(manifest, &pass.stage);
    for &sigma in &pass.timesteps {
        let (guidance, skipped) = pass.step(sigma)?;
        let perturbed = guidance.rows().contains(&Row::Perturbed);
        let strange = skipped
            .iter()
            .find(|block| blocks.is_some_and(|n| **block >= n));
        if let (true, Some(block), Some(blocks)) = (perturbed, strange, blocks) {
            let help = match blocks {
                0 => "the transformer has no blocks".to_owned(),
                blocks => format!("the transformer has blocks 0 to {}", blocks - 1),
            };
            return Err(wrong("skip_block_list", block, help));
        }
    }
    Ok(())
}

/// A pass that starts from latents must leave something of them.
fn check_start(pass: &PassJob) -> Result<(), RunError> {
    match pass.timesteps.first() {
        Some(t) if pass.continues && *t >= 1.0 => Err(wrong(
            "skip_initial_inference_steps",
            "0 in a later pass",
            "its first timestep would replace the latents of the pass before by noise; leave out first steps, or give \
             timesteps below 1",
        )),
        _ => Ok(()),
    }
}

/// How many frames of the finished video one frame of a pass stands for.
fn frame_step(manifest: &Manifest, stage: &str, latents: VideoSize) -> Result<usize, RunError> {
    let mut last = latents;
    for component in upscalers_after(manifest, stage) {
        last = upscaled(manifest, component, last)?;
    }
    Ok(match latents.frames {
        1 => 1,
        frames => (last.frames - 1) / (frames - 1),
    })
}

/// How many blocks the transformer of a pass has, where it can perturb them.
fn blocks(manifest: &Manifest, pass: &str) -> Option<usize> {
    let component = manifest
        .plan
        .stages
        .iter()
        .find_map(|stage| match &stage.op {
            StageOp::Denoise(op) if op.start == pass => manifest.components.get(&op.component),
            _ => None,
        })?;
    let keep = component.inputs.iter().find(|port| port.name == "keep")?;
    keep.shape.first()?.parse().ok()
}

fn timesteps(
    manifest: &Manifest,
    settings: &Settings,
    tokens: usize,
) -> Result<Vec<f32>, RunError> {
    let timesteps = match &settings.timesteps {
        Some(values) => custom_timesteps(values)?,
        None => scheduled(manifest, settings, tokens)?,
    };
    if let Some(allowed) = &manifest.model.allowed_inference_steps {
        check_allowed(&timesteps, allowed)?;
    }
    Ok(timesteps)
}

fn scheduled(
    manifest: &Manifest,
    settings: &Settings,
    tokens: usize,
) -> Result<Vec<f32>, RunError> {
    let steps = settings.steps.unwrap_or(STEPS);
    if steps > MAX_STEPS {
        let help = format!("give a number from 1 to {MAX_STEPS}");
        return Err(wrong("steps", steps, help));
    }
    let all = Schedule::new(&scheduler(manifest, settings)?)?.timesteps(steps, tokens)?;
    let first = settings.skip_initial_inference_steps.unwrap_or(0);
    let last = settings.skip_final_inference_steps.unwrap_or(0);
    Ok(skip_steps(&all, first, last)?)
}

/// The checkpoint's schedule, or a plain one of the given spacing.
fn scheduler(manifest: &Manifest, settings: &Settings) -> Result<SchedulerConfig, RunError> {
    let plain = |sampler| SchedulerConfig {
        sampler: Some(sampler),
        ..SchedulerConfig::default()
    };
    match settings.sampler.as_deref() {
        None | Some("from_checkpoint") => serde_json::from_value(manifest.model.scheduler.clone())
            .map_err(|error| RunError::Manifest(format!("its scheduler is not known: {error}"))),
        Some("uniform") => Ok(plain(Sampler::Uniform)),
        Some("linear_quadratic") => Ok(plain(Sampler::LinearQuadratic)),
        Some(other) => Err(wrong(
            "sampler",
            other,
            "write `from_checkpoint`, `uniform` or `linear_quadratic`",
        )),
    }
}

/// Latent sizes by the stage that makes tokens or latents.
fn sizes<'m>(
    manifest: &'m Manifest,
    settings: &Settings,
    geometry: &Geometry,
) -> Result<BTreeMap<&'m str, VideoSize>, RunError> {
    let mut sizes: BTreeMap<&str, VideoSize> = BTreeMap::new();
    for stage in &manifest.plan.stages {
        let size = match &stage.op {
            StageOp::EncodeText(_) | StageOp::DecodeVideo(_) => continue,
            StageOp::PrepareLatents(op) => match &op.latents {
                Some(source) => sizes[source.as_str()],
                None => first_size(manifest, settings, geometry, &stage.name)?,
            },
            StageOp::Denoise(op) => sizes[op.start.as_str()],
            StageOp::UpscaleLatents(op) => {
                upscaled(manifest, &op.component, sizes[op.latents.as_str()])?
            }
        };
        sizes.insert(&stage.name, size);
    }
    Ok(sizes)
}

/// The size of a pass that starts from noise: the video's, or what its upscalers make the video of.
fn first_size(
    manifest: &Manifest,
    settings: &Settings,
    geometry: &Geometry,
    stage: &str,
) -> Result<VideoSize, RunError> {
    let upscalers = upscalers_after(manifest, stage);
    let through = |size: VideoSize| {
        let mut upscalers = upscalers.iter();
        upscalers.try_fold(size, |size, component| upscaled(manifest, component, size))
    };
    let (full, least) = (
        geometry.latents,
        VideoSize {
            frames: 1,
            height: 1,
            width: 1,
        },
    );
    let mut size = full;
    if through(least)?.height > 1 {
        let settings = settings.of(None).or(&manifest.defaults.of(None));
        let factor = settings.downscale_factor.unwrap_or(DOWNSCALE);
        if !(0.01..=1.0).contains(&factor) {
            return Err(wrong(
                "downscale_factor",
                factor,
                "give a number from 0.01 to 1",
            ));
        }
        let side = geometry.compression.pixels();
        let smaller = |name, pixels: usize| match (pixels as f64 * factor) as usize / side {
            0 => Err(wrong(
                name,
                pixels,
                format!(
                    "the first pass would have no pixels; give {} or more",
                    (side as f64 / factor).ceil()
                ),
            )),
            latents => Ok(latents),
        };
        size.height = smaller("height", geometry.padded.height)?;
        size.width = smaller("width", geometry.padded.width)?;
    }
    size.frames = 1;
    while through(size)?.frames < full.frames {
        size.frames += 1;
    }
    Ok(size)
}

/// The components that upscale what a pass makes, in order.
fn upscalers_after<'m>(manifest: &'m Manifest, stage: &str) -> Vec<&'m str> {
    let (mut names, mut found) = (vec![stage], Vec::new());
    for stage in &manifest.plan.stages {
        let source = match &stage.op {
            StageOp::EncodeText(_) | StageOp::DecodeVideo(_) => None,
            StageOp::PrepareLatents(op) => op.latents.as_deref(),
            StageOp::Denoise(op) => Some(op.start.as_str()),
            StageOp::UpscaleLatents(op) => Some(op.latents.as_str()),
        };
        if source.is_some_and(|source| names.contains(&source)) {
            names.push(&stage.name);
            if let StageOp::UpscaleLatents(op) = &stage.op {
                found.push(op.component.as_str());
            }
        }
    }
    found
}

/// What an upscaler makes of latents, as the sizes of its output say.
fn upscaled(manifest: &Manifest, name: &str, size: VideoSize) -> Result<VideoSize, RunError> {
    let none = || RunError::Manifest(format!("the sizes of `{name}`'s latents are not known"));
    let component = manifest.components.get(name).ok_or_else(none)?;
    let spec = Spec::new(name, component)?;
    let shape = [
        1,
        manifest.model.latent_channels,
        size.frames,
        size.height,
        size.width,
    ];
    let given = Given::from([("latents", (DType::F32, shape.as_slice()))]);
    let known = spec
        .unlimited_sizes(&given)
        .map_err(|faults| RunError::Inputs {
            component: name.to_owned(),
            faults,
        })?;
    let output = component
        .outputs
        .iter()
        .find(|port| port.name == "upscaled");
    let [_, _, frames, height, width] = output.ok_or_else(none)?.shape.as_slice() else {
        return Err(none());
    };
    let axis = |size: &String| {
        let size: super::size::Size = size.parse().ok()?;
        usize::try_from(size.value(&|name| known.get(name).copied())?).ok()
    };
    let [Some(frames), Some(height), Some(width)] = [axis(frames), axis(height), axis(width)]
    else {
        return Err(none());
    };
    let grows = frames >= size.frames && height >= size.height && width >= size.width;
    if !grows || frames.max(height).max(width) > MAX_SIZE {
        return Err(none());
    }
    Ok(VideoSize {
        frames,
        height,
        width,
    })
}
