//! Latent upscalers: both layouts open alike, anything else is refused by what it is.

use std::fs;
use std::path::{Path, PathBuf};

use ltxc_export::checkpoint::{Checkpoint, UpscalerKind};
use serde_json::{Value, json};
use tempfile::TempDir;

use UpscalerKind::{Spatial, Temporal};

/// Fixtures that have an upscaler, with its file.
fn originals(kind: &str) -> Vec<(PathBuf, PathBuf)> {
    let name = format!("ltxv-{kind}-upscaler-0.9.8.safetensors");
    let found = crate::variants().into_iter();
    let found: Vec<_> = found.map(|f| (f.join(&name), f)).collect();
    let found: Vec<_> = found.into_iter().filter(|(f, _)| f.exists()).collect();
    assert!(!found.is_empty(), "no fixture has {name}");
    found
}

/// A diffusers folder with this configuration and the tensors of a file.
fn folder(config: &Value, tensors: &Path) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("latent_upsampler");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("config.json"), config.to_string()).unwrap();
    fs::copy(tensors, inner.join("diffusion_pytorch_model.safetensors")).unwrap();
    folder
}

fn with(change: Value) -> Value {
    let mut config = json!({
        "_class_name": "LTXLatentUpsamplerModel", "in_channels": 16, "mid_channels": 64, "num_blocks_per_stage": 1,
        "dims": 3, "spatial_upsample": true, "temporal_upsample": false,
    });
    let change = change.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(change);
    config
}

#[track_caller]
fn refused(path: &Path, kind: UpscalerKind, parts: &[&str]) {
    let message = Checkpoint::open_upscaler(path, kind)
        .unwrap_err()
        .to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn both_layouts_are_equal() {
    for (file, _) in originals("spatial") {
        let original = Checkpoint::open_upscaler(&file, Spatial).unwrap();
        let copied = folder(&with(json!({})), &file);
        for path in [
            copied.path().to_owned(),
            copied.path().join("latent_upsampler"),
        ] {
            let folder = Checkpoint::open_upscaler(&path, Spatial).unwrap();
            assert_eq!(original.config(), folder.config());
            assert!(original.tensors().eq(folder.tensors()));
        }
        assert_eq!(original.config()["upscaler"]["mid_channels"], 64);
    }
}

#[test]
fn an_upscaler_of_the_other_kind_is_refused() {
    let (spatial, _) = originals("spatial").remove(0);
    let (temporal, _) = originals("temporal").remove(0);
    refused(
        &spatial,
        Temporal,
        &["a temporal upscaler", "a spatial one"],
    );
    refused(
        &temporal,
        Spatial,
        &["a spatial upscaler", "a temporal one"],
    );
    let neither = folder(&with(json!({ "spatial_upsample": false })), &spatial);
    refused(neither.path(), Spatial, &["config.json", "neither"]);
    let both = folder(&with(json!({ "temporal_upsample": true })), &spatial);
    assert!(Checkpoint::open_upscaler(both.path(), Spatial).is_ok());
    assert!(Checkpoint::open_upscaler(both.path(), Temporal).is_ok());
}

#[test]
fn other_models_are_refused_by_name() {
    let (spatial, variant) = originals("spatial").remove(0);
    let t5 = variant.join("t5xxl_fp16.safetensors");
    refused(&t5, Spatial, &["a latent upscaler", "no `config` metadata"]);
    let t5 = folder(&json!({ "architectures": ["T5EncoderModel"] }), &spatial);
    refused(
        t5.path(),
        Spatial,
        &["a latent upscaler", "`T5EncoderModel`"],
    );
    let later = with(json!({ "_class_name": "LTX2LatentUpsamplerModel" }));
    let later = folder(&later, &spatial);
    refused(later.path(), Spatial, &["`LTX2LatentUpsamplerModel`"]);
    let model = folder(&json!({ "transformer": {} }), &spatial);
    refused(model.path(), Spatial, &["a model with a transformer"]);
    refused(&variant.join("goldens"), Spatial, &["without config.json"]);
    let wrong = folder(&with(json!({ "num_blocks_per_stage": -1 })), &spatial);
    refused(
        wrong.path(),
        Spatial,
        &["the upscaler's configuration", "-1"],
    );
}
