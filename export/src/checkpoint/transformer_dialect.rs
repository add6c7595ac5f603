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

/// The original key of a diffusers transformer tensor.
pub(super) fn canonical_key(key: &str) -> String {
    let mut parts: Vec<&str> = key.split('.').collect();
    if let Some(first) = parts.first_mut() {
        *first = match *first {
            "proj_in" => "patchify_proj",
            "time_embed" => "adaln_single",
            other => other,
        };
    }
    for part in &mut parts {
        *part = match *part {
            "norm_q" => "q_norm",
            "norm_k" => "k_norm",
            other => other,
        };
    }
    format!("{PREFIX}{}", parts.join("."))
}
