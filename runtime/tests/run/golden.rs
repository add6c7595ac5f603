//! Recorded runs of the reference pipeline.

use std::path::{Path, PathBuf};

use ltxc_bundle::ModelFacts;
use ltxc_runtime::run::Tensors;
use ltxc_runtime::tensor::file;
use safetensors::SafeTensors;
use serde_json::Value;

pub const VARIANTS: [&str; 4] = [
    "0.9.0-like",
    "0.9.1-like",
    "0.9.8-distilled-like",
    "13b-like",
];

/// A recorded run.
pub struct Golden {
    pub path: PathBuf,
    pub tensors: Tensors,
    /// The arguments of the pipeline.
    pub arguments: Value,
    /// The checkpoint's configuration.
    pub config: Value,
}

impl Golden {
    pub fn values(&self, name: &str) -> &[f32] {
        let tensor = self.tensors.get(name);
        let tensor =
            tensor.unwrap_or_else(|| unreachable!("{} has no {name}", self.path.display()));
        tensor.values().unwrap()
    }

    pub fn number(&self, name: &str) -> Option<usize> {
        self.arguments[name].as_u64().map(|number| number as usize)
    }

    pub fn model(&self) -> ModelFacts {
        let steps = &self.config["allowed_inference_steps"];
        // The recordings with a schedule were made without this restriction.
        let restricted = self.arguments["timesteps"].is_array() && steps.is_array();
        let causal = &self.config["transformer"]["causal_temporal_positioning"];
        ModelFacts {
            causal_positions: causal.as_bool().unwrap_or(false),
            scheduler: self.config["scheduler"].clone(),
            allowed_inference_steps: restricted
                .then(|| serde_json::from_value(steps.clone()).unwrap()),
            ..super::fake::model()
        }
    }
}

fn fixtures() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    std::env::var_os("LTXC_FIXTURES").map_or(beside, PathBuf::from)
}

fn metadata(path: &Path, key: &str) -> Value {
    let bytes = std::fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let entries = header.metadata().clone().unwrap();
    serde_json::from_str(&entries[key]).unwrap()
}

fn files(folder: &Path, begin: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder);
    let entries = entries.unwrap_or_else(|error| unreachable!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(begin) && name.ends_with(".safetensors") && !name.contains("upscaler")
    });
    files.sort();
    files
}

/// Every recorded run with one pass, whose name begins so.
pub fn pipelines(begin: &str) -> Vec<Golden> {
    let mut goldens = Vec::new();
    for variant in VARIANTS {
        let folder = fixtures().join(variant);
        let config = metadata(&files(&folder, "ltx")[0], "config");
        for path in files(&folder.join("goldens"), begin) {
            let golden = Golden {
                tensors: file::read(&path).unwrap(),
                arguments: metadata(&path, "meta")["args"].clone(),
                config: config.clone(),
                path,
            };
            if golden.arguments["first_pass"].is_null() {
                goldens.push(golden);
            }
        }
    }
    goldens
}
