//! Walks the parallel lists of a diffusers VAE configuration in the order in which diffusers builds
//! its modules.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::transformer_dialect::Mismatch;
use super::vae_dialect::{DiffusersVae, DownBlock};

/// Key prefixes (or whole keys) of diffusers and what they become.
pub(super) type Renames = BTreeMap<String, String>;

/// One half of the VAE, in order of execution.
pub(super) struct Walk {
    /// `[name, parameters]`, the original notation.
    pub(super) blocks: Vec<Value>,
    pub(super) renames: Renames,
    /// The narrow end: the encoder's first, the decoder's last width.
    pub(super) base_channels: u64,
    target: &'static str,
}

impl Walk {
    fn new(target: &'static str) -> Self {
        Self {
            blocks: Vec::new(),
            renames: Renames::new(),
            base_channels: 0,
            target,
        }
    }

    /// Adds a block; each of `modules` (a prefix) moves to the block followed by the paired suffix.
    fn push(&mut self, name: &str, params: Value, modules: &[(String, &str)]) {
        let position = self.blocks.len();
        for (from, suffix) in modules {
            self.renames
                .insert(from.clone(), format!("{}.{position}.{suffix}", self.target));
        }
        self.blocks.push(json!([name, params]));
    }

    fn residual_blocks(&mut self, params: Value, module: &str) {
        let modules = [
            (format!("{module}.resnets."), "res_blocks."),
            (format!("{module}.time_embedder."), "time_embedder."),
        ];
        self.push("res_x", params, &modules);
    }
}

/// The encoder's blocks.
pub(super) fn encoder(vae: &DiffusersVae) -> Result<Walk, Mismatch> {
    let outs = &vae.block_out_channels;
    let mut walk = Walk::new("encoder.down_blocks");
    let mut width = *at(outs, 0, "block_out_channels")?;
    walk.base_channels = width;
    let count = outs.len() - usize::from(vae.is_095());
    for i in 0..count {
        let next = *outs.get(i + 1).unwrap_or(&outs[i]);
        down_block(vae, i, (width, next), &mut walk)?;
        width = next;
    }
    let layers = vae
        .layers_per_block
        .last()
        .ok_or_else(|| too_short("layers_per_block", 1, 0))?;
    walk.residual_blocks(json!({ "num_layers": layers }), "encoder.mid_block");
    Ok(walk)
}

fn down_block(
    vae: &DiffusersVae,
    i: usize,
    width: (u64, u64),
    walk: &mut Walk,
) -> Result<(), Mismatch> {
    let module = format!("encoder.down_blocks.{i}");
    let layers = at(&vae.layers_per_block, i, "layers_per_block")?;
    let scaled = *at(&vae.spatio_temporal_scaling, i, "spatio_temporal_scaling")?;
    walk.residual_blocks(json!({ "num_layers": layers }), &module);
    match at(&vae.down_block_types, i, "down_block_types")? {
        DownBlock::Strided => strided_tail(scaled, width, &module, walk),
        DownBlock::SpaceToDepth => {
            let kind = at(&vae.downsample_type, i, "downsample_type")?;
            space_to_depth_tail(scaled.then_some(kind.as_str()), width, &module, walk)
        }
    }
}

fn strided_tail(
    scaled: bool,
    width: (u64, u64),
    module: &str,
    walk: &mut Walk,
) -> Result<(), Mismatch> {
    if scaled {
        walk.push(
            "compress_all",
            json!({}),
            &[(format!("{module}.downsamplers.0."), "")],
        );
    }
    if width.0 != width.1 {
        let params = json!({ "multiplier": ratio(width.1, width.0, "block_out_channels")? });
        walk.push("res_x_y", params, &[(format!("{module}.conv_out."), "")]);
    }
    Ok(())
}

fn space_to_depth_tail(
    kind: Option<&str>,
    width: (u64, u64),
    module: &str,
    walk: &mut Walk,
) -> Result<(), Mismatch> {
    let widened = json!({ "multiplier": ratio(width.1, width.0, "block_out_channels")? });
    let (name, params) = match kind {
        Some("spatial") => ("compress_space_res", widened),
        Some("temporal") => ("compress_time_res", widened),
        Some("spatiotemporal") => ("compress_all_res", widened),
        Some("conv") | None if width.0 != width.1 => return Err(cannot_widen(module, width)),
        Some("conv") => ("compress_all", json!({})),
        None => return Ok(()),
        Some(other) => {
            let expected = "downsample_type `conv`, `spatial`, `temporal` or `spatiotemporal`";
            return Err((expected.into(), format!("`{other}`")));
        }
    };
    walk.push(name, params, &[(format!("{module}.downsamplers.0."), "")]);
    Ok(())
}

fn cannot_widen(module: &str, width: (u64, u64)) -> Mismatch {
    let expected =
        format!("the same width before and after {module}, which has nothing to widen it");
    (expected, format!("{} and {} channels", width.0, width.1))
}

/// The decoder's blocks. Every list of the configuration is read from its end.
pub(super) fn decoder(vae: &DiffusersVae) -> Result<Walk, Mismatch> {
    let outs = &vae.decoder_block_out_channels;
    let mut walk = Walk::new("decoder.up_blocks");
    let mut width = *from_end(outs, 0, "decoder_block_out_channels")?;
    walk.residual_blocks(decoder_params(vae, 0)?, "decoder.mid_block");
    for i in 0..outs.len() {
        width = up_block(vae, i, width, &mut walk)?;
    }
    walk.base_channels = width;
    Ok(walk)
}

fn decoder_params(vae: &DiffusersVae, i: usize) -> Result<Value, Mismatch> {
    let layers = from_end(&vae.decoder_layers_per_block, i, "decoder_layers_per_block")?;
    let noise = from_end(&vae.decoder_inject_noise, i, "decoder_inject_noise")?;
    Ok(json!({ "num_layers": layers, "inject_noise": noise }))
}

/// Adds one up block that is entered with `entry` channels; returns the channels it leaves.
fn up_block(vae: &DiffusersVae, i: usize, entry: u64, walk: &mut Walk) -> Result<u64, Mismatch> {
    let module = format!("decoder.up_blocks.{i}");
    let listed = *from_end(
        &vae.decoder_block_out_channels,
        i,
        "decoder_block_out_channels",
    )?;
    let factor = *from_end(&vae.upsample_factor, i, "upsample_factor")?;
    let scaled = *from_end(
        &vae.decoder_spatio_temporal_scaling,
        i,
        "decoder_spatio_temporal_scaling",
    )?;
    let params = decoder_params(vae, i + 1)?;
    if entry != listed {
        shortcut_up(vae, (entry, listed), factor, &params, &module, walk)?;
    }
    if scaled {
        let residual = from_end(&vae.upsample_residual, i, "upsample_residual")?;
        let resample = json!({ "residual": residual, "multiplier": factor });
        walk.push(
            "compress_all",
            resample,
            &[(format!("{module}.upsamplers.0."), "")],
        );
    } else if factor != 1 {
        let expected = format!("upsample_factor 1 for {module}, which has no upsampler");
        return Err((expected, factor.to_string()));
    }
    walk.residual_blocks(params, &module);
    ratio(listed, factor, "decoder_block_out_channels")
}

/// A residual block that narrows in front of the resampler.
fn shortcut_up(
    vae: &DiffusersVae,
    width: (u64, u64),
    factor: u64,
    params: &Value,
    module: &str,
    walk: &mut Walk,
) -> Result<(), Mismatch> {
    if factor != 1 || vae.timestep_conditioning {
        let expected = format!(
            "{} channels into {module}, which is conditioned or narrows by itself",
            width.1
        );
        return Err((expected, width.0.to_string()));
    }
    let multiplier = ratio(width.0, width.1, "decoder_block_out_channels")?;
    let params = json!({ "multiplier": multiplier, "inject_noise": params["inject_noise"] });
    walk.push("res_x_y", params, &[(format!("{module}.conv_in."), "")]);
    Ok(())
}

fn ratio(wide: u64, narrow: u64, list: &str) -> Result<u64, Mismatch> {
    match wide.checked_rem(narrow) {
        Some(0) if wide > 0 => Ok(wide / narrow),
        _ => Err((
            format!("widths in {list} that divide each other"),
            format!("{wide} and {narrow}"),
        )),
    }
}

fn at<'a, T>(list: &'a [T], i: usize, name: &str) -> Result<&'a T, Mismatch> {
    list.get(i)
        .ok_or_else(|| too_short(name, i + 1, list.len()))
}

fn from_end<'a, T>(list: &'a [T], i: usize, name: &str) -> Result<&'a T, Mismatch> {
    list.iter()
        .rev()
        .nth(i)
        .ok_or_else(|| too_short(name, i + 1, list.len()))
}

fn too_short(name: &str, expected: usize, found: usize) -> Mismatch {
    (
        format!("at least {expected} entries in {name}"),
        found.to_string(),
    )
}
