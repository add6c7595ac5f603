//! A diffusers folder (`model_index.json`, `transformer/`, `vae/`, `scheduler/`), read in the
//! original dialect.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::builder::Builder;
use super::error::CheckpointError;
use super::json::read_json;
use super::scales::take_scales;
use super::scheduler::DiffusersScheduler;
use super::transformer_dialect::{self, DiffusersTransformer, Mismatch};
use super::vae_dialect::DiffusersVae;
use super::{Checkpoint, weights};

const STEM: &str = "diffusion_pytorch_model";

#[derive(Deserialize)]
struct ModelIndex {
    #[serde(rename = "_class_name")]
    class_name: String,
}

/// Opens the folder.
pub(super) fn open(folder: &Path) -> Result<Checkpoint, CheckpointError> {
    let parts = [folder.join("transformer"), folder.join("vae")];
    if !parts.iter().all(|part| part.is_dir()) {
        let expected = "a .safetensors file, or a diffusers folder with transformer/ and vae/";
        return Err(CheckpointError::unexpected(
            folder,
            expected,
            "a folder without them",
        ));
    }
    let mut builder = Builder::default();
    let pipeline = pipeline_class(folder)?;
    let vae: DiffusersVae = component(folder, "vae/config.json")?;
    let causal = rope_is_causal(pipeline.as_deref(), &vae, &mut builder);
    let transformer: DiffusersTransformer = component(folder, "transformer/config.json")?;
    let transformer = explain(
        folder,
        "transformer/config.json",
        transformer.to_original(causal),
    )?;
    let vae = explain(folder, "vae/config.json", vae.to_original())?;
    let scheduler = scheduler(folder, causal, &mut builder)?;

    builder.add_weights(weights::find(&parts[0], STEM)?, |key| {
        Some(transformer_dialect::canonical_key(key))
    })?;
    builder.add_weights(weights::find(&parts[1], STEM)?, |key| {
        vae.canonical_key(key)
    })?;
    let config = json!({ "transformer": transformer, "vae": vae.config, "scheduler": scheduler });
    take_scales(builder.finish(config))
}

fn component<T: DeserializeOwned>(folder: &Path, file: &str) -> Result<T, CheckpointError> {
    read_json(&folder.join(file), "the configuration")
}

fn explain<T>(
    folder: &Path,
    file: &str,
    translated: Result<T, Mismatch>,
) -> Result<T, CheckpointError> {
    translated.map_err(|(expected, found)| {
        CheckpointError::unexpected(&folder.join(file), expected, found)
    })
}

/// The pipeline class; `None` without an index.
fn pipeline_class(folder: &Path) -> Result<Option<String>, CheckpointError> {
    let path = folder.join("model_index.json");
    if !path.exists() {
        return Ok(None);
    }
    let class = read_json::<ModelIndex>(&path, "the model index")?.class_name;
    if !class.starts_with("LTX") || class.starts_with("LTX2") {
        let expected = "an LTX-Video pipeline such as LTXPipeline or LTXConditionPipeline";
        return Err(CheckpointError::unexpected(
            &path,
            expected,
            format!("`{class}`"),
        ));
    }
    Ok(Some(class))
}

/// Diffusers ties the rope to the pipeline class, the original to the checkpoint.
fn rope_is_causal(pipeline: Option<&str>, vae: &DiffusersVae, builder: &mut Builder) -> bool {
    let by_class = pipeline == Some("LTXConditionPipeline");
    let causal = by_class || vae.is_095();
    let reason = if by_class {
        "the pipeline class in model_index.json"
    } else {
        "the VAE's down_block_types"
    };
    builder.note(format!(
        "causal_temporal_positioning = {causal}: inferred from {reason}"
    ));
    causal
}

fn scheduler(folder: &Path, causal: bool, builder: &mut Builder) -> Result<Value, CheckpointError> {
    let file = "scheduler/scheduler_config.json";
    if folder.join(file).exists() {
        let scheduler: DiffusersScheduler = component(folder, file)?;
        return explain(folder, file, scheduler.to_original());
    }
    let name = if causal { "LinearQuadratic" } else { "SD3" };
    builder.note(format!(
        "scheduler = {name}: assumed from the model's generation, the folder holds none"
    ));
    explain(
        folder,
        file,
        DiffusersScheduler::of_release(!causal).to_original(),
    )
}
