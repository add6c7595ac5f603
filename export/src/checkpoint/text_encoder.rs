//! T5 encoders: a Hugging Face folder, or a single file without configuration.
//!
//! The sizes are read off the shapes of the tensors; a `config.json` has to agree with them and
//! adds the two values that no shape shows.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::json;

use super::builder::Builder;
use super::error::CheckpointError;
use super::json::read_json;
use super::scales::take_scales;
use super::{Checkpoint, weights};

const STEM: &str = "model";
const SHARED: &str = "shared.weight";
const TIED: &str = "encoder.embed_tokens.weight";

#[derive(Default, Deserialize)]
struct T5Config {
    num_layers: Option<u64>,
    num_heads: Option<u64>,
    d_kv: Option<u64>,
    d_model: Option<u64>,
    d_ff: Option<u64>,
    vocab_size: Option<u64>,
    relative_attention_num_buckets: Option<u64>,
    relative_attention_max_distance: Option<u64>,
    layer_norm_epsilon: Option<f64>,
    feed_forward_proj: Option<String>,
}

struct Sizes {
    num_layers: u64,
    num_heads: u64,
    d_kv: u64,
    d_model: u64,
    d_ff: u64,
    vocab_size: u64,
    buckets: u64,
}

/// Opens a folder or a single file.
pub(super) fn open(path: &Path) -> Result<Checkpoint, CheckpointError> {
    let mut builder = Builder::default();
    let config_path = if path.is_dir() {
        let folder = component_folder(path);
        builder.add_weights(weights::find(&folder, STEM)?, |key| Some(key.to_owned()))?;
        Some(folder.join("config.json")).filter(|config| config.is_file())
    } else {
        builder.add_file(path, |key| Some(key.to_owned()))?;
        None
    };
    builder.alias(TIED, SHARED);
    let sizes = Sizes::of(path, &builder)?;
    let config = match &config_path {
        Some(config_path) => checked_config(config_path, &sizes)?,
        None => T5Config::default(),
    };
    let config = original(&sizes, &config, &mut builder);
    take_scales(builder.finish(config))
}

fn component_folder(path: &Path) -> PathBuf {
    let inner = path.join("text_encoder");
    if inner.is_dir() {
        inner
    } else {
        path.to_path_buf()
    }
}

fn original(sizes: &Sizes, config: &T5Config, builder: &mut Builder) -> serde_json::Value {
    let max_distance = config.relative_attention_max_distance.unwrap_or_else(|| {
        builder.note(
            "relative_attention_max_distance = 128: assumed, no config.json states it".into(),
        );
        128
    });
    let epsilon = config.layer_norm_epsilon.unwrap_or_else(|| {
        builder.note("layer_norm_epsilon = 1e-6: assumed, no config.json states it".into());
        1e-6
    });
    json!({ "text_encoder": {
        "num_layers": sizes.num_layers,
        "num_heads": sizes.num_heads,
        "d_kv": sizes.d_kv,
        "d_model": sizes.d_model,
        "d_ff": sizes.d_ff,
        "vocab_size": sizes.vocab_size,
        "relative_attention_num_buckets": sizes.buckets,
        "relative_attention_max_distance": max_distance,
        "layer_norm_epsilon": epsilon,
    }})
}

fn checked_config(path: &Path, sizes: &Sizes) -> Result<T5Config, CheckpointError> {
    let config: T5Config = read_json(path, "the configuration")?;
    if let Some(form) = config
        .feed_forward_proj
        .as_deref()
        .filter(|form| *form != "gated-gelu")
    {
        let expected = "feed_forward_proj = \"gated-gelu\" (T5 v1.1)";
        return Err(CheckpointError::unexpected(
            path,
            expected,
            format!("\"{form}\""),
        ));
    }
    let pairs = [
        ("num_layers", config.num_layers, sizes.num_layers),
        ("num_heads", config.num_heads, sizes.num_heads),
        ("d_kv", config.d_kv, sizes.d_kv),
        ("d_model", config.d_model, sizes.d_model),
        ("d_ff", config.d_ff, sizes.d_ff),
        ("vocab_size", config.vocab_size, sizes.vocab_size),
        (
            "relative_attention_num_buckets",
            config.relative_attention_num_buckets,
            sizes.buckets,
        ),
    ];
    for (name, stated, shown) in pairs {
        if stated.is_some_and(|stated| stated != shown) {
            let found = stated.map_or_else(String::new, |stated| stated.to_string());
            return Err(CheckpointError::unexpected(
                path,
                format!("{name} = {shown}, as the tensors show"),
                found,
            ));
        }
    }
    Ok(config)
}

impl Sizes {
    fn of(path: &Path, builder: &Builder) -> Result<Self, CheckpointError> {
        let (vocab_size, d_model) = matrix(path, builder, SHARED)?;
        let block = "encoder.block.0.layer.0.SelfAttention";
        let (buckets, num_heads) = matrix(
            path,
            builder,
            &format!("{block}.relative_attention_bias.weight"),
        )?;
        let (inner, _) = matrix(path, builder, &format!("{block}.q.weight"))?;
        let (d_ff, _) = matrix(
            path,
            builder,
            "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
        )?;
        if num_heads == 0 || inner % num_heads != 0 {
            let expected = format!("a width that {num_heads} heads divide");
            return Err(CheckpointError::tensor(
                path,
                &format!("{block}.q.weight"),
                expected,
                inner.to_string(),
            ));
        }
        let num_layers = layers(builder);
        Ok(Self {
            num_layers,
            num_heads,
            d_kv: inner / num_heads,
            d_model,
            d_ff,
            vocab_size,
            buckets,
        })
    }
}

fn matrix(path: &Path, builder: &Builder, key: &str) -> Result<(u64, u64), CheckpointError> {
    let tensor = builder.tensors().get(key);
    match tensor.map(|tensor| tensor.shape.as_slice()) {
        Some(&[rows, columns]) => Ok((rows as u64, columns as u64)),
        Some(other) => Err(CheckpointError::tensor(
            path,
            key,
            "a matrix",
            format!("shape {other:?}"),
        )),
        None => Err(CheckpointError::tensor(
            path,
            key,
            "the tensors of a T5 v1.1 encoder",
            "no such tensor",
        )),
    }
}

fn layers(builder: &Builder) -> u64 {
    let has = |layer: &u64| {
        let key = format!("encoder.block.{layer}.layer.0.SelfAttention.q.weight");
        builder.tensors().contains_key(&key)
    };
    (0..).take_while(has).count() as u64
}
