//! Latent upscalers: the original single file with a flat configuration, or a diffusers folder.
//!
//! Both have the same keys. What the configuration says is checked before it is believed, so that another model is
//! refused by name and not by its first missing tensor.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::builder::Builder;
use super::error::CheckpointError;
use super::json::{object, read_json};
use super::{Checkpoint, weights};

const STEM: &str = "diffusion_pytorch_model";
const CLASSES: [&str; 2] = ["LatentUpsampler", "LTXLatentUpsamplerModel"];

/// What a latent upscaler makes more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpscalerKind {
    /// Rows and columns.
    Spatial,
    /// Frames.
    Temporal,
}

#[derive(Deserialize, Serialize)]
struct UpscalerConfig {
    in_channels: u64,
    mid_channels: u64,
    num_blocks_per_stage: u64,
    dims: u64,
    spatial_upsample: bool,
    temporal_upsample: bool,
}

/// Opens a folder or a single file that upscales as `kind` says.
pub(super) fn open(path: &Path, kind: UpscalerKind) -> Result<Checkpoint, CheckpointError> {
    let mut builder = Builder::default();
    let config = if path.is_dir() {
        let folder = component_folder(path)?;
        let file = folder.join("config.json");
        let config = checked(&file, read_json(&file, "the configuration")?, kind)?;
        builder.add_weights(weights::find(&folder, STEM)?, |key| Some(key.to_owned()))?;
        config
    } else {
        let metadata = builder.add_file(path, |key| Some(key.to_owned()))?;
        let Some(text) = metadata.get("config") else {
            return Err(no_upscaler(path, "no `config` metadata"));
        };
        checked(path, object(path, "the `config` metadata", text)?, kind)?
    };
    Ok(builder.finish(json!({ "upscaler": config })))
}

/// The folder itself, or `latent_upsampler/` in a pipeline's folder.
fn component_folder(path: &Path) -> Result<PathBuf, CheckpointError> {
    let inner = path.join("latent_upsampler");
    let folder = if inner.is_dir() { &inner } else { path };
    if !folder.join("config.json").is_file() {
        return Err(no_upscaler(path, "a folder without config.json"));
    }
    Ok(folder.to_owned())
}

fn checked(
    path: &Path,
    config: Value,
    kind: UpscalerKind,
) -> Result<UpscalerConfig, CheckpointError> {
    let class = config.get("_class_name").and_then(Value::as_str);
    let known = class.map_or(config.get("spatial_upsample").is_some(), |class| {
        CLASSES.contains(&class)
    });
    if !known {
        return Err(no_upscaler(path, &other_model(&config)));
    }
    let config: UpscalerConfig =
        serde_json::from_value(config).map_err(|source| CheckpointError::Json {
            path: path.to_path_buf(),
            what: "the upscaler's configuration",
            source,
        })?;
    check_kind(path, &config, kind)?;
    Ok(config)
}

fn check_kind(
    path: &Path,
    config: &UpscalerConfig,
    kind: UpscalerKind,
) -> Result<(), CheckpointError> {
    let (wanted, fits) = match kind {
        UpscalerKind::Spatial => ("a spatial upscaler", config.spatial_upsample),
        UpscalerKind::Temporal => ("a temporal upscaler", config.temporal_upsample),
    };
    if fits {
        return Ok(());
    }
    let found = match (config.spatial_upsample, config.temporal_upsample) {
        (true, _) => "a spatial one",
        (_, true) => "a temporal one",
        _ => "one that upscales neither space nor time",
    };
    Err(CheckpointError::unexpected(path, wanted, found))
}

/// The best name for what a configuration describes.
fn other_model(config: &Value) -> String {
    let name = config
        .get("_class_name")
        .or_else(|| config.pointer("/architectures/0"))
        .and_then(Value::as_str);
    match name {
        Some(name) => format!("`{name}`"),
        None if config.get("transformer").is_some() => "a model with a transformer".to_owned(),
        None => "another configuration".to_owned(),
    }
}

fn no_upscaler(path: &Path, found: &str) -> CheckpointError {
    let expected = "a latent upscaler: a .safetensors file that says so in its metadata, or a diffusers folder with \
                    latent_upsampler/ or config.json";
    CheckpointError::unexpected(path, expected, found)
}
