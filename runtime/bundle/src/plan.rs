//! What a run does: the stages of a pipeline.

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
    /// Noise, conditioning media and latents of an earlier pass to the tokens that denoising starts from.
    PrepareLatents(PrepareLatents),
    /// Noise to latents.
    Denoise(Denoise),
    /// Latents to latents of a larger video.
    UpscaleLatents(UpscaleLatents),
    /// Latents to pixels.
    DecodeVideo(DecodeVideo),
}

/// A section of the settings that holds for some stages only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pass {
    /// `first_pass`
    FirstPass,
    /// `second_pass`
    SecondPass,
}

/// Prompts to hidden states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeText {
    /// Component with inputs `ids`, `mask` and output `hidden`.
    pub component: String,
}

/// Noise, conditioning media and latents of an earlier pass to the tokens that denoising starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepareLatents {
    /// Component with inputs `video`, `noise` and output `latents`; loaded only if there are media to encode.
    pub component: String,
    /// The stage whose latents are noised again, instead of pure noise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latents: Option<String>,
    /// The section of the settings that holds from here to the next such stage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Pass>,
}

/// Noise to latents by rectified flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denoise {
    /// Component with inputs `latents`, `coords`, `text`, `text_mask`, `timestep`, `timestep_of`, `keep` and output `velocity`.
    pub component: String,
    /// The stage that encodes the prompts.
    pub text: String,
    /// The stage that prepares the tokens.
    pub start: String,
}

/// Latents to latents of a larger video, whose statistics are moved to those of the smaller one (AdaIN).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpscaleLatents {
    /// Component with input `latents` and output `upscaled`, not normalised.
    pub component: String,
    /// Component with input `latents` and outputs `normalized`, `un_normalized`.
    pub statistics: String,
    /// The stage that makes the latents.
    pub latents: String,
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
