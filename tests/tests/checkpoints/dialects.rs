//! A diffusers folder and the original single file of the same weights are the same checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ltxc_export::checkpoint::{Checkpoint, TensorInfo};
use serde_json::{Map, Value, json};

/// Settings of the original file that say nothing about the computation.
const IDLE: [&str; 9] = [
    "_diffusers_version",
    "_name_or_path",
    "dropout",
    "norm_num_groups",
    "num_embeds_ada_norm",
    "num_vector_embeds",
    "upcast_attention",
    "use_linear_projection",
    "blocks",
];

fn original_file(variant: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = std::fs::read_dir(variant)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("ltx") && name.ends_with(".safetensors") && !name.contains("upscaler")
        })
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

fn used(checkpoint: &Checkpoint) -> BTreeMap<String, TensorInfo> {
    let statistics = "vae.per_channel_statistics.";
    checkpoint
        .tensors()
        .filter(|info| {
            info.key
                .strip_prefix(statistics)
                .is_none_or(|name| ["mean-of-means", "std-of-means"].contains(&name))
        })
        .map(|info| (info.key.clone(), info.clone()))
        .collect()
}

#[test]
fn tensors_of_both_forms_are_equal_byte_for_byte() {
    for variant in crate::variants() {
        let original = Checkpoint::open(&original_file(&variant)).unwrap();
        let folder = Checkpoint::open(&variant.join("diffusers")).unwrap();
        let (left, right) = (used(&original), used(&folder));
        assert!(left.keys().eq(right.keys()), "{}", variant.display());
        for (key, info) in &left {
            let other = &right[key];
            assert_eq!(
                (&info.shape, info.dtype),
                (&other.shape, other.dtype),
                "{key}"
            );
            let bytes = original.with_bytes(info, <[u8]>::to_vec).unwrap();
            assert!(
                folder.with_bytes(other, |found| found == bytes).unwrap(),
                "{key}"
            );
        }
    }
}

#[test]
fn configurations_of_both_forms_are_equal() {
    for variant in crate::variants() {
        let original = Checkpoint::open(&original_file(&variant)).unwrap();
        let folder = Checkpoint::open(&variant.join("diffusers")).unwrap();
        assert!(
            folder
                .notes()
                .iter()
                .any(|note| note.starts_with("causal_temporal_positioning"))
        );
        for part in ["transformer", "vae", "scheduler"] {
            let (left, right) = (
                plain(&original.config()[part]),
                plain(&folder.config()[part]),
            );
            assert_eq!(left, right, "{} {part}", variant.display());
        }
    }
}

/// One way of writing a configuration down: defaults filled in, blocks with named parameters.
fn plain(config: &Value) -> Map<String, Value> {
    let mut map = config.as_object().unwrap().clone();
    for (from, to) in [("blocks", "encoder_blocks"), ("blocks", "decoder_blocks")] {
        if let Some(blocks) = map.get(from).cloned() {
            map.insert(to.into(), blocks);
        }
    }
    let class = map["_class_name"].as_str().unwrap().to_owned();
    for (key, value) in defaults(&class).as_object().unwrap() {
        map.entry(key.clone()).or_insert(value.clone());
    }
    for (key, encoder) in [("encoder_blocks", true), ("decoder_blocks", false)] {
        if let Some(blocks) = map.get_mut(key) {
            blocks
                .as_array_mut()
                .unwrap()
                .iter_mut()
                .for_each(|block| plain_block(block, encoder));
        }
    }
    map.retain(|key, _| !IDLE.contains(&key.as_str()));
    map
}

fn defaults(class: &str) -> Value {
    match class {
        "Transformer3DModel" => json!({
            "causal_temporal_positioning": false, "adaptive_norm": "single_scale_shift",
        }),
        "CausalVideoAutoencoder" => json!({
            "timestep_conditioning": false, "encoder_base_channels": 128, "decoder_base_channels": 128,
        }),
        _ => json!({}),
    }
}

fn plain_block(block: &mut Value, encoder: bool) {
    let name = block[0].as_str().unwrap().to_owned();
    let given = match &block[1] {
        Value::Number(layers) => json!({ "num_layers": layers }),
        other => other.clone(),
    };
    let get = |key: &str, default: Value| given.get(key).cloned().unwrap_or(default);
    let noise = get("inject_noise", json!(false));
    block[1] = match name.as_str() {
        "res_x" => json!({ "num_layers": given["num_layers"], "inject_noise": noise }),
        "res_x_y" => json!({ "multiplier": get("multiplier", json!(2)), "inject_noise": noise }),
        _ if encoder && name.ends_with("_res") => {
            json!({ "multiplier": get("multiplier", json!(2)) })
        }
        _ if encoder => json!({}),
        _ => {
            json!({ "multiplier": get("multiplier", json!(1)), "residual": get("residual", json!(false)) })
        }
    };
}

#[test]
fn text_encoders_of_both_forms_are_equal() {
    for variant in crate::variants() {
        let single =
            Checkpoint::open_text_encoder(&variant.join("t5xxl_fp16.safetensors")).unwrap();
        let folder = Checkpoint::open_text_encoder(&variant.join("diffusers")).unwrap();
        let inner = Checkpoint::open_text_encoder(&variant.join("diffusers/text_encoder")).unwrap();
        assert_eq!(single.config(), folder.config());
        assert_eq!(inner.config(), folder.config());
        let shapes = |checkpoint: &Checkpoint| -> BTreeMap<String, Vec<usize>> {
            checkpoint
                .tensors()
                .map(|info| (info.key.clone(), info.shape.clone()))
                .collect()
        };
        assert_eq!(shapes(&single), shapes(&folder));
        assert!(folder.sources().len() > 1);
        assert_eq!(folder.notes().len(), 0);
        assert_eq!(single.notes().len(), 2);
    }
}
