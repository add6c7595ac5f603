//! Everything that decides a video but its bundle, prompts and seeds, in words that compare.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::condition::Media;
use super::job::Job;
use super::passes::PassJob;

impl Job {
    /// Every setting by its name. Media are described by what is in them, not by where they lie.
    pub(super) fn described(&self) -> BTreeMap<String, String> {
        let size = self.geometry.asked;
        let mut all: BTreeMap<String, String> = [
            ("negative_prompt", format!("{:?}", self.negative_prompt)),
            ("size", format!("{}x{}", size.width, size.height)),
            ("frames", size.frames.to_string()),
            ("fps", self.fps.to_string()),
            ("noise", self.layout.to_string()),
            ("max_tokens", self.max_tokens.to_string()),
            (
                "posterior",
                if self.posterior_mean {
                    "mean"
                } else {
                    "sample"
                }
                .to_owned(),
            ),
            ("adain_factor", self.adain_factor.to_string()),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        if let Some(input) = &self.input {
            all.insert("input video".to_owned(), content(input));
        }
        for (number, cue) in self.cues.iter().enumerate() {
            all.insert(
                format!("prompt {} of the timeline", number + 1),
                format!("{cue:?}"),
            );
        }
        for (number, condition) in self.conditions.iter().enumerate() {
            let (at, strength, place) = (condition.frame, condition.strength, condition.place);
            let content = content(&condition.media);
            let value = format!("{place:?} from frame {at} with strength {strength}, {content}");
            all.insert(format!("condition {}", number + 1), value);
        }
        for (number, pass) in self.passes.iter().enumerate() {
            let named = pass.described().into_iter();
            all.extend(
                named.map(|(name, value)| (format!("{name} of pass {}", number + 1), value)),
            );
        }
        all
    }
}

impl PassJob {
    fn described(&self) -> [(&'static str, String); 11] {
        let starts: Vec<_> = self.windows.spans.iter().map(|span| span.start).collect();
        let (size, windows) = (self.latents, &self.windows);
        [
            (
                "latents",
                format!("{}x{}x{}", size.width, size.height, size.frames),
            ),
            (
                "windows",
                format!(
                    "{} latent frames from {starts:?} on, strength {}, adain {}, {} anchors",
                    windows.length(),
                    windows.strength,
                    windows.adain_factor,
                    windows.anchors
                ),
            ),
            ("timesteps", format!("{:?}", self.timesteps)),
            ("guidance", format!("{:?}", self.guidance)),
            ("skip_block_list", format!("{:?}", self.skip_blocks)),
            ("stochastic_sampling", self.stochastic.to_string()),
            ("image_cond_noise_scale", self.condition_noise.to_string()),
            ("step_cache", self.step_cache.to_string()),
            ("dense_steps", self.dense_steps.to_string()),
            ("tone_map_compression_ratio", self.tone_map.to_string()),
            (
                "decode_timestep",
                format!(
                    "{}, with noise {}",
                    self.decode_timestep, self.decode_noise_scale
                ),
            ),
        ]
    }
}

/// Size and a hash of the pixels.
fn content(media: &Media) -> String {
    let (size, mut hasher) = (media.size(), Sha256::new());
    for value in media.pixels() {
        hasher.update(value.to_le_bytes());
    }
    let hash = ltxc_bundle::hex(&hasher.finalize()[..8]);
    format!("{}x{}x{} ({hash})", size.width, size.height, size.frames)
}
