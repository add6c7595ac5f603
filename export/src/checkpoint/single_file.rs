//! The original single file: keys as they are, the configuration in the header's metadata.

use std::path::Path;

use serde_json::Value;

use super::Checkpoint;
use super::builder::Builder;
use super::error::CheckpointError;
use super::json::object;
use super::transformer_dialect::PREFIX;

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
    let has_transformer = config.get("transformer").is_some();
    if has_transformer && !builder.tensors().keys().any(|key| key.starts_with(PREFIX)) {
        let expected =
            format!("tensors named {PREFIX}*, as the `config` metadata describes a transformer");
        return Err(CheckpointError::unexpected(path, expected, "none"));
    }
    Ok(builder.finish(config))
}
