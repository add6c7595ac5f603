//! The timesteps of a generation, from the scheduler section of a checkpoint's configuration.
//!
//! A timestep is a noise level (sigma) in (0, 1]; a schedule lists them in falling order, without the
//! final zero that the last step goes to. Values follow the reference scheduler of LTX-Video, computed
//! in float64 and float32 where it does.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The noise level at which the linear part of `LinearQuadratic` ends, counted from pure noise.
const LINEAR_NOISE: f64 = 0.025;

/// The unshifted spacing of the timesteps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Sampler {
    /// Equal steps from 1 down to 1/n.
    #[default]
    Uniform,
    /// Half of the steps linear down to 0.975, the rest quadratic.
    LinearQuadratic,
}

/// How the timesteps depend on the number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shifting {
    /// The shift of Stable Diffusion 3 (Esser et al., 2024).
    SD3,
    /// The signal-to-noise shift of simple diffusion (Hoogeboom et al., 2023).
    SimpleDiffusion,
}

/// The scheduler section of a checkpoint's configuration; keys not listed here are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SchedulerConfig {
    /// The spacing; none means uniform.
    pub sampler: Option<Sampler>,
    /// The shift; none means that tokens do not matter.
    pub shifting: Option<Shifting>,
    /// The value to stretch an `SD3` schedule to, for its last timestep.
    pub target_shift_terminal: Option<f64>,
    /// The number of tokens that `SimpleDiffusion` leaves unshifted.
    pub base_resolution: Option<f64>,
}

impl Default for SchedulerConfig {
    fn default() -> Self {
        Self {
            sampler: None,
            shifting: None,
            target_shift_terminal: None,
            base_resolution: Some(1024.0),
        }
    }
}

/// Why there is no schedule.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ScheduleError {
    /// `target_shift_terminal` is not a timestep.
    #[error("target_shift_terminal is {found}: it must lie between 0 and 1")]
    Terminal {
        /// The value in the configuration.
        found: f64,
    },
    /// `SimpleDiffusion` has nothing to shift against.
    #[error("SimpleDiffusion shifting needs a positive base_resolution")]
    BaseResolution,
    /// No steps were asked for.
    #[error("a schedule needs at least one step")]
    NoSteps,
    /// A single step cannot be stretched to a terminal below one.
    #[error("a schedule stretched to target_shift_terminal needs at least two steps")]
    SingleStep,
    /// The latents are empty.
    #[error("a shifted schedule needs at least one token")]
    NoTokens,
    /// The steps to leave out are all there are.
    #[error("skipping {initial} initial and {last} final of {steps} steps leaves none")]
    NothingLeft {
        /// Steps to leave out at the start.
        initial: usize,
        /// Steps to leave out at the end.
        last: usize,
        /// All steps.
        steps: usize,
    },
    /// A timestep is no noise level.
    #[error("timestep {index} is {value}: timesteps are greater than 0 and at most 1")]
    Range {
        /// Its place in the list, from zero.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The timesteps do not fall.
    #[error("timestep {index} is {value}, not below the one before it: list them in falling order")]
    Order {
        /// Its place in the list, from zero.
        index: usize,
        /// The value.
        value: f32,
    },
    /// A distilled checkpoint was not trained for a timestep.
    #[error("this checkpoint was not trained for timestep {value}: use timesteps from {allowed:?}")]
    NotAllowed {
        /// The value, rounded to four digits.
        value: f64,
        /// What the checkpoint lists.
        allowed: Vec<f64>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Shift {
    None,
    Sd3 { terminal: Option<f64> },
    SimpleDiffusion { base_resolution: f64 },
}

/// The timesteps of a checkpoint, for any number of steps and tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    sampler: Sampler,
    shift: Shift,
}

impl Schedule {
    /// Checks a configuration.
    pub fn new(config: &SchedulerConfig) -> Result<Self, ScheduleError> {
        let shift = match config.shifting {
            None => Shift::None,
            Some(Shifting::SD3) => Shift::Sd3 {
                terminal: checked_terminal(config)?,
            },
            Some(Shifting::SimpleDiffusion) => Shift::SimpleDiffusion {
                base_resolution: config
                    .base_resolution
                    .filter(|tokens| *tokens > 0.0)
                    .ok_or(ScheduleError::BaseResolution)?,
            },
        };
        Ok(Self {
            sampler: config.sampler.unwrap_or_default(),
            shift,
        })
    }

    /// The timesteps for latents of `tokens` = frames * height * width positions.
    pub fn timesteps(&self, steps: usize, tokens: usize) -> Result<Vec<f32>, ScheduleError> {
        if steps == 0 {
            return Err(ScheduleError::NoSteps);
        }
        let spaced = match self.sampler {
            Sampler::Uniform => uniform(steps),
            Sampler::LinearQuadratic => linear_quadratic(steps),
        };
        if tokens == 0 && self.shift != Shift::None {
            return Err(ScheduleError::NoTokens);
        }
        match self.shift {
            Shift::None => Ok(spaced),
            Shift::Sd3 { terminal } => sd3_shift(spaced, tokens, terminal),
            Shift::SimpleDiffusion { base_resolution } => {
                Ok(simple_diffusion_shift(spaced, tokens, base_resolution))
            }
        }
    }
}

/// Takes timesteps written by hand; they are used as given, neither shifted nor shortened.
pub fn custom_timesteps(values: &[f32]) -> Result<Vec<f32>, ScheduleError> {
    if values.is_empty() {
        return Err(ScheduleError::NoSteps);
    }
    for (index, &value) in values.iter().enumerate() {
        if !(value > 0.0 && value <= 1.0) {
            return Err(ScheduleError::Range { index, value });
        }
        if index > 0 && value >= values[index - 1] {
            return Err(ScheduleError::Order { index, value });
        }
    }
    Ok(values.to_vec())
}

/// Leaves out steps at both ends. The last step that stays goes to zero: skipping final steps merges
/// them into it and does not end early.
pub fn skip_steps(
    timesteps: &[f32],
    initial: usize,
    last: usize,
) -> Result<Vec<f32>, ScheduleError> {
    let steps = timesteps.len();
    match steps.checked_sub(last) {
        Some(end) if initial < end => Ok(timesteps[initial..end].to_vec()),
        _ => Err(ScheduleError::NothingLeft {
            initial,
            last,
            steps,
        }),
    }
}

/// Checks timesteps against the `allowed_inference_steps` of a distilled checkpoint, to four digits.
pub fn check_allowed(timesteps: &[f32], allowed: &[f64]) -> Result<(), ScheduleError> {
    let rounded = timesteps
        .iter()
        .map(|t| (f64::from(*t) * 1e4).round() / 1e4);
    let is_allowed = |value: f64| allowed.iter().any(|known| (known - value).abs() < 1e-9);
    match rounded.into_iter().find(|value| !is_allowed(*value)) {
        Some(value) => Err(ScheduleError::NotAllowed {
            value,
            allowed: allowed.to_vec(),
        }),
        None => Ok(()),
    }
}

fn checked_terminal(config: &SchedulerConfig) -> Result<Option<f64>, ScheduleError> {
    match config.target_shift_terminal {
        Some(found) if !(found > 0.0 && found < 1.0) => Err(ScheduleError::Terminal { found }),
        terminal => Ok(terminal),
    }
}

/// `torch.linspace(1, 1/n, n)`, which counts from both ends to the middle and fuses each step.
fn uniform(steps: usize) -> Vec<f32> {
    let end = (1.0 / steps as f64) as f32;
    let stride = (end - 1.0) / (steps.max(2) - 1) as f32;
    let value = |index: usize| {
        if index < steps / 2 {
            stride.mul_add(index as f32, 1.0)
        } else {
            (-stride).mul_add((steps - index - 1) as f32, end)
        }
    };
    (0..steps).map(value).collect()
}

/// The schedule of Genmo's Mochi, in LTX-Video's proportions.
fn linear_quadratic(steps: usize) -> Vec<f32> {
    if steps == 1 {
        return vec![1.0];
    }
    let linear = (steps / 2) as f64;
    let quadratic = steps as f64 - linear;
    let rest = linear - LINEAR_NOISE * steps as f64;
    let square = rest / (linear * quadratic * quadratic);
    let slope = LINEAR_NOISE / linear - 2.0 * rest / (quadratic * quadratic);
    let offset = square * linear * linear;
    let noise_removed = |index: f64| {
        if index < linear {
            index * LINEAR_NOISE / linear
        } else {
            square * index * index + slope * index + offset
        }
    };
    (0..steps)
        .map(|index| (1.0 - noise_removed(index as f64)) as f32)
        .collect()
}

/// exp(mu) / (exp(mu) + 1/t - 1), with mu linear in the number of tokens and not clamped.
fn sd3_shift(
    timesteps: Vec<f32>,
    tokens: usize,
    terminal: Option<f64>,
) -> Result<Vec<f32>, ScheduleError> {
    let slope = (2.05 - 0.95) / (4096.0 - 1024.0);
    let mu: f64 = slope * tokens as f64 + (0.95 - slope * 1024.0);
    let weight = mu.exp() as f32;
    let shifted: Vec<f32> = timesteps
        .iter()
        .map(|t| (weight + (1.0 / t - 1.0)).recip() * weight)
        .collect();
    match terminal {
        Some(_) if shifted.len() < 2 => Err(ScheduleError::SingleStep),
        Some(terminal) => Ok(stretch_to(shifted, terminal)),
        None => Ok(shifted),
    }
}

fn stretch_to(timesteps: Vec<f32>, terminal: f64) -> Vec<f32> {
    let last = timesteps.last().copied().unwrap_or(0.0);
    let scale = (1.0 - last) / (1.0 - terminal) as f32;
    timesteps.iter().map(|t| 1.0 - (1.0 - t) / scale).collect()
}

/// Moves the log signal-to-noise ratio by twice the logarithm of the relative number of tokens.
fn simple_diffusion_shift(timesteps: Vec<f32>, tokens: usize, base_resolution: f64) -> Vec<f32> {
    let offset = (2.0 * (tokens as f64 / base_resolution).ln()) as f32;
    let shifted = |t: &f32| {
        let ratio = t / (1.0 - t);
        let log_ratio = (ratio * ratio).ln() + offset;
        1.0 / (1.0 + (-0.5 * log_ratio).exp())
    };
    timesteps.iter().map(shifted).collect()
}
