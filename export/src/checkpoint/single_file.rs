//! The original single file: keys as they are, the configuration in the header's metadata.

use std::path::Path;

use serde_json::Value;

use super::Checkpoint;
use super::builder::Builder;
use super::error::CheckpointError;
use super::json::object;
use super::scales::take_scales;
use super::transformer_dialect::PREFIX;

/// What the keys of the VAE start with.
const VAE_PREFIX: &str = "vae.";

/// Opens the file. `given` stands in for metadata that the file lacks.
pub(super) fn open(path: &Path, given: Option<&Value>) -> Result<Checkpoint, CheckpointError> {
    let mut builder = Builder::default();
    let metadata = builder.add_file(path, |key| Some(key.to_owned()))?;
    let config = match (metadata.get("config"), given) {
        (Some(text), _) => object(path, "the `config` metadata", text)?,
        (None, Some(_)) => Value::Object(serde_json::Map::new()),
        (None, None) => {
            return Err(CheckpointError::MissingConfig {
                path: path.to_path_buf(),
            });
        }
    };
    let of_a_model = |key: &String| key.starts_with(PREFIX) || key.starts_with(VAE_PREFIX);
    if config.get("transformer").is_some() && !builder.tensors().keys().any(of_a_model) {
        let expected = format!(
            "tensors named {PREFIX}* or {VAE_PREFIX}*, as the `config` metadata describes a model"
        );
        return Err(CheckpointError::unexpected(path, expected, "none"));
    }
    take_scales(builder.finish(config))
}
