//! Shapes without numbers: `{"config": {..}, "tensors": {KEY: SHAPE}}` in a .json file, every tensor bf16.
//!
//! An outline stands where a checkpoint stands as long as nobody asks for weights: a model can be planned, dumped and
//! explained without being there.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::dtype::Dtype;
use super::error::CheckpointError;
use super::header::{Header, Stored};
use super::json::{UniqueMap, read_json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outline {
    #[serde(default)]
    config: Value,
    tensors: UniqueMap<Vec<usize>>,
}

/// Whether a file is one, by its name.
pub(super) fn is_one(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "json")
}

/// What the header of the checkpoint would say.
pub(super) fn read(path: &Path) -> Result<Header, CheckpointError> {
    let outline: Outline = read_json(path, "the outline of a checkpoint")?;
    let mut metadata = BTreeMap::new();
    if !outline.config.is_null() {
        metadata.insert("config".to_owned(), outline.config.to_string());
    }
    let mut tensors = Vec::new();
    for (key, shape) in outline.tensors.0 {
        let sized = |total: u64, dim: &usize| total.checked_mul(u64::try_from(*dim).ok()?);
        let Some(bytes) = shape.iter().try_fold(Dtype::BF16.size(), sized) else {
            let expected = "a shape that fits in memory";
            return Err(CheckpointError::tensor(
                path,
                &key,
                expected,
                format!("{shape:?}"),
            ));
        };
        tensors.push(Stored {
            key,
            dtype: Dtype::BF16,
            shape,
            offset: 0,
            bytes,
        });
    }
    Ok(Header { metadata, tensors })
}
