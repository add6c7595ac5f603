//! The VAE of a diffusers folder, in the words of the original single file.
//!
//! Original: one flat list of blocks for each half, numbered in order of execution. Diffusers:
//! groups made of a shortcut block, a resampler and residual blocks, described by parallel lists.
//! Both halves are walked as diffusers builds them; the walk yields the flat list and, for each of
//! its blocks, the modules its weights come from.

use serde::Deserialize;
use serde_json::{Value, json};

use super::transformer_dialect::{Mismatch, require};
use super::vae_walk::{self, Renames};

/// `vae/config.json`; what is missing has the default of the diffusers class.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub(super) struct DiffusersVae {
    #[serde(rename = "_class_name")]
    class_name: String,
    in_channels: u64,
    out_channels: u64,
    latent_channels: u64,
    pub(super) block_out_channels: Vec<u64>,
    pub(super) down_block_types: Vec<DownBlock>,
    pub(super) decoder_block_out_channels: Vec<u64>,
    pub(super) layers_per_block: Vec<u64>,
    pub(super) decoder_layers_per_block: Vec<u64>,
    pub(super) spatio_temporal_scaling: Vec<bool>,
    pub(super) decoder_spatio_temporal_scaling: Vec<bool>,
    pub(super) decoder_inject_noise: Vec<bool>,
    pub(super) downsample_type: Vec<String>,
    pub(super) upsample_residual: Vec<bool>,
    pub(super) upsample_factor: Vec<u64>,
    pub(super) timestep_conditioning: bool,
    patch_size: u64,
    patch_size_t: u64,
    resnet_norm_eps: f64,
    scaling_factor: f64,
    encoder_causal: bool,
    decoder_causal: bool,
}

/// The down blocks that diffusers knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum DownBlock {
    /// Residual blocks, a strided convolution, a residual block that widens (0.9.0, 0.9.1).
    #[serde(rename = "LTXVideoDownBlock3D")]
    Strided,
    /// Residual blocks and a space-to-depth convolution that widens (0.9.5 and later).
    #[serde(rename = "LTXVideo095DownBlock3D")]
    SpaceToDepth,
}

const CLASS: &str = "AutoencoderKLLTXVideo";

impl Default for DiffusersVae {
    fn default() -> Self {
        Self {
            class_name: CLASS.into(),
            in_channels: 3,
            out_channels: 3,
            latent_channels: 128,
            block_out_channels: vec![128, 256, 512, 512],
            down_block_types: vec![DownBlock::Strided; 4],
            decoder_block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: vec![4, 3, 3, 3, 4],
            decoder_layers_per_block: vec![4, 3, 3, 3, 4],
            spatio_temporal_scaling: vec![true, true, true, false],
            decoder_spatio_temporal_scaling: vec![true, true, true, false],
            decoder_inject_noise: vec![false; 5],
            downsample_type: vec!["conv".into(); 4],
            upsample_residual: vec![false; 4],
            upsample_factor: vec![1; 4],
            timestep_conditioning: false,
            patch_size: 4,
            patch_size_t: 1,
            resnet_norm_eps: 1e-6,
            scaling_factor: 1.0,
            encoder_causal: true,
            decoder_causal: false,
        }
    }
}

/// A translated VAE: its original configuration and the way from its keys to the original ones.
pub(super) struct VaeDialect {
    pub(super) config: Value,
    renames: Renames,
}

impl DiffusersVae {
    /// Whether the encoder is of the generation that came with the causal rope.
    pub(super) fn is_095(&self) -> bool {
        self.down_block_types.last() == Some(&DownBlock::SpaceToDepth)
    }

    /// The original configuration and keys.
    pub(super) fn to_original(&self) -> Result<VaeDialect, Mismatch> {
        self.check()?;
        let encoder = vae_walk::encoder(self)?;
        let decoder = vae_walk::decoder(self)?;
        let config = json!({
            "_class_name": "CausalVideoAutoencoder",
            "dims": 3,
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "latent_channels": self.latent_channels,
            "encoder_blocks": encoder.blocks,
            "decoder_blocks": decoder.blocks.into_iter().rev().collect::<Vec<_>>(),
            "encoder_base_channels": encoder.base_channels,
            "decoder_base_channels": decoder.base_channels,
            "scaling_factor": self.scaling_factor,
            "norm_layer": "pixel_norm",
            "patch_size": self.patch_size,
            "latent_log_var": "uniform",
            "use_quant_conv": false,
            "causal_decoder": self.decoder_causal,
            "timestep_conditioning": self.timestep_conditioning,
        });
        let renames = encoder
            .renames
            .into_iter()
            .chain(decoder.renames)
            .chain(fixed_renames())
            .collect();
        Ok(VaeDialect { config, renames })
    }

    fn check(&self) -> Result<(), Mismatch> {
        require("_class_name", CLASS, &self.class_name)?;
        require("patch_size_t", &1, &self.patch_size_t)?;
        require("resnet_norm_eps", &1e-6, &self.resnet_norm_eps)?;
        require("encoder_causal", &true, &self.encoder_causal)
    }
}

fn fixed_renames() -> Renames {
    let pairs = [
        ("latents_mean", "per_channel_statistics.mean-of-means"),
        ("latents_std", "per_channel_statistics.std-of-means"),
        ("decoder.time_embedder.", "decoder.last_time_embedder."),
        (
            "decoder.scale_shift_table",
            "decoder.last_scale_shift_table",
        ),
    ];
    pairs
        .map(|(from, to)| (from.to_owned(), to.to_owned()))
        .into()
}

/// Modules that hold blocks: a key below them that no block claims does not fit the configuration.
const BLOCK_MODULES: [&str; 4] = [
    "encoder.down_blocks.",
    "encoder.mid_block.",
    "decoder.mid_block.",
    "decoder.up_blocks.",
];

impl VaeDialect {
    /// The original key of a diffusers VAE tensor; `None` if the configuration has no such block.
    pub(super) fn canonical_key(&self, key: &str) -> Option<String> {
        if let Some((to, rest)) = self.renamed_prefix(key) {
            let rest = rest
                .replace("norm3.", "norm3.norm.")
                .replace("conv_shortcut.conv.", "conv_shortcut.");
            return Some(format!("vae.{to}{rest}"));
        }
        let in_block = BLOCK_MODULES.iter().any(|module| key.starts_with(module));
        (!in_block).then(|| format!("vae.{key}"))
    }

    fn renamed_prefix<'k>(&self, key: &'k str) -> Option<(&str, &'k str)> {
        let whole = std::iter::once(key.len());
        let dots = key.rmatch_indices('.').map(|(at, _)| at + 1);
        whole.chain(dots).find_map(|end| {
            let (from, rest) = key.split_at(end);
            self.renames.get(from).map(|to| (to.as_str(), rest))
        })
    }
}
