//! The transformer of a diffusers folder, in the words of the original single file.

use serde::Deserialize;
use serde_json::{Value, json};

/// The prefix of every transformer key in the original dialect.
pub(super) const PREFIX: &str = "model.diffusion_model.";

/// `transformer/config.json`; what is missing has the default of the diffusers class.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct DiffusersTransformer {
    #[serde(rename = "_class_name")]
    class_name: String,
    in_channels: u64,
    out_channels: Option<u64>,
    patch_size: u64,
    patch_size_t: u64,
    num_attention_heads: u64,
    attention_head_dim: u64,
    cross_attention_dim: u64,
    num_layers: u64,
    activation_fn: String,
    qk_norm: String,
    norm_elementwise_affine: bool,
    norm_eps: f64,
    caption_channels: u64,
    attention_bias: bool,
    attention_out_bias: bool,
}

impl Default for DiffusersTransformer {
    fn default() -> Self {
        Self {
            class_name: CLASS.into(),
            in_channels: 128,
            out_channels: Some(128),
            patch_size: 1,
            patch_size_t: 1,
            num_attention_heads: 32,
            attention_head_dim: 64,
            cross_attention_dim: 2048,
            num_layers: 28,
            activation_fn: "gelu-approximate".into(),
            qk_norm: QK_NORM.into(),
            norm_elementwise_affine: false,
            norm_eps: 1e-6,
            caption_channels: 4096,
            attention_bias: true,
            attention_out_bias: true,
        }
    }
}

const CLASS: &str = "LTXVideoTransformer3DModel";
const QK_NORM: &str = "rms_norm_across_heads";

/// What a configuration asks for that the original model cannot express: expected, found.
pub(super) type Mismatch = (String, String);

impl DiffusersTransformer {
    /// The original configuration, with the rope causality that the folder does not state.
    pub(super) fn to_original(&self, causal_rope: bool) -> Result<Value, Mismatch> {
        self.check()?;
        Ok(json!({
            "_class_name": "Transformer3DModel",
            "in_channels": self.in_channels,
            "out_channels": self.out_channels.unwrap_or(self.in_channels),
            "num_attention_heads": self.num_attention_heads,
            "attention_head_dim": self.attention_head_dim,
            "cross_attention_dim": self.cross_attention_dim,
            "num_layers": self.num_layers,
            "activation_fn": self.activation_fn,
            "norm_elementwise_affine": self.norm_elementwise_affine,
            "norm_eps": self.norm_eps,
            "caption_channels": self.caption_channels,
            "attention_bias": self.attention_bias,
            "attention_type": "default",
            "adaptive_norm": "single_scale_shift",
            "double_self_attention": false,
            "only_cross_attention": false,
            "project_to_2d_pos": true,
            "qk_norm": "rms_norm",
            "standardization_norm": "rms_norm",
            "positional_embedding_type": "rope",
            "positional_embedding_theta": 10000.0,
            "positional_embedding_max_pos": [20, 2048, 2048],
            "timestep_scale_multiplier": 1000,
            "causal_temporal_positioning": causal_rope,
        }))
    }

    fn check(&self) -> Result<(), Mismatch> {
        require("_class_name", CLASS, &self.class_name)?;
        require("qk_norm", QK_NORM, &self.qk_norm)?;
        require("patch_size", &1, &self.patch_size)?;
        require("patch_size_t", &1, &self.patch_size_t)?;
        require("attention_out_bias", &true, &self.attention_out_bias)
    }
}

/// Refuses a setting that has one supported value.
pub(super) fn require<T: PartialEq + std::fmt::Debug + ?Sized>(
    name: &str,
    expected: &T,
    found: &T,
) -> Result<(), Mismatch> {
    if expected == found {
        return Ok(());
    }
    Err((format!("{name} = {expected:?}"), format!("{found:?}")))
}

/// Names of the original and of diffusers where they differ: first parts of a key, then any parts.
const FIRST: [(&str, &str); 2] = [("patchify_proj", "proj_in"), ("adaln_single", "time_embed")];
const ANY: [(&str, &str); 2] = [("q_norm", "norm_q"), ("k_norm", "norm_k")];

/// The name that diffusers has for a part of the transformer, given without prefix.
pub(super) fn diffusers_key(key: &str) -> String {
    renamed(key, |(original, diffusers)| (original, diffusers))
}

/// A key with its parts renamed from the first to the second of what `pair` makes of each pair of names.
fn renamed(
    key: &str,
    pair: fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> String {
    let name = |part: &str, names: &[(&'static str, &'static str)]| {
        let mut pairs = names.iter().map(|names| pair(*names));
        pairs.find(|(from, _)| *from == part).map(|(_, to)| to)
    };
    let parts = key.split('.').enumerate().map(|(at, part)| {
        let first = name(part, &FIRST).filter(|_| at == 0);
        first.or_else(|| name(part, &ANY)).unwrap_or(part)
    });
    parts.collect::<Vec<_>>().join(".")
}

/// The original key of a diffusers transformer tensor.
pub(super) fn canonical_key(key: &str) -> String {
    let original = renamed(key, |(original, diffusers)| (diffusers, original));
    format!("{PREFIX}{original}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (original, diffusers) in [
            ("patchify_proj.weight", "proj_in.weight"),
            (
                "adaln_single.emb.timestep_embedder.linear_1",
                "time_embed.emb.timestep_embedder.linear_1",
            ),
            (
                "transformer_blocks.0.attn1.q_norm.weight",
                "transformer_blocks.0.attn1.norm_q.weight",
            ),
            (
                "caption_projection.linear_1.weight",
                "caption_projection.linear_1.weight",
            ),
            (
                "transformer_blocks.0.proj_in.weight",
                "transformer_blocks.0.proj_in.weight",
            ),
        ] {
            assert_eq!(diffusers_key(original), diffusers);
            assert_eq!(canonical_key(diffusers), format!("{PREFIX}{original}"));
        }
    }
}
