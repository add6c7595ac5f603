//! Wrong files and wrong commands. Every case of `tests/bad` ends with exit code 1 (the input) or 2 (misuse), soon,
//! with little memory, and with words that are kept beside it. Adding a case is adding a file.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use common::safetensors::{Parts, join};
use common::{all, cases, copy_of_shapes, limited, root, run, shapes, snapshot};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A wrong input is refused within this time and address space.
const SECONDS: u64 = 10;
const KIB: u64 = 3 << 20;

/// Runs a command that must fail, and shows what it says.
fn refusal(arguments: &[&str]) -> String {
    let ran = run(
        limited(&format!("ulimit -v {KIB} 2>/dev/null"), arguments),
        Duration::from_secs(SECONDS),
    );
    let shown = format!(
        "$ ltxc {}\nexit {:?}\n{}",
        arguments.join(" "),
        ran.code,
        ran.stderr
    );
    assert!(matches!(ran.code, Some(1 | 2)), "{shown}");
    assert!(!ran.stderr.contains("panicked"), "{shown}");
    assert!(!ran.stderr.contains("internal error"), "{shown}");
    assert!(
        !ran.stderr.contains("\u{1b}"),
        "colour without a terminal: {shown}"
    );
    shown
        .replace("exit Some(1)", "exit 1")
        .replace("exit Some(2)", "exit 2")
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

#[test]
fn yaml_files_are_refused() {
    all(cases("tests/bad/yaml", "yaml"), |path| {
        let file = format!("tests/bad/yaml/{}.yaml", name_of(path));
        let said = refusal(&["check", &file, "--config", "tests/bad/config.json"]);
        snapshot("tests/bad/yaml", &name_of(path), &said, &[]);
    });
}

#[test]
fn presets_are_refused() {
    all(cases("tests/bad/presets", "yaml"), |path| {
        let file = format!("tests/bad/presets/{}.yaml", name_of(path));
        let said = refusal(&["compile", &file, "-o", "/dev/null/never"]);
        snapshot("tests/bad/presets", &name_of(path), &said, &[]);
    });
}

/// `$TMP` is an empty folder but for `folder/other`, `file` and `large.yaml`; `$BUNDLE` is a good bundle.
#[test]
fn commands_are_refused() {
    let bundle = shapes();
    all(cases("tests/bad/commands", "cmd"), |path| {
        let tmp = TempDir::new().unwrap();
        fs::create_dir(tmp.path().join("folder")).unwrap();
        fs::write(tmp.path().join("folder/other"), "mine").unwrap();
        fs::write(tmp.path().join("file"), "mine").unwrap();
        fs::write(tmp.path().join("large.yaml"), "# 345\n".repeat(1 << 20)).unwrap();
        let line = fs::read_to_string(path).unwrap();
        let line = line
            .replace("$TMP", tmp.path().to_str().unwrap())
            .replace("$BUNDLE", bundle.to_str().unwrap());
        let said = refusal(&line.split_whitespace().collect::<Vec<_>>());
        let hidden = [(tmp.path(), "$TMP"), (bundle, "$BUNDLE")];
        snapshot("tests/bad/commands", &name_of(path), &said, &hidden);
        assert_eq!(
            fs::read_to_string(tmp.path().join("folder/other")).unwrap(),
            "mine"
        );
        let left = fs::read_dir(tmp.path()).unwrap().count();
        assert_eq!(left, 3, "{line}: something is left behind");
    });
}

/// A snapshot without its case would never be looked at again.
#[test]
fn every_snapshot_has_its_case() {
    let names =
        |cases: Vec<std::path::PathBuf>| cases.iter().map(|p| name_of(p)).collect::<Vec<_>>();
    let listed = |cases: &[&str]| cases.iter().map(ToString::to_string).collect::<Vec<_>>();
    let checkpoints: Vec<&str> = CHECKPOINTS.iter().map(|(name, _)| *name).collect();
    let encoders: Vec<&str> = TEXT_ENCODERS.iter().map(|(name, _)| *name).collect();
    let loras: Vec<&str> = LORAS.iter().map(|(name, _)| *name).collect();
    let bundles: Vec<&str> = BUNDLES.iter().map(|(name, _)| *name).collect();
    let folders = [
        ("yaml", names(cases("tests/bad/yaml", "yaml"))),
        ("presets", names(cases("tests/bad/presets", "yaml"))),
        ("commands", names(cases("tests/bad/commands", "cmd"))),
        (
            "safetensors",
            listed(&[checkpoints, encoders, loras].concat()),
        ),
        ("bundles", listed(&bundles)),
    ];
    for (folder, known) in folders {
        let mut kept = names(cases(&format!("tests/bad/{folder}"), "snap"));
        kept.retain(|name| !known.contains(name));
        assert!(
            kept.is_empty(),
            "tests/bad/{folder} has snapshots without a case: {kept:?}"
        );
    }
}

type Damage = (&'static str, fn(&Path));
type Case<T> = (&'static str, fn(T) -> Vec<u8>);

const KEY: &str = "model.diffusion_model.patchify_proj.weight";

/// Makes a damaged checkpoint out of the example's.
const CHECKPOINTS: &[Case<Parts>] = &[
    ("empty", |_| Vec::new()),
    ("seven_bytes", |_| vec![0; 7]),
    ("only_a_length", |_| vec![0; 8]),
    ("header_longer_than_the_file", |_| {
        join(&[], &[]).iter().map(|_| 0x7f).collect()
    }),
    ("header_of_many_gigabytes", |_| {
        [&(1u64 << 62).to_le_bytes()[..], b"{}"].concat()
    }),
    ("header_is_no_json", |_| join(b"{\"a\": ", b"")),
    ("header_is_a_list", |_| join(b"[]", b"")),
    ("header_is_nested_deep", |_| {
        join("[".repeat(100_000).as_bytes(), b"")
    }),
    ("header_is_not_utf8", |_| join(b"{\"\xff\": 1}", b"")),
    ("truncated_in_the_header", |p| p.bytes()[..200].to_vec()),
    ("truncated_in_the_data", |p| {
        let b = p.bytes();
        b[..b.len() - 100].to_vec()
    }),
    ("bytes_after_the_data", |p| {
        [p.bytes(), vec![0; 100]].concat()
    }),
    ("key_twice", |_| {
        let entry = r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4]}"#;
        join(
            format!(r#"{{"a":{entry},"a":{entry}}}"#).as_bytes(),
            &[0; 4],
        )
    }),
    ("overlapping_tensors", |mut p| {
        let twin = p.entry("vae.encoder.conv_in.conv.bias").clone();
        p.header.insert("twin".into(), twin);
        p.bytes()
    }),
    ("offsets_backwards", |mut p| {
        p.entry(KEY)["data_offsets"] = json!([400, 0]);
        p.bytes()
    }),
    ("offsets_beyond_the_file", |mut p| {
        p.entry(KEY)["data_offsets"] = json!([0, u64::MAX]);
        p.bytes()
    }),
    ("negative_offset", |mut p| {
        p.entry(KEY)["data_offsets"] = json!([-4, 0]);
        p.bytes()
    }),
    ("shape_that_overflows", |mut p| {
        p.entry(KEY)["shape"] = json!([u64::MAX, u64::MAX, 2]);
        p.bytes()
    }),
    ("shape_of_another_size", |mut p| {
        p.entry(KEY)["shape"] = json!([3, 3]);
        p.bytes()
    }),
    ("unknown_dtype", |mut p| {
        p.entry(KEY)["dtype"] = json!("F31");
        p.bytes()
    }),
    ("dtype_of_no_weight", |mut p| {
        let dtype = match p.entry(KEY)["dtype"].as_str() {
            Some("F32") => "I32",
            _ => "I16",
        };
        p.entry(KEY)["dtype"] = json!(dtype);
        p.bytes()
    }),
    ("turned_matrix", |mut p| {
        p.entry(KEY)["shape"].as_array_mut().unwrap().reverse();
        p.bytes()
    }),
    ("missing_tensor", |mut p| {
        let entry = p.header.remove(KEY).unwrap();
        p.header
            .insert("model.diffusion_model.patchify.weight".into(), entry);
        p.bytes()
    }),
    ("extra_tensor", |mut p| {
        let end = p.data.len();
        p.data.extend([0; 4]);
        let entry = json!({"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]});
        p.header.insert("surplus".into(), entry);
        p.bytes()
    }),
    ("no_config", |mut p| {
        p.header.remove("__metadata__");
        p.bytes()
    }),
    ("config_is_no_json", |mut p| {
        p.header["__metadata__"]["config"] = json!("{layers: 28");
        p.bytes()
    }),
    ("config_is_a_list", |mut p| {
        p.header["__metadata__"]["config"] = json!("[]");
        p.bytes()
    }),
    ("config_without_a_transformer", |mut p| {
        p.config(|c| *c = json!({"vae": c["vae"]}));
        p.bytes()
    }),
    ("config_of_another_activation", |mut p| {
        p.config(|c| c["transformer"]["activation_fn"] = json!("geglu"));
        p.bytes()
    }),
    ("config_with_more_layers", |mut p| {
        p.config(|c| c["transformer"]["num_layers"] = json!(7));
        p.bytes()
    }),
    ("config_with_layers_without_end", |mut p| {
        p.config(|c| c["transformer"]["num_layers"] = json!(1u64 << 40));
        p.bytes()
    }),
    ("config_with_layers_as_text", |mut p| {
        p.config(|c| c["transformer"]["num_layers"] = json!("four"));
        p.bytes()
    }),
    ("config_with_no_heads", |mut p| {
        p.config(|c| c["transformer"]["num_attention_heads"] = json!(0));
        p.bytes()
    }),
    ("config_with_huge_heads", |mut p| {
        p.config(|c| c["transformer"]["num_attention_heads"] = json!(i64::MAX));
        p.bytes()
    }),
    ("config_with_an_unknown_block", |mut p| {
        p.config(|c| c["vae"]["decoder_blocks"] = json!([["res_z", {"num_layers": 1}]]));
        p.bytes()
    }),
    ("config_with_blocks_as_numbers", |mut p| {
        p.config(|c| c["vae"]["decoder_blocks"] = json!([1, 2]));
        p.bytes()
    }),
    ("config_with_blocks_without_end", |mut p| {
        p.config(|c| {
            c["vae"]["decoder_blocks"] = vec![json!(["res_x", {"num_layers": 1024}]); 1024].into()
        });
        p.bytes()
    }),
];

#[test]
fn checkpoints_are_refused() {
    let good = Parts::read(&root().join("examples/shapes/weights/ltxv-shapes.safetensors"));
    all(CHECKPOINTS, |(name, make)| {
        let tmp = TempDir::new().unwrap();
        let file = tmp.path().join("bad.safetensors");
        fs::write(&file, make(good.clone())).unwrap();
        let preset = "presets/shapes.yaml";
        let said = refusal(&["check", preset, "--checkpoint", file.to_str().unwrap()]);
        snapshot(
            "tests/bad/safetensors",
            name,
            &said,
            &[(tmp.path(), "$TMP")],
        );
    });
}

const LAYER: &str = "diffusion_model.transformer_blocks.0.attn1.to_q";

/// A pair of factors for a layer that is 192 wide, of rank 2.
fn pair() -> Parts {
    Parts::empty()
        .with(&format!("{LAYER}.lora_up.weight"), &[192, 2])
        .with(&format!("{LAYER}.lora_down.weight"), &[2, 192])
}

/// Makes a LoRA that the example's model cannot take.
const LORAS: &[Case<Parts>] = &[
    ("lora_of_another_model", |_| {
        (0..4)
            .flat_map(|i| [(i, "to_q"), (i, "to_k")])
            .fold(Parts::empty(), |made, (i, name)| {
                let layer = format!("transformer.transformer_blocks.{i}.attn1.{name}");
                made.with(&format!("{layer}.lora_A.weight"), &[4, 2048])
                    .with(&format!("{layer}.lora_B.weight"), &[2048, 4])
            })
            .bytes()
    }),
    ("lora_of_more_layers", |p| {
        (4..20)
            .fold(p, |made, i| {
                let layer = format!("diffusion_model.transformer_blocks.{i}.attn1.to_q");
                made.with(&format!("{layer}.lora_up.weight"), &[192, 2])
                    .with(&format!("{layer}.lora_down.weight"), &[2, 192])
            })
            .bytes()
    }),
    ("lora_with_unknown_keys", |p| {
        p.with(&format!("{LAYER}.lora_sideways.weight"), &[2, 192])
            .with("text_encoder.encoder.block.0.q.lora_A.weight", &[2, 192])
            .with(&format!("{LAYER}.dora_scale"), &[192, 1])
            .bytes()
    }),
    ("lora_without_its_other_half", |p| {
        p.with("diffusion_model.proj_out.lora_up.weight", &[16, 2])
            .bytes()
    }),
    ("lora_of_rank_zero", |_| {
        Parts::empty()
            .with(&format!("{LAYER}.lora_up.weight"), &[192, 0])
            .with(&format!("{LAYER}.lora_down.weight"), &[0, 192])
            .bytes()
    }),
    ("lora_truncated", |p| {
        let bytes = p.bytes();
        bytes[..bytes.len() - 100].to_vec()
    }),
    ("lora_whose_settings_are_no_json", |mut p| {
        let settings = json!({"lora_adapter_metadata": "{lora_alpha: 4"});
        p.header.insert("__metadata__".into(), settings);
        p.bytes()
    }),
    ("lora_that_is_a_checkpoint", |_| {
        fs::read(root().join("examples/shapes/weights/ltxv-shapes.safetensors")).unwrap()
    }),
];

#[test]
fn loras_are_refused() {
    all(LORAS, |(name, make)| {
        let tmp = TempDir::new().unwrap();
        let file = tmp.path().join("style.safetensors");
        fs::write(&file, make(pair())).unwrap();
        let preset = "presets/shapes.yaml";
        let said = refusal(&["check", preset, "--lora", file.to_str().unwrap()]);
        snapshot(
            "tests/bad/safetensors",
            name,
            &said,
            &[(tmp.path(), "$TMP")],
        );
    });
}

/// Damages a copy of the folder with the text encoder and the tokenizer.
const TEXT_ENCODERS: &[Damage] = &[
    ("text_config_is_no_json", |p| {
        fs::write(p.join("text_encoder/config.json"), "{").unwrap()
    }),
    ("text_config_is_a_list", |p| {
        fs::write(p.join("text_encoder/config.json"), "[1]").unwrap()
    }),
    ("text_config_of_another_size", |p| {
        let path = p.join("text_encoder/config.json");
        let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        config["num_layers"] = json!(99);
        fs::write(path, config.to_string()).unwrap();
    }),
    ("text_encoder_without_weights", |p| {
        fs::remove_file(p.join("text_encoder/model.safetensors")).unwrap();
    }),
    ("text_encoder_index_that_leads_out", |p| {
        let index = r#"{"weight_map": {"shared.weight": "../../secret.safetensors"}}"#;
        fs::write(p.join("text_encoder/model.safetensors.index.json"), index).unwrap();
    }),
    ("tokenizer_is_no_json", |p| {
        fs::write(p.join("tokenizer/tokenizer.json"), "{").unwrap()
    }),
    ("tokenizer_of_another_kind", |p| {
        fs::write(
            p.join("tokenizer/tokenizer.json"),
            r#"{"model": {"type": "BPE"}}"#,
        )
        .unwrap();
    }),
    ("tokenizer_is_missing", |p| {
        fs::remove_file(p.join("tokenizer/tokenizer.json")).unwrap()
    }),
    ("tokenizer_with_a_broken_charsmap", |p| {
        let text =
            r#"{"model": {"type": "Unigram"}, "normalizer": {"precompiled_charsmap": "AAAA"}}"#;
        fs::write(p.join("tokenizer/tokenizer.json"), text).unwrap();
    }),
];

#[test]
fn text_encoders_are_refused() {
    all(TEXT_ENCODERS, |(name, damage)| {
        let tmp = TempDir::new().unwrap();
        for folder in ["text_encoder", "tokenizer"] {
            fs::create_dir(tmp.path().join(folder)).unwrap();
            for entry in fs::read_dir(root().join("examples/shapes/weights").join(folder)).unwrap()
            {
                let entry = entry.unwrap();
                fs::copy(
                    entry.path(),
                    tmp.path().join(folder).join(entry.file_name()),
                )
                .unwrap();
            }
        }
        damage(tmp.path());
        let encoder = tmp.path().join("text_encoder");
        let said = refusal(&[
            "check",
            "presets/shapes.yaml",
            "--text-encoder",
            encoder.to_str().unwrap(),
        ]);
        snapshot(
            "tests/bad/safetensors",
            name,
            &said,
            &[(tmp.path(), "$TMP")],
        );
    });
}

/// Changes the manifest of a bundle.
fn manifest(bundle: &Path, change: impl FnOnce(&mut Value)) {
    let path = bundle.join("manifest.json");
    let mut value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Changes the first part of the transformer.
fn part(bundle: &Path, change: impl FnOnce(&mut Value)) {
    manifest(bundle, |m| {
        change(&mut m["components"]["transformer"]["parts"][0])
    });
}

/// Changes the stages of the decoder.
fn stream(bundle: &Path, change: impl FnOnce(&mut Value)) {
    manifest(bundle, |m| {
        change(&mut m["components"]["vae_decoder"]["stream"]["stages"])
    });
}

/// Renames a file in the manifest, where it is listed and where it is used.
fn rename(bundle: &Path, to: &str) {
    manifest(bundle, |m| {
        let files = m["files"].as_object_mut().unwrap();
        let entry = files.remove("transformer.onnx").unwrap();
        files.insert(to.to_owned(), entry);
        m["components"]["transformer"]["model"] = json!(to);
    });
}

const BUNDLES: &[Damage] = &[
    ("no_manifest", |b| {
        fs::remove_file(b.join("manifest.json")).unwrap()
    }),
    ("manifest_is_empty", |b| {
        fs::write(b.join("manifest.json"), "").unwrap()
    }),
    ("manifest_is_truncated", |b| {
        let text = fs::read_to_string(b.join("manifest.json")).unwrap();
        let cut = text.find("\"components\"").unwrap();
        fs::write(b.join("manifest.json"), &text[..cut]).unwrap();
    }),
    ("manifest_is_a_folder", |b| {
        fs::remove_file(b.join("manifest.json")).unwrap();
        fs::create_dir(b.join("manifest.json")).unwrap();
    }),
    ("manifest_is_nested_deep", |b| {
        fs::write(b.join("manifest.json"), "[".repeat(100_000)).unwrap()
    }),
    ("manifest_is_huge", |b| {
        fs::write(b.join("manifest.json"), vec![b' '; 17 << 20]).unwrap()
    }),
    ("manifest_is_not_utf8", |b| {
        fs::write(b.join("manifest.json"), [0xff; 9]).unwrap()
    }),
    ("manifest_of_a_later_version", |b| {
        manifest(b, |m| m["version"] = json!(99))
    }),
    ("manifest_without_a_version", |b| {
        manifest(b, |m| m["version"] = Value::Null)
    }),
    ("manifest_with_an_unknown_key", |b| {
        manifest(b, |m| m["surprise"] = json!(1))
    }),
    ("manifest_without_a_plan", |b| {
        manifest(b, |m| {
            m.as_object_mut().unwrap().remove("plan");
        })
    }),
    ("missing_file", |b| {
        fs::remove_file(b.join("transformer.onnx")).unwrap()
    }),
    ("missing_weights", |b| {
        fs::remove_file(b.join("transformer.onnx.data")).unwrap()
    }),
    ("shorter_file", |b| {
        fs::write(b.join("transformer.onnx"), "short").unwrap()
    }),
    ("changed_file", |b| {
        let mut bytes = fs::read(b.join("transformer.onnx.data")).unwrap();
        bytes[1000] ^= 1;
        fs::write(b.join("transformer.onnx.data"), bytes).unwrap();
    }),
    ("file_is_a_link", |b| {
        let file = b.join("transformer.onnx");
        fs::rename(&file, b.join("real")).unwrap();
        std::os::unix::fs::symlink("real", &file).unwrap();
    }),
    ("file_is_a_folder", |b| {
        fs::remove_file(b.join("transformer.onnx")).unwrap();
        fs::create_dir(b.join("transformer.onnx")).unwrap();
    }),
    ("path_to_the_parent", |b| rename(b, "../secret.onnx")),
    ("path_from_the_root", |b| rename(b, "/etc/hostname")),
    ("path_through_a_folder", |b| rename(b, "a/../../b.onnx")),
    ("path_with_backslashes", |b| rename(b, "..\\secret.onnx")),
    ("path_that_is_empty", |b| rename(b, "")),
    ("path_through_a_linked_folder", |b| {
        fs::create_dir(b.join("../elsewhere")).unwrap();
        fs::rename(b.join("transformer.onnx"), b.join("../elsewhere/t.onnx")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", b.join("inside")).unwrap();
        rename(b, "inside/t.onnx");
    }),
    ("component_without_its_file", |b| {
        manifest(b, |m| {
            m["files"]
                .as_object_mut()
                .unwrap()
                .remove("transformer.onnx");
        })
    }),
    ("part_without_its_file", |b| {
        part(b, |part| part["model"] = json!("elsewhere.onnx"))
    }),
    ("part_that_reads_what_nothing_makes", |b| {
        part(b, |part| part["inputs"][0] = json!("dreams"))
    }),
    ("part_that_makes_an_input", |b| {
        part(b, |part| part["outputs"][0]["name"] = json!("latents"))
    }),
    ("part_that_makes_the_output", |b| {
        part(b, |part| part["outputs"][0]["name"] = json!("velocity"))
    }),
    ("part_that_makes_nothing", |b| {
        part(b, |part| part["outputs"] = json!([]))
    }),
    ("part_that_stands_twice", |b| {
        manifest(b, |m| {
            let parts = m["components"]["transformer"]["parts"].as_array_mut();
            let parts = parts.unwrap();
            parts.push(parts[0].clone());
        })
    }),
    ("part_kept_of_what_changes", |b| {
        manifest(b, |m| {
            let parts = m["components"]["transformer"]["parts"].as_array_mut();
            let parts = parts.unwrap();
            let mut second = parts[0].clone();
            parts[0]["per"] = json!("step");
            second["name"] = json!("second");
            second["inputs"] = json!([parts[0]["outputs"][0]["name"]]);
            second["outputs"] = json!([{"name": "kept", "dtype": "f32", "shape": ["B"]}]);
            parts.push(second);
        })
    }),
    ("part_used_again_for_no_reason", |b| {
        part(b, |part| part["reuse"] = json!("text"))
    }),
    ("parts_without_end", |b| {
        manifest(b, |m| {
            let parts = m["components"]["transformer"]["parts"].as_array_mut();
            let parts = parts.unwrap();
            let one = parts[0].clone();
            parts.extend(vec![one; 1000]);
        })
    }),
    ("stream_of_no_input", |b| {
        stream(b, |stages| stages[0]["frames"][0]["name"] = json!("text"))
    }),
    ("stream_with_a_gap", |b| {
        stream(b, |stages| stages[1]["frames"][0]["name"] = json!("gap"))
    }),
    ("stream_without_end", |b| {
        stream(b, |stages| stages[1]["frames"][0]["rate"] = json!(0))
    }),
    ("stream_with_tiles_of_nothing", |b| {
        stream(b, |stages| {
            stages[0]["sides"][0]["along"]["latents"]["rate"] = json!(0);
        })
    }),
    ("stream_without_stages", |b| {
        stream(b, |stages| *stages = json!([]))
    }),
    ("tokenizer_without_its_file", |b| {
        manifest(b, |m| m["tokenizer"] = json!("words.json"))
    }),
    ("unknown_runtime", |b| {
        manifest(b, |m| m["target"]["runtime"] = json!("candle"))
    }),
    ("unknown_provider", |b| {
        manifest(b, |m| m["target"]["provider"] = json!("metal"))
    }),
    ("plan_of_no_component", |b| {
        manifest(b, |m| {
            m["components"]
                .as_object_mut()
                .unwrap()
                .remove("vae_decoder");
        })
    }),
    ("stage_of_unknown_kind", |b| {
        manifest(b, |m| {
            m["plan"]["stages"][0] = json!({"name": "a", "dream": {}})
        })
    }),
    ("port_of_no_size", |b| {
        manifest(b, |m| {
            m["components"]["transformer"]["inputs"][0]["shape"][1] = json!("S S");
        })
    }),
    ("no_channels", |b| {
        manifest(b, |m| m["model"]["latent_channels"] = json!(0))
    }),
    ("no_pixels", |b| {
        manifest(b, |m| m["model"]["pixels_per_latent"] = json!(0))
    }),
    ("huge_latents", |b| {
        manifest(b, |m| m["model"]["latent_channels"] = json!(1u64 << 60))
    }),
];

#[test]
fn bundles_are_refused() {
    all(BUNDLES, |(name, damage)| {
        let tmp = TempDir::new().unwrap();
        let bundle = tmp.path().join("bad.bundle");
        copy_of_shapes(&bundle);
        damage(&bundle);
        let (at, out) = (bundle.to_str().unwrap(), tmp.path().join("out.mp4"));
        let said = refusal(&[
            "run",
            at,
            "--prompt",
            "a",
            "--steps",
            "1",
            "-o",
            out.to_str().unwrap(),
        ]);
        snapshot("tests/bad/bundles", name, &said, &[(tmp.path(), "$TMP")]);
        assert!(!out.exists(), "{name}: half a video");
    });
}
