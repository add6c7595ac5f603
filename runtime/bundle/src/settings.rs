//! What a caller may set, and what a preset says where the caller is silent.
//!
//! The names are those of the reference program's configuration files where it has one; `first_pass` and
//! `second_pass` hold settings that differ between the passes of a multi-scale run.

use serde::{Deserialize, Serialize};

use crate::plan::Pass;

/// A setting that is the same for all steps or follows a list of timesteps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected one value or a list of values")]
pub enum Scheduled<T> {
    /// One value for all steps.
    Constant(T),
    /// One value for each of the guidance timesteps.
    Listed(Vec<T>),
}

impl<T> Scheduled<T> {
    /// The value at a timestep: that of the first guidance timestep not above it, else the last; none if there is
    /// not one value for each guidance timestep.
    pub fn at(&self, guidance_timesteps: &[f32], timestep: f32) -> Option<&T> {
        let values = match self {
            Self::Constant(value) => return Some(value),
            Self::Listed(values) => values,
        };
        if values.len() != guidance_timesteps.len() {
            return None;
        }
        let reached = guidance_timesteps.iter().position(|t| *t <= timestep);
        reached.map_or(values.last(), |place| values.get(place))
    }

    /// Every value.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        match self {
            Self::Constant(value) => std::slice::from_ref(value).iter(),
            Self::Listed(values) => values.iter(),
        }
    }
}

macro_rules! settings {
    ($( $(#[$meta:meta])+ $field:ident : $ty:ty ),* $(,)?) => {
        /// What a caller may set; everything left out is decided by the preset, then by the program.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct Settings {
            $( $(#[$meta])+ #[serde(skip_serializing_if = "Option::is_none")] pub $field: Option<$ty> ),*
        }

        impl Settings {
            /// The names that are set.
            pub fn set(&self) -> Vec<&'static str> {
                [$( self.$field.as_ref().map(|_| stringify!($field)) ),*].into_iter().flatten().collect()
            }

            /// Field by field these settings, or `other`'s where these say nothing.
            fn filled(self, other: &Self) -> Self {
                Self { $( $field: self.$field.or_else(|| other.$field.clone()) ),* }
            }
        }
    };
}

settings! {
    /// What the video shows.
    prompt: String,
    /// What it must not show; used with `guidance_scale` over 1.
    negative_prompt: String,
    /// Seed of every random draw.
    seed: u64,
    /// Pixel rows of the video.
    height: usize,
    /// Pixel columns of the video.
    width: usize,
    /// Frames of the video.
    #[serde(alias = "num_frames")]
    frames: usize,
    /// Frames per second.
    #[serde(alias = "frame_rate")]
    fps: f64,
    /// Denoising steps.
    #[serde(alias = "num_inference_steps")]
    steps: usize,
    /// Timesteps instead of a schedule, falling, in (0, 1].
    timesteps: Vec<f32>,
    /// The schedule: `from_checkpoint`, `uniform` or `linear_quadratic`.
    sampler: String,
    /// How much further than the negative prompt (CFG); 1 is off.
    guidance_scale: Scheduled<f32>,
    /// How much further than the perturbed network (STG); 0 is off.
    stg_scale: Scheduled<f32>,
    /// How much of the prompt's standard deviation is restored under STG; 1 is off.
    rescaling_scale: Scheduled<f32>,
    /// Blocks that STG perturbs.
    skip_block_list: Scheduled<Vec<usize>>,
    /// The timesteps from which the entries of the lists above hold, falling.
    guidance_timesteps: Vec<f32>,
    /// Project the negative prediction before guiding (CFG*).
    cfg_star_rescale: bool,
    /// Fresh noise at every step.
    stochastic_sampling: bool,
    /// First schedule steps left out, for a run that starts from a video or from latents.
    skip_initial_inference_steps: usize,
    /// Last schedule steps merged into one.
    skip_final_inference_steps: usize,
    /// Noise on given frames at each step, times the square of the timestep; 0 is off.
    image_cond_noise_scale: f32,
    /// `sample` or `mean`: what is taken of the encoder's distribution for given frames.
    posterior: String,
    /// Size of the first of several passes over the size asked for.
    downscale_factor: f64,
    /// How far upscaled latents are moved to the statistics of the latents before; 1 is wholly.
    adain_factor: f32,
    /// Strength of the compression of large latents before decoding, 0 to 1; 0 is off.
    tone_map_compression_ratio: f32,
    /// Timestep the decoder is told, where it takes one.
    decode_timestep: f32,
    /// Share of noise mixed into the latents before decoding, where the decoder takes a timestep.
    decode_noise_scale: f32,
    /// How little the first block's work must change for the work of the others to be used again; 0 is off.
    step_cache: f32,
    /// First steps of a window that attend to all tokens, where the bundle's attention is sparse.
    dense_steps: usize,
    /// Frames that are denoised at a time; longer videos are made in windows of so many.
    window: usize,
    /// Frames that a window shares with the one before; a quarter of it where left out.
    window_overlap: usize,
    /// How strongly the frames that are there already are given to the next window, 0 to 1.
    window_strength: f32,
    /// How far later windows are moved to the latents' statistics in the first; 1 is wholly.
    window_adain_factor: f32,
    /// Latent frames of the first window that every later one is given, at times before its own; 0 is off.
    window_anchors: usize,
    /// Tokens every prompt is padded to.
    #[serde(alias = "text_encoder_max_tokens")]
    max_tokens: usize,
    /// `original`, `diffusers` or `comfyui`: which program's draws a seed gives.
    noise: String,
    /// What differs in the first of several passes.
    first_pass: Box<Settings>,
    /// What differs in the second of several passes.
    second_pass: Box<Settings>,
}

impl Settings {
    /// These settings, and `other`'s where these say nothing; a number of steps replaces the other's timesteps.
    pub fn or(self, other: &Self) -> Self {
        let mut other = other.clone();
        if self.steps.is_some() {
            other.timesteps = None;
        }
        let merged =
            |own: &Option<Box<Self>>, other: &mut Option<Box<Self>>| match (own, other.take()) {
                (Some(own), Some(other)) => Some(Box::new((**own).clone().or(&other))),
                (own, other) => own.clone().or(other),
            };
        let first_pass = merged(&self.first_pass, &mut other.first_pass);
        let second_pass = merged(&self.second_pass, &mut other.second_pass);
        Self {
            first_pass,
            second_pass,
            ..self.filled(&other)
        }
    }

    /// What holds in a pass: its own section where it says something, these settings elsewhere.
    pub fn of(&self, pass: Option<Pass>) -> Self {
        let section = match pass {
            None => &None,
            Some(Pass::FirstPass) => &self.first_pass,
            Some(Pass::SecondPass) => &self.second_pass,
        };
        let whole = Self {
            first_pass: None,
            second_pass: None,
            ..self.clone()
        };
        match section {
            Some(section) => (**section).clone().or(&whole),
            None => whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Settings {
        serde_json::from_str(text).expect("valid settings")
    }

    #[test]
    fn a_caller_wins_over_a_preset() {
        let preset = read(r#"{"steps": 40, "seed": 7, "guidance_scale": [1, 3]}"#);
        let merged = read(r#"{"guidance_scale": 2, "seed": 1}"#).or(&preset);
        let expected = read(r#"{"steps": 40, "seed": 1, "guidance_scale": 2}"#);
        assert_eq!(merged, expected);
    }

    #[test]
    fn steps_replace_timesteps() {
        let preset = read(r#"{"timesteps": [1, 0.5]}"#);
        assert_eq!(read(r#"{"steps": 8}"#).or(&preset).timesteps, None);
        assert!(read("{}").or(&preset).timesteps.is_some());
    }

    #[test]
    fn a_pass_has_its_own_section_and_shares_the_rest() {
        let settings = read(
            r#"{"num_inference_steps": 9, "stg_scale": 0, "seed": 3, "first_pass": {"timesteps": [1], "stg_scale": [1, 2]}}"#,
        );
        let first = settings.of(Some(Pass::FirstPass));
        assert_eq!(
            (first.stg_scale, first.seed),
            (Some(Scheduled::Listed(vec![1.0, 2.0])), Some(3))
        );
        let second = settings.of(Some(Pass::SecondPass));
        assert_eq!(
            (second.steps, second.stg_scale),
            (Some(9), Some(Scheduled::Constant(0.0)))
        );
        assert_eq!(second.first_pass, None);
    }

    #[test]
    fn the_sections_of_two_callers_join() {
        let own = read(r#"{"first_pass": {"steps": 2}}"#);
        let joined = own.or(&read(
            r#"{"first_pass": {"stg_scale": 1}, "second_pass": {"seed": 1}}"#,
        ));
        let expected =
            read(r#"{"first_pass": {"steps": 2, "stg_scale": 1}, "second_pass": {"seed": 1}}"#);
        assert_eq!(joined, expected);
    }
}
