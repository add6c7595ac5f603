//! What a run does: the stages of a pipeline, and the settings a caller may change.

use serde::{Deserialize, Serialize};

/// The stages of a pipeline in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the pipeline.
    pub name: String,
    /// The stages.
    pub stages: Vec<Stage>,
    /// The stage whose result is the video.
    pub video: String,
}

/// A step of a pipeline; later stages name its result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Name of the result.
    pub name: String,
    /// What is done.
    #[serde(flatten)]
    pub op: StageOp,
}

/// What a stage does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageOp {
    /// Prompts to hidden states.
    EncodeText(EncodeText),
    /// Noise to latents.
    Denoise(Denoise),
    /// Latents to pixels.
    DecodeVideo(DecodeVideo),
}

/// Prompts to hidden states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeText {
    /// Component with inputs `ids`, `mask` and output `hidden`.
    pub component: String,
}

/// Noise to latents by rectified flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denoise {
    /// Component with inputs `latents`, `coords`, `text`, `text_mask`, `timestep` and output `velocity`.
    pub component: String,
    /// The stage that encodes the prompts.
    pub text: String,
}

/// Latents to pixels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DecodeVideo {
    /// Component with input `latents`, perhaps `timestep` and noise planes, and output `video`.
    pub component: String,
    /// The stage that makes the latents.
    pub latents: String,
}

/// What a caller may set; everything left out is decided by the preset, then by the program.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// What the video shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What it must not show; used with `guidance_scale` over 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub negative_prompt: Option<String>,
    /// Seed of every random draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Pixel rows of the video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<usize>,
    /// Pixel columns of the video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<usize>,
    /// Frames of the video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<usize>,
    /// Frames per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Denoising steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Timesteps instead of a schedule, falling, in (0, 1].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timesteps: Option<Vec<f32>>,
    /// How much further than the negative prompt; 1 is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f32>,
    /// Project the negative prediction before guiding (CFG*).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cfg_star_rescale: Option<bool>,
    /// Fresh noise at every step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stochastic_sampling: Option<bool>,
    /// First schedule steps left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_initial_inference_steps: Option<usize>,
    /// Last schedule steps merged into one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_final_inference_steps: Option<usize>,
    /// Timestep the decoder is told, where it takes one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_timestep: Option<f32>,
    /// Share of noise mixed into the latents before decoding, where the decoder takes a timestep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_noise_scale: Option<f32>,
    /// Tokens every prompt is padded to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// `original`, `diffusers` or `comfyui`: which program's draws a seed gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<String>,
}

impl Settings {
    /// These settings, and `other`'s where these say nothing.
    pub fn or(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            prompt: self.prompt.or(other.prompt),
            negative_prompt: self.negative_prompt.or(other.negative_prompt),
            seed: self.seed.or(other.seed),
            height: self.height.or(other.height),
            width: self.width.or(other.width),
            frames: self.frames.or(other.frames),
            fps: self.fps.or(other.fps),
            timesteps: self
                .timesteps
                .or(other.timesteps.filter(|_| self.steps.is_none())),
            steps: self.steps.or(other.steps),
            guidance_scale: self.guidance_scale.or(other.guidance_scale),
            cfg_star_rescale: self.cfg_star_rescale.or(other.cfg_star_rescale),
            stochastic_sampling: self.stochastic_sampling.or(other.stochastic_sampling),
            skip_initial_inference_steps: self
                .skip_initial_inference_steps
                .or(other.skip_initial_inference_steps),
            skip_final_inference_steps: self
                .skip_final_inference_steps
                .or(other.skip_final_inference_steps),
            decode_timestep: self.decode_timestep.or(other.decode_timestep),
            decode_noise_scale: self.decode_noise_scale.or(other.decode_noise_scale),
            max_tokens: self.max_tokens.or(other.max_tokens),
            noise: self.noise.or(other.noise),
        }
    }
}
