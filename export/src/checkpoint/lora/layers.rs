//! The layers of a model, by every name that a LoRA may use.

use std::collections::BTreeMap;

use super::super::transformer_dialect::{PREFIX, canonical_key, diffusers_key};
use super::super::{Checkpoint, TensorInfo};
use super::key::{Key, Part};

/// What the key of a layer's weight ends with.
const WEIGHT: &str = ".weight";

/// The tensors of a model's transformer.
pub(super) struct Layers<'a> {
    model: &'a Checkpoint,
    /// Weights by their name with underscores for dots, in the original dialect and in that of diffusers.
    flat: BTreeMap<String, &'a str>,
}

impl<'a> Layers<'a> {
    pub(super) fn of(model: &'a Checkpoint) -> Self {
        let mut flat = BTreeMap::new();
        for tensor in model.tensors() {
            let name = tensor.key.strip_prefix(PREFIX);
            let Some(layer) = name.and_then(|name| name.strip_suffix(WEIGHT)) else {
                continue;
            };
            for name in [layer.to_owned(), diffusers_key(layer)] {
                flat.insert(name.replace('.', "_"), tensor.key.as_str());
            }
        }
        Self { model, flat }
    }

    /// The tensor that a key of a LoRA changes, or the name that no layer has.
    pub(super) fn find(&self, key: &Key<'_>) -> Result<&'a TensorInfo, String> {
        let weight = match key.flat {
            true => self.flat.get(key.layer).map(ToString::to_string),
            false => Some(canonical_key(&format!("{}{WEIGHT}", key.layer))),
        };
        let weight = weight.ok_or_else(|| key.layer.to_owned())?;
        // A table has no `.weight` in its name.
        let bare = || weight.strip_suffix(WEIGHT).map(str::to_owned);
        let found = match key.part {
            Part::Bias => bare().and_then(|layer| self.model.tensor(&format!("{layer}.bias"))),
            _ => self
                .model
                .tensor(&weight)
                .or_else(|| self.model.tensor(&bare()?)),
        };
        found.ok_or_else(|| key.layer.to_owned())
    }
}
