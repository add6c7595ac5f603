//! What must not open says why: the file, the key, what was expected and what was found.

use std::fs;
use std::path::{Path, PathBuf};

use ltxc_export::checkpoint::{Checkpoint, Dtype};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: &str = "model.diffusion_model.proj_out.weight";

fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let length = header.len() as u64;
    [&length.to_le_bytes(), header.as_bytes(), data].concat()
}

fn entry(shape: Value, begin: u64, end: u64) -> Value {
    json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, end] })
}

fn with_config(tensors: Value) -> String {
    let mut header = json!({ "__metadata__": { "config": "{\"transformer\":{}}" } });
    header
        .as_object_mut()
        .unwrap()
        .extend(tensors.as_object().unwrap().clone());
    header.to_string()
}

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[track_caller]
fn refuses(bytes: &[u8], parts: &[&str]) {
    let (_folder, path) = written(bytes);
    let message = Checkpoint::open(&path).unwrap_err().to_string();
    for part in parts.iter().chain(&["model.safetensors"]) {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn header_lengths_beyond_the_file_or_the_limit() {
    refuses(b"abc", &["a file of 3 bytes"]);
    refuses(
        &u64::MAX.to_le_bytes(),
        &["at most 0 bytes", "18446744073709551615"],
    );
    refuses(
        &[&100u64.to_le_bytes()[..], b"{}"].concat(),
        &["at most 2 bytes", "100"],
    );
    let (_folder, path) = written(&200_000_000u64.to_le_bytes());
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(300_000_000)
        .unwrap();
    let message = Checkpoint::open(&path).unwrap_err().to_string();
    assert!(message.contains("at most 100000000 bytes"), "{message}");
}

#[test]
fn headers_that_are_not_a_table_of_tensors() {
    refuses(&safetensors("{\"a\":", b""), &["header", "EOF"]);
    refuses(&safetensors("[1]", b""), &["an object of tensors"]);
    refuses(&safetensors(&"[".repeat(100_000), b""), &["header"]);
    refuses(&safetensors("{\"a\":{\"x\":1}}", b""), &["missing field"]);
    refuses(
        &safetensors("{\"__metadata__\":{\"config\":1}}", b""),
        &["string"],
    );
    let twice = format!("{{\"a\":{0},\"a\":{0}}}", entry(json!([0]), 0, 0));
    refuses(&safetensors(&twice, b""), &["`a` is given twice"]);
    let twice = "{\"__metadata__\":{},\"__metadata__\":{}}";
    refuses(&safetensors(twice, b""), &["`__metadata__` is given twice"]);
}

#[test]
fn tensors_that_do_not_fit_their_place() {
    let one = |tensor: Value| safetensors(&with_config(json!({ KEY: tensor })), &[0; 16]);
    refuses(
        &one(json!({ "dtype": "F7", "shape": [4], "data_offsets": [0, 16] })),
        &[KEY, "`F7`", "BF16"],
    );
    refuses(
        &one(entry(json!([5]), 0, 16)),
        &[KEY, "20 bytes for F32 [5]", "0..16"],
    );
    refuses(
        &one(entry(json!([8]), 0, 32)),
        &[KEY, "within the 16 bytes", "truncated", "0..32"],
    );
    refuses(&one(entry(json!([4]), 16, 0)), &[KEY, "16..0"]);
    refuses(
        &one(entry(json!([u64::MAX, 2]), 0, 16)),
        &[KEY, "fits in memory"],
    );
    refuses(
        &one(entry(json!([1u64 << 62, 4]), 0, 0)),
        &[KEY, "fits in memory"],
    );
    refuses(
        &one(entry(json!(vec![1; 40]), 0, 4)),
        &[KEY, "40 dimensions"],
    );
    refuses(&one(entry(json!([-1]), 0, 4)), &["-1"]);
}

#[test]
fn overlaps_gaps_and_rests() {
    let two = |a: (u64, u64), b: (u64, u64)| {
        let shape = |(begin, end): (u64, u64)| entry(json!([(end - begin) / 4]), begin, end);
        safetensors(
            &with_config(json!({ "a": shape(a), "b": shape(b) })),
            &[0; 16],
        )
    };
    refuses(&two((0, 12), (8, 16)), &["`b`", "an overlap", "offset 12"]);
    refuses(&two((0, 4), (8, 16)), &["`b`", "a gap", "offset 4"]);
    refuses(
        &two((0, 4), (4, 8)),
        &["8 bytes of tensor data", "16 bytes"],
    );
}

#[test]
fn files_without_a_usable_configuration() {
    refuses(
        &safetensors("{}", b""),
        &["no `config` metadata", "diffusers folder"],
    );
    refuses(
        &safetensors("{\"__metadata__\":{\"config\":\"nope\"}}", b""),
        &["`config` metadata"],
    );
    refuses(
        &safetensors("{\"__metadata__\":{\"config\":\"[]\"}}", b""),
        &["`config` metadata"],
    );
    refuses(
        &safetensors(&with_config(json!({})), b""),
        &["model.diffusion_model.*"],
    );
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    let whole = safetensors(
        &with_config(json!({ KEY: entry(json!([2, 2]), 0, 16) })),
        &[7; 16],
    );
    let (_folder, path) = written(&whole);
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(Checkpoint::open(&path).is_err(), "cut to {length}");
    }
    for position in 0..whole.len() {
        for flip in [0x01, 0x10, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[position] ^= flip;
            fs::write(&path, &changed).unwrap();
            let Ok(checkpoint) = Checkpoint::open(&path) else {
                continue;
            };
            for info in checkpoint.tensors() {
                assert_eq!(
                    checkpoint.with_bytes(info, <[u8]>::len).unwrap() as u64,
                    info.bytes
                );
            }
        }
    }
}

#[test]
fn a_transformer_alone_opens_and_a_configuration_can_be_given() {
    let (_folder, path) = written(&safetensors(
        &json!({ KEY: entry(json!([2, 2]), 0, 16) }).to_string(),
        &[7; 16],
    ));
    let config = json!({ "transformer": { "num_layers": 2 } });
    let checkpoint = Checkpoint::open_with_config(&path, &config).unwrap();
    assert_eq!(checkpoint.config(), &config);
    assert_eq!(
        checkpoint.notes(),
        ["transformer: taken from the given configuration"]
    );
    let info = checkpoint.tensor(KEY).unwrap();
    assert_eq!(
        (info.dtype, info.shape.as_slice(), info.file),
        (Dtype::F32, &[2, 2][..], 0)
    );
    assert_eq!(
        checkpoint.with_bytes(info, <[u8]>::to_vec).unwrap(),
        [7; 16]
    );
    assert_eq!(checkpoint.sources(), std::slice::from_ref(&path));
    assert!(Checkpoint::open_with_config(&path, &json!([])).is_err());
}

#[test]
fn a_file_cut_after_opening_is_noticed() {
    let (_folder, path) = written(&safetensors(
        &with_config(json!({ KEY: entry(json!([2, 2]), 0, 16) })),
        &[7; 16],
    ));
    let checkpoint = Checkpoint::open(&path).unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(10)
        .unwrap();
    let message = checkpoint
        .with_bytes(checkpoint.tensor(KEY).unwrap(), <[u8]>::len)
        .unwrap_err()
        .to_string();
    assert!(message.contains("10 bytes"), "{message}");
}

#[test]
fn a_tensor_of_another_checkpoint_is_refused() {
    let (_folder, path) = written(&safetensors(
        &with_config(json!({ KEY: entry(json!([2, 2]), 0, 16) })),
        &[7; 16],
    ));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let mut foreign = checkpoint.tensor(KEY).unwrap().clone();
    foreign.bytes = 1 << 40;
    assert!(checkpoint.with_bytes(&foreign, <[u8]>::len).is_err());
}

/// A diffusers folder with one tensor in each part.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let small = |key: &str| {
        safetensors(
            &json!({ key: entry(json!([4]), 0, 16) }).to_string(),
            &[1; 16],
        )
    };
    for (part, key) in [("transformer", "proj_in.weight"), ("vae", "latents_mean")] {
        fs::create_dir(folder.path().join(part)).unwrap();
        put(&folder, &format!("{part}/config.json"), "{}");
        fs::write(
            folder
                .path()
                .join(part)
                .join("diffusion_pytorch_model.safetensors"),
            small(key),
        )
        .unwrap();
    }
    folder
}

fn put(folder: &TempDir, file: &str, text: &str) {
    fs::write(folder.path().join(file), text).unwrap();
}

#[track_caller]
fn refuses_folder(path: &Path, parts: &[&str]) {
    let message = Checkpoint::open(path).unwrap_err().to_string();
    for part in parts {
        assert!(message.contains(part), "`{part}` is not in: {message}");
    }
}

#[test]
fn a_folder_with_defaults_opens_as_the_first_release() {
    let folder = folder();
    let checkpoint = Checkpoint::open(folder.path()).unwrap();
    assert_eq!(checkpoint.config()["transformer"]["num_layers"], 28);
    assert_eq!(
        checkpoint.config()["transformer"]["causal_temporal_positioning"],
        false
    );
    assert_eq!(checkpoint.config()["scheduler"]["shifting"], "SD3");
    assert_eq!(checkpoint.config()["vae"]["encoder_base_channels"], 128);
    let keys: Vec<&str> = checkpoint.tensors().map(|info| info.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "model.diffusion_model.patchify_proj.weight",
            "vae.per_channel_statistics.mean-of-means"
        ]
    );
    assert_eq!(checkpoint.notes().len(), 2);
}

#[test]
fn index_entries_stay_inside_their_folder() {
    let index = "transformer/diffusion_pytorch_model.safetensors.index.json";
    for name in [
        "../a.safetensors",
        "/etc/a.safetensors",
        "..",
        "",
        "x.bin",
        "a\\b.safetensors",
    ] {
        let folder = folder();
        put(
            &folder,
            index,
            &json!({ "weight_map": { "proj_in.weight": name } }).to_string(),
        );
        refuses_folder(folder.path(), &["index.json", "inside its own folder"]);
    }
}

#[test]
fn an_index_keeps_its_promises() {
    let index = "transformer/diffusion_pytorch_model.safetensors.index.json";
    let shard = "diffusion_pytorch_model.safetensors";
    let folder = folder();
    put(
        &folder,
        index,
        &json!({ "weight_map": { "proj_in.weight": shard } }).to_string(),
    );
    assert!(Checkpoint::open(folder.path()).is_ok());
    put(
        &folder,
        index,
        &json!({ "weight_map": { "proj_out.weight": shard } }).to_string(),
    );
    refuses_folder(folder.path(), &["`proj_out.weight`", "no such tensor"]);
    put(
        &folder,
        index,
        &json!({ "weight_map": { "proj_in.weight": "gone.safetensors" } }).to_string(),
    );
    refuses_folder(folder.path(), &["gone.safetensors"]);
    put(&folder, index, &json!({ "weight_map": {} }).to_string());
    refuses_folder(folder.path(), &["an empty one"]);
    put(
        &folder,
        index,
        &format!("{{\"weight_map\":{{\"a\":\"{shard}\",\"a\":\"{shard}\"}}}}"),
    );
    refuses_folder(folder.path(), &["`a` is given twice"]);
}

#[test]
fn configurations_that_the_original_cannot_express() {
    let cases = [
        (
            "vae",
            json!({ "layers_per_block": [1, 2] }),
            "layers_per_block",
        ),
        ("vae", json!({ "layers_per_block": [] }), "layers_per_block"),
        (
            "vae",
            json!({ "block_out_channels": [] }),
            "block_out_channels",
        ),
        (
            "vae",
            json!({ "block_out_channels": [128, 200, 512, 512] }),
            "128",
        ),
        (
            "vae",
            json!({ "decoder_block_out_channels": [0, 0, 0, 0] }),
            "decoder_block_out_channels",
        ),
        (
            "vae",
            json!({ "upsample_factor": [1, 1, 1, 2] }),
            "upsample_factor",
        ),
        (
            "vae",
            json!({ "upsample_factor": [0, 0, 0, 0] }),
            "upsample_factor",
        ),
        (
            "vae",
            json!({ "timestep_conditioning": true }),
            "conditioned",
        ),
        ("vae", json!({ "down_block_types": ["Other"] }), "Other"),
        ("vae", json!({ "encoder_causal": false }), "encoder_causal"),
        (
            "vae",
            json!({ "_class_name": "AutoencoderKLLTX2Video" }),
            "LTX2",
        ),
        (
            "transformer",
            json!({ "_class_name": "LTX2VideoTransformer3DModel" }),
            "LTX2",
        ),
        ("transformer", json!({ "patch_size": 2 }), "patch_size"),
        ("transformer", json!({ "num_layers": -3 }), "-3"),
        ("transformer", json!([]), "config.json"),
    ];
    for (part, config, expected) in cases {
        let folder = folder();
        put(&folder, &format!("{part}/config.json"), &config.to_string());
        refuses_folder(folder.path(), &["config.json", expected]);
    }
    let folder = folder();
    put(
        &folder,
        "model_index.json",
        "{\"_class_name\":\"LTX2Pipeline\"}",
    );
    refuses_folder(folder.path(), &["model_index.json", "LTX2Pipeline"]);
}

#[test]
fn a_block_that_the_configuration_lacks_is_refused() {
    let folder = folder();
    let key = "decoder.up_blocks.9.resnets.0.conv1.conv.weight";
    let bytes = safetensors(
        &json!({ key: entry(json!([4]), 0, 16) }).to_string(),
        &[1; 16],
    );
    fs::write(
        folder
            .path()
            .join("vae/diffusion_pytorch_model.safetensors"),
        bytes,
    )
    .unwrap();
    refuses_folder(folder.path(), &[key, "configuration"]);
}

#[test]
fn folders_that_hold_something_else() {
    let empty = tempfile::tempdir().unwrap();
    refuses_folder(empty.path(), &["transformer/ and vae/"]);
    assert!(Checkpoint::open_text_encoder(empty.path()).is_err());
    let folder = folder();
    fs::remove_file(
        folder
            .path()
            .join("vae/diffusion_pytorch_model.safetensors"),
    )
    .unwrap();
    put(&folder, "vae/diffusion_pytorch_model.bin", "");
    refuses_folder(
        folder.path(),
        &["diffusion_pytorch_model.safetensors", "no safetensors file"],
    );
    refuses_folder(
        Path::new("/nonexistent/x.safetensors"),
        &["/nonexistent/x.safetensors"],
    );
}

#[test]
fn text_encoders_must_be_gated_and_match_their_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let attention = "encoder.block.0.layer.0.SelfAttention";
    let tensors = [
        ("encoder.embed_tokens.weight".to_owned(), json!([6, 4])),
        (
            format!("{attention}.relative_attention_bias.weight"),
            json!([32, 2]),
        ),
        (format!("{attention}.q.weight"), json!([4, 4])),
        (
            "encoder.block.0.layer.1.DenseReluDense.wi_0.weight".to_owned(),
            json!([8, 4]),
        ),
    ];
    let mut header = serde_json::Map::new();
    let mut at = 0;
    for (key, shape) in tensors {
        let bytes = 4 * shape[0].as_u64().unwrap() * shape[1].as_u64().unwrap();
        header.insert(key, entry(shape, at, at + bytes));
        at += bytes;
    }
    let data = vec![0; at as usize];
    let file = folder.path().join("model.fp16.safetensors");
    fs::write(
        &file,
        safetensors(&Value::Object(header.clone()).to_string(), &data),
    )
    .unwrap();
    put(
        &folder,
        "config.json",
        "{\"d_model\":4,\"d_kv\":2,\"layer_norm_epsilon\":1e-5}",
    );
    let checkpoint = Checkpoint::open_text_encoder(folder.path()).unwrap();
    assert_eq!(checkpoint.config()["text_encoder"]["vocab_size"], 6);
    assert_eq!(
        checkpoint.config()["text_encoder"]["layer_norm_epsilon"],
        1e-5
    );
    assert!(checkpoint.tensor("shared.weight").is_some());
    assert_eq!(checkpoint.notes().len(), 3, "{:?}", checkpoint.notes());
    for (config, expected) in [
        ("{\"d_kv\":64}", "d_kv = 2"),
        ("{\"feed_forward_proj\":\"relu\"}", "gated-gelu"),
    ] {
        put(&folder, "config.json", config);
        let message = Checkpoint::open_text_encoder(folder.path())
            .unwrap_err()
            .to_string();
        assert!(message.contains(expected), "{message}");
    }
    let plain = json!({ "shared.weight": entry(json!([2, 2]), 0, 16) }).to_string();
    fs::write(&file, safetensors(&plain, &[0; 16])).unwrap();
    let message = Checkpoint::open_text_encoder(&file)
        .unwrap_err()
        .to_string();
    assert!(message.contains("T5 v1.1"), "{message}");
}
