//! What the product of two factors is multiplied by.
//!
//! A tensor `alpha` beside the pair goes first, as kohya and ComfyUI have it. Else it is what peft's configuration
//! says, which diffusers puts into the metadata and peft into a file beside; else alpha is the rank. Other metadata
//! is not asked, as no loader asks it.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::super::Checkpoint;
use super::super::error::CheckpointError;
use super::super::json::{object, read_json};

/// Where diffusers keeps peft's configuration.
const METADATA: &str = "lora_adapter_metadata";
/// Where peft keeps it, beside weights of this name.
const BESIDE: &str = "adapter_config.json";
const OF_PEFT: &str = "adapter_model.safetensors";
/// The component whose settings count, where the settings of several lie together.
const COMPONENT: &str = "transformer.";

/// peft's configuration, as far as it changes what is merged.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Adapter {
    lora_alpha: Option<f64>,
    alpha_pattern: BTreeMap<String, f64>,
    use_rslora: bool,
    use_dora: bool,
    fan_in_fan_out: bool,
}

/// Alphas of a file that no tensor states.
pub(super) struct Alphas {
    adapter: Option<Adapter>,
    from: &'static str,
}

impl Alphas {
    pub(super) fn read(
        path: &Path,
        metadata: &BTreeMap<String, String>,
    ) -> Result<Self, CheckpointError> {
        let beside = path.with_file_name(BESIDE);
        let (adapter, from) = match metadata.get(METADATA) {
            Some(text) => (Some(of_metadata(path, text)?), "metadata"),
            None if path.ends_with(OF_PEFT) && beside.is_file() => {
                (Some(read_json(&beside, "peft's configuration")?), BESIDE)
            }
            None => (None, ""),
        };
        if let Some(adapter) = &adapter {
            check(path, adapter)?;
        }
        Ok(Self { adapter, from })
    }

    /// What the product of a layer's factors counts, given the alpha of its tensor.
    pub(super) fn scale(&self, layer: &str, tensor: Option<f64>, rank: usize) -> f64 {
        let rank = rank as f64;
        match (tensor, &self.adapter) {
            (Some(alpha), _) => alpha / rank,
            (None, None) => 1.0,
            (None, Some(adapter)) => {
                let alpha = adapter.alpha(layer).unwrap_or(rank);
                match adapter.use_rslora {
                    true => alpha / rank.sqrt(),
                    false => alpha / rank,
                }
            }
        }
    }

    /// Where alpha comes from, for a note.
    pub(super) fn describe(&self, file: &Checkpoint) -> String {
        let stated = file.tensors().any(|tensor| tensor.key.ends_with(".alpha"));
        match &self.adapter {
            _ if stated => "alpha from its tensors".to_owned(),
            Some(adapter) if adapter.lora_alpha.is_some() => {
                format!("alpha from its {}", self.from)
            }
            _ => "no alpha, so it is the rank".to_owned(),
        }
    }
}

impl Adapter {
    /// A pattern names the end of a layer's name.
    fn alpha(&self, layer: &str) -> Option<f64> {
        let fits = |pattern: &str| {
            let start = layer.strip_suffix(pattern);
            start.is_some_and(|start| start.is_empty() || start.ends_with('.'))
        };
        let own = self.alpha_pattern.iter().find(|(name, _)| fits(name));
        own.map(|(_, alpha)| *alpha).or(self.lora_alpha)
    }
}

/// The settings of the transformer; those of other components lie beside them under other prefixes.
fn of_metadata(path: &Path, text: &str) -> Result<Adapter, CheckpointError> {
    let what = "the `lora_adapter_metadata`";
    let all = object(path, what, text)?;
    let mut own = serde_json::Map::new();
    for (key, value) in all.as_object().into_iter().flatten() {
        let name = key.strip_prefix(COMPONENT).unwrap_or(key);
        own.insert(name.to_owned(), value.clone());
    }
    own.retain(|_, value| !value.is_null());
    serde_json::from_value(own.into()).map_err(|source| CheckpointError::Json {
        path: path.to_owned(),
        what,
        source,
    })
}

fn check(path: &Path, adapter: &Adapter) -> Result<(), CheckpointError> {
    let refuse =
        |expected: &str, found: String| Err(CheckpointError::unexpected(path, expected, found));
    if adapter.use_dora {
        return refuse(
            "a LoRA",
            "DoRA, which is not supported (use_dora)".to_owned(),
        );
    }
    if adapter.fan_in_fan_out {
        return refuse("factors as torch has them", "fan_in_fan_out".to_owned());
    }
    // A number that JSON cannot hold is read as null or refused, so what is here is finite.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    match adapter.alpha_pattern.keys().find(|p| !p.chars().all(plain)) {
        Some(pattern) => refuse("names of layers in alpha_pattern", format!("`{pattern}`")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alphas(text: &str) -> Result<Alphas, CheckpointError> {
        let metadata = BTreeMap::from([(METADATA.to_owned(), text.to_owned())]);
        Alphas::read(Path::new("a.safetensors"), &metadata)
    }

    #[test]
    fn a_tensor_goes_before_metadata_and_metadata_before_the_rank() {
        let plain = alphas(r#"{"transformer.lora_alpha": 8, "transformer.r": 4}"#).expect("fine");
        assert_eq!(plain.scale("a.to_q", None, 4), 2.0);
        assert_eq!(plain.scale("a.to_q", Some(2.0), 4), 0.5);
        let none = Alphas::read(Path::new("a"), &BTreeMap::new()).expect("fine");
        assert_eq!(none.scale("a.to_q", None, 4), 1.0);
    }

    #[test]
    fn patterns_and_rank_stabilised_scales_count() {
        let text = r#"{"lora_alpha": 8, "alpha_pattern": {"attn1.to_q": 2}, "use_rslora": true}"#;
        let read = alphas(text).expect("fine");
        assert_eq!(read.scale("transformer_blocks.0.attn1.to_q", None, 4), 1.0);
        assert_eq!(read.scale("transformer_blocks.0.attn1.to_k", None, 4), 4.0);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        for (text, word) in [
            (r#"{"transformer.use_dora": true}"#, "DoRA"),
            (r#"{"alpha_pattern": {"attn.*": 2}}"#, "attn.*"),
            (r#"[]"#, "lora_adapter_metadata"),
            (r#"{"lora_alpha": "eight"}"#, "lora_adapter_metadata"),
        ] {
            let error = alphas(text).err().expect("refused").to_string();
            assert!(error.contains(word), "{error}");
        }
    }
}
