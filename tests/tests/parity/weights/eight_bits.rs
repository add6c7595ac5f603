//! Weights in eight bits: plain, rotated, with scales; kept or widened.

use std::path::{Path, PathBuf};

use ltxc::{CompileOptions, Project, expand_all};
use ltxc_export::checkpoint::{Checkpoint, Fp8};
use ltxc_front::Role;
use serde_json::json;

use super::parts::{Parts, Stored, nearest, rotated, value};
use super::{Compiled, compile, fixture, fp8, transformer, velocity};
use crate::COMPONENT;
use crate::fixture::{Errors, difference, golden};

#[test]
fn eight_bits_without_scales() {
    let mut errors = Errors::default();
    let cases = [
        ("plain", "fp8", Fp8::Plain, (true, false)),
        ("plain", "fp8", Fp8::Auto, (false, true)),
        ("plain", "fp8", Fp8::Plain, (false, false)),
        ("hadamard", "fp8-hadamard", Fp8::Hadamard, (false, false)),
    ];
    for (name, stored, how, storage) in cases {
        let golden = golden(&fixture("0.9.8-fp8-like"), &format!("dit_forward_{name}"));
        let compiled = transformer(fp8(stored), how, storage);
        let found = velocity(&compiled, &golden.tensors);
        let error = difference(&found, golden.get("out.sample"));
        errors.note(
            &format!("0.9.8-fp8-like, {name}"),
            &format!("{storage:?}"),
            error,
            COMPONENT,
        );
    }
    errors.finish();
}

#[test]
fn eight_bits_kept_are_the_eight_bits_widened() {
    let golden = golden(&fixture("0.9.8-fp8-like"), "dit_forward_plain");
    let all = [(true, false), (true, true), (false, false), (false, true)];
    let made = all.map(|stored| transformer(fp8("fp8"), Fp8::Plain, stored));
    let bytes = |made: &Compiled, dtype: &str| {
        let component = &made.bundle.manifest.components["transformer"];
        component.weight_dtypes.get(dtype).copied().unwrap_or(0)
    };
    assert_eq!(bytes(&made[1], "f8e4m3"), 49152);
    assert_eq!(bytes(&made[0], "bf16") - bytes(&made[1], "bf16"), 2 * 49152);
    assert_eq!(bytes(&made[2], "f32") - bytes(&made[3], "f32"), 4 * 49152);
    let [first, rest @ ..] = made.map(|made| velocity(&made, &golden.tensors));
    for other in rest {
        assert_eq!(difference(&other, &first), 0.0);
    }
}

/// Twice as large bytes and half as large scales are the same weights.
#[test]
fn scales_count_under_each_name() {
    let golden = golden(&fixture("0.9.8-fp8-like"), "dit_forward_plain");
    let plain = velocity(
        &transformer(fp8("fp8"), Fp8::Plain, (true, false)),
        &golden.tensors,
    );
    let folder = tempfile::tempdir().unwrap();
    let comfy = br#"{"format": "float8_e4m3fn"}"#.to_vec();
    for (name, scale, input, extra) in [
        (
            "old",
            "scale_weight",
            "scale_input",
            ("scaled_fp8", "F8_E4M3", vec![]),
        ),
        (
            "new",
            "weight_scale",
            "input_scale",
            ("comfy_quant", "U8", comfy),
        ),
    ] {
        let path = folder.path().join(format!("{name}.safetensors"));
        let mut parts = Parts::read(&fp8("fp8"));
        let layers = parts.scale(scale, input);
        if extra.1 == "U8" {
            layers.iter().for_each(|layer| {
                parts.add(
                    &format!("{layer}.{}", extra.0),
                    extra.1,
                    vec![extra.2.len()],
                    extra.2.clone(),
                )
            });
        } else {
            parts.add(extra.0, extra.1, vec![0], extra.2.clone());
        }
        parts.write(&path);
        for stored in [(true, false), (true, true), (false, false)] {
            let found = velocity(
                &transformer(path.clone(), Fp8::Auto, stored),
                &golden.tensors,
            );
            assert_eq!(difference(&found, &plain), 0.0, "{name}, {stored:?}");
        }
    }
}

/// A text encoder of eight bits with scales leaves no tensor over, and means what its numbers mean.
#[test]
fn text_encoders_of_eight_bits() {
    let folder = tempfile::tempdir().unwrap();
    let source = fixture("0.9.8-distilled-like");
    let (eight, sixteen) = (
        folder.path().join("t5_fp8.safetensors"),
        folder.path().join("t5_fp16.safetensors"),
    );
    let mut parts = Parts::read(&source.join("t5xxl_fp16.safetensors"));
    parts.change(|_, tensor| {
        let halves = tensor.data.as_chunks().0.iter();
        tensor.data = halves
            .map(|b| nearest(half::f16::from_le_bytes(*b).to_f32()))
            .collect();
        tensor.dtype = "F8_E4M3".to_owned();
    });
    let widen = |parts: &Parts| {
        let mut wide = parts.clone();
        wide.change(|_, tensor| {
            let halves = tensor
                .data
                .iter()
                .flat_map(|b| half::f16::from_f32(value(*b)).to_le_bytes());
            (tensor.data, tensor.dtype) = (halves.collect(), "F16".to_owned());
        });
        wide
    };
    widen(&parts).write(&sixteen);
    parts.scale("scale_weight", "scale_input");
    parts.add("scaled_fp8", "F8_E4M3", vec![2], vec![0, 0]);
    parts.write(&eight);
    let options = |text: &Path| CompileOptions {
        preset: "ltxv".to_owned(),
        checkpoints: [
            (
                Role::Model,
                source.join("ltxv-2b-0.9.8-distilled.safetensors"),
            ),
            (Role::TextEncoder, text.to_owned()),
        ]
        .into(),
        tokenizer: Some(source.join("diffusers/tokenizer")),
        ..CompileOptions::default()
    };
    let project = Project::open(&options(&eight)).unwrap();
    expand_all(&project, &project.open_checkpoints().unwrap())
        .unwrap_or_else(|e| panic!("{}", e.render(false)));
    let golden = golden(&source, "t5_encode");
    let hidden = |text: &Path, eight| {
        let compiled = compile(options(text), "text_encoder", (true, eight));
        let port = |name: &str| {
            (
                name.to_owned(),
                golden.get(&format!("input.0.{name}")).clone(),
            )
        };
        let mut outputs = compiled
            .runner
            .exec("text_encoder", [port("ids"), port("mask")].into())
            .unwrap();
        outputs.remove("hidden").unwrap()
    };
    let expected = hidden(&sixteen, false);
    for kept in [false, true] {
        assert_eq!(difference(&hidden(&eight, kept), &expected), 0.0);
    }
}

/// Where 16 bits are kept, a weight that was rotated back is rounded to bf16, once.
#[test]
fn rotated_weights_are_rounded_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bf16.safetensors");
    let mut parts = Parts::read(&fp8("fp8-hadamard"));
    parts.change(|_, tensor| {
        if tensor.dtype == "F8_E4M3" {
            let values: Vec<f32> = tensor.data.iter().map(|b| value(*b)).collect();
            let back = values.chunks(tensor.shape[1]).flat_map(rotated);
            tensor.data = back
                .flat_map(|v| half::bf16::from_f32(v).to_le_bytes())
                .collect();
            tensor.dtype = "BF16".to_owned();
        }
    });
    parts.write(&path);
    let golden = golden(&fixture("0.9.8-fp8-like"), "dit_forward_hadamard");
    let expected = transformer(path, Fp8::Auto, (true, false));
    let expected = velocity(&expected, &golden.tensors);
    for eight in [false, true] {
        let found = transformer(fp8("fp8-hadamard"), Fp8::Hadamard, (true, eight));
        assert!(difference(&velocity(&found, &golden.tensors), &expected) <= COMPONENT);
    }
}

/// The example's matrices, cut to a power of two, with the long tails of large models, cast as they are and rotated.
#[test]
fn the_basis_of_trained_weights_is_told_from_their_numbers() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/shapes/weights");
    let trained = Parts::read(&example.join("ltxv-shapes.safetensors"));
    let folder = tempfile::tempdir().unwrap();
    for (name, turn, word) in [
        (
            "plain",
            long_tails as fn(&[f32]) -> Vec<f32>,
            "taken as they are, not rotated: told from their numbers",
        ),
        (
            "rotated",
            |row| rotated(&long_tails(row)),
            "rotated back by a Hadamard matrix: told",
        ),
    ] {
        let mut eight = trained.clone();
        eight
            .tensors
            .retain(|key, _| key.contains("transformer_blocks") && key.ends_with("to_q.weight"));
        assert!(eight.tensors.len() >= 8);
        eight.change(|_, tensor| cast(tensor, 128, turn));
        let path = folder.path().join(format!("{name}.safetensors"));
        eight.write(&path);
        let mut model = Checkpoint::open_with_config(&path, &json!({})).unwrap();
        model.settle_fp8(Fp8::Auto).unwrap();
        println!("{}", model.notes().join("\n"));
        assert!(
            model.notes().iter().any(|note| note.contains(word)),
            "{:?}",
            model.notes()
        );
    }
}

/// A row whose large numbers are larger: the tiny model's are almost normal, which a rotation does not change.
fn long_tails(row: &[f32]) -> Vec<f32> {
    row.iter().map(|w| 4.0 * w * w.abs().sqrt()).collect()
}

/// The first columns of a matrix in E4M3, each row turned before.
fn cast(tensor: &mut Stored, columns: usize, turn: fn(&[f32]) -> Vec<f32>) {
    let wide: Vec<f32> = match tensor.dtype.as_str() {
        "F32" => tensor
            .data
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect(),
        "F16" => tensor
            .data
            .as_chunks()
            .0
            .iter()
            .map(|b| half::f16::from_le_bytes(*b).to_f32())
            .collect(),
        _ => tensor
            .data
            .as_chunks()
            .0
            .iter()
            .map(|b| half::bf16::from_le_bytes(*b).to_f32())
            .collect(),
    };
    let rows = wide.chunks(tensor.shape[1]).map(|row| &row[..columns]);
    let turned = rows.flat_map(turn);
    tensor.data = turned.map(nearest).collect();
    tensor.shape[1] = columns;
    tensor.dtype = "F8_E4M3".to_owned();
}

#[test]
fn a_rotation_that_cannot_be_is_refused() {
    let model = |path: PathBuf| Checkpoint::open(&path).unwrap();
    let plain = fixture("0.9.8-distilled-like/ltxv-2b-0.9.8-distilled.safetensors");
    let error = model(plain)
        .settle_fp8(Fp8::Hadamard)
        .unwrap_err()
        .to_string();
    assert!(error.contains("E4M3 weights without scales"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("odd.safetensors");
    let mut odd = Parts::read(&fp8("fp8"));
    let key = "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight";
    odd.add(key, "F8_E4M3", vec![24, 24], vec![0; 576]);
    odd.write(&path);
    let error = model(path.clone())
        .settle_fp8(Fp8::Hadamard)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("power of two") && error.contains("found 24"),
        "{error}"
    );
    let mut guessed = model(path);
    guessed.settle_fp8(Fp8::Auto).unwrap();
    assert!(
        guessed
            .notes()
            .iter()
            .any(|note| note.contains("no Hadamard matrix is 24 wide"))
    );
}

#[test]
fn scales_that_are_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.safetensors");
    let layer = "model.diffusion_model.transformer_blocks.0.attn1.to_q";
    for (name, dtype, shape, data, word) in [
        (
            "scale_weight",
            "F32",
            vec![],
            f32::NAN.to_le_bytes().to_vec(),
            "found NaN",
        ),
        ("weight_scale", "F32", vec![2], vec![0; 8], "found F32 [2]"),
        ("weight_scale", "I32", vec![], vec![0; 4], "found I32"),
        (
            "comfy_quant",
            "U8",
            vec![19],
            br#"{"format": "nvfp4"}"#.to_vec(),
            "`nvfp4`",
        ),
        ("comfy_quant", "U8", vec![3], b"{a}".to_vec(), "JSON"),
    ] {
        let mut parts = Parts::read(&fp8("fp8"));
        parts.add(&format!("{layer}.{name}"), dtype, shape, data);
        parts.write(&path);
        let error = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(name), "{error}");
    }
}
