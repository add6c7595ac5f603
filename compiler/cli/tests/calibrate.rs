//! `ltxc calibrate`, and recipes that read what it wrote.
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::Path;

use common::{copy_of_shapes, ltxc, shapes};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Scales of the tiny model from one short video.
fn calibrate(folder: &Path, method: &str) -> Value {
    calibrate_with(folder, &["--method", method])
}

fn calibrate_with(folder: &Path, options: &[&str]) -> Value {
    let (prompts, out) = (folder.join("prompts.txt"), folder.join("scales.json"));
    fs::write(&prompts, "a red circle moves right on a blue background\n").unwrap();
    // Beside the bundle there are files while it is calibrated.
    let bundle = folder.join("floats.bundle");
    if !bundle.exists() {
        copy_of_shapes(&bundle);
    }
    let what = [
        "calibrate",
        bundle.to_str().unwrap(),
        "--prompts",
        prompts.to_str().unwrap(),
    ];
    let how = [
        "--set",
        "defaults.steps=2",
        "--set",
        "defaults.frames=9",
        "-o",
        out.to_str().unwrap(),
    ];
    ltxc(&[&what[..], options, &how].concat()).fine();
    serde_json::from_str(&fs::read_to_string(out).unwrap()).unwrap()
}

fn layers(scales: &Value) -> &serde_json::Map<String, Value> {
    scales["components"]["transformer"].as_object().unwrap()
}

/// What a compile on integers with these scales says where it fails.
fn refused(folder: &Path, scales: &Value) -> String {
    refused_by(folder, scales, &["--quant", "int8"])
}

fn refused_by(folder: &Path, scales: &Value, quant: &[&str]) -> String {
    let path = folder.join("changed.json");
    fs::write(&path, scales.to_string()).unwrap();
    let (path, out) = (path.to_str().unwrap(), folder.join("refused.bundle"));
    let compile = ["compile", "presets/shapes.yaml", "--only", "transformer"];
    let scales = ["--scales", path, "-o", out.to_str().unwrap()];
    let said = ltxc(&[&compile[..], quant, &scales].concat());
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    said.stderr
}

#[test]
fn ranges_of_a_run_become_a_bundle_that_runs() {
    let tmp = TempDir::new().unwrap();
    let scales = calibrate(tmp.path(), "max");
    assert_eq!(
        (&scales["ltxc_scales"], &scales["made_by"]["method"]),
        (&json!(1), &json!("max"))
    );
    // Text keys are computed in another part than queries.
    let attention = ["attn1.to_q.weight/q", "attn2.to_q.weight/v"];
    for layer in ["attn1.to_q.weight", "attn2.to_k", "ff.net.2"]
        .iter()
        .chain(&attention)
    {
        let found = layers(&scales)
            .iter()
            .filter(|(key, _)| key.contains(*layer));
        assert!(found.clone().count() > 0, "{layer}");
        assert!(
            found
                .into_iter()
                .all(|(_, most)| most.as_f64().unwrap() > 0.0)
        );
    }
    let [path, bundle, out] =
        ["scales.json", "int8.bundle", "out.png"].map(|name| tmp.path().join(name));
    let [path, bundle, out] = [&path, &bundle, &out].map(|path| path.to_str().unwrap());
    let compile = [
        "compile",
        "presets/shapes.yaml",
        "--quant",
        "int8",
        "--scales",
        path,
    ];
    ltxc(&[&compile[..], &["-o", bundle]].concat()).fine();
    let run = [
        "run",
        bundle,
        "--prompt",
        "a red circle",
        "--steps",
        "2",
        "-o",
        out,
    ];
    ltxc(&run).fine();
    let leftover = fs::read_dir(tmp.path()).unwrap().flatten();
    let left = |name: String| name.starts_with(".ltxc-calibrate-");
    assert!(
        !leftover
            .into_iter()
            .any(|entry| left(entry.file_name().to_string_lossy().into()))
    );
}

#[test]
fn a_percentile_is_not_above_the_largest() {
    let tmp = TempDir::new().unwrap();
    let (max, part) = (
        calibrate(tmp.path(), "max"),
        calibrate(tmp.path(), "percentile:90"),
    );
    let largest = layers(&max);
    assert_eq!(largest.len(), layers(&part).len());
    let less = layers(&part).iter().filter(|(key, part)| {
        let [part, most] = [*part, &largest[*key]].map(|x| x.as_f64().unwrap());
        assert!(part > 0.0 && part <= most, "{key}: {part} of {most}");
        part < most
    });
    assert!(less.count() > largest.len() / 2);
}

#[test]
fn smoothed_inputs_reach_less_far_and_give_the_same_videos() {
    let tmp = TempDir::new().unwrap();
    let plain = calibrate(tmp.path(), "max");
    let smooth = calibrate_with(tmp.path(), &["--smooth", "0.5"]);
    assert_eq!(layers(&plain).len(), layers(&smooth).len());
    let by_weights = |(key, _): &(&String, &Value)| !key.contains('/');
    for (key, reach) in layers(&smooth).iter().filter(by_weights) {
        let powers = reach["smooth"].as_array().unwrap();
        let divided = powers.iter().any(|power| power.as_i64() != Some(0));
        assert!(divided && reach["largest"].as_f64().unwrap() > 0.0, "{key}");
    }
    let [scales, bundle] = ["scales.json", "int8.bundle"].map(|name| tmp.path().join(name));
    let [scales, bundle] = [&scales, &bundle].map(|path| path.to_str().unwrap());
    let compile = ["compile", "presets/shapes.yaml", "--quant", "int8"];
    ltxc(&[&compile[..], &["--scales", scales, "-o", bundle]].concat()).fine();
    let bench = ["bench", "quality", shapes().to_str().unwrap(), bundle];
    let said = ltxc(&[&bench[..], &["--prompts", "1", "--json"]].concat()).fine();
    let report: Value = serde_json::from_str(&said).unwrap();
    assert!(
        report["psnr"][0].as_f64().unwrap() > 20.0,
        "{}",
        report["psnr"]
    );
    let mut strange = smooth.clone();
    let mut keys = layers(&smooth).keys();
    let key = keys.find(|key| key.contains("attn1.to_q")).unwrap();
    strange["components"]["transformer"][key]["smooth"] = json!([1, 2]);
    let said = refused(tmp.path(), &strange);
    assert!(said.contains("2 inputs") && said.contains(key), "{said}");
    let said = ltxc(&[
        "calibrate",
        "presets/shapes.yaml",
        "--prompts",
        "x",
        "--smooth",
        "2",
    ]);
    assert_eq!(said.code, Some(2), "{}", said.stderr);
}

#[test]
fn wrong_scales_are_refused_with_their_layer() {
    let tmp = TempDir::new().unwrap();
    let scales = calibrate(tmp.path(), "max");
    let key = layers(&scales)
        .keys()
        .find(|key| key.contains("attn1.to_q"))
        .unwrap();
    let change = |change: &dyn Fn(&mut Value)| {
        let mut changed = scales.clone();
        change(&mut changed);
        refused(tmp.path(), &changed)
    };
    let layers = |scales: &mut Value| scales["components"]["transformer"].take();
    let missing = change(&|scales| {
        scales["components"]["transformer"]
            .as_object_mut()
            .unwrap()
            .remove(key);
    });
    assert!(
        missing.contains(key.as_str()) && missing.contains("ltxc calibrate"),
        "{missing}"
    );
    let strange =
        change(&|scales| scales["components"]["transformer"]["other.weight"] = json!(1.0));
    assert!(
        strange.contains("another model") && strange.contains("other.weight"),
        "{strange}"
    );
    let zero = change(&|scales| scales["components"]["transformer"][key] = json!(0.0));
    assert!(zero.contains("over 0"), "{zero}");
    let version = change(&|scales| scales["ltxc_scales"] = json!(2));
    assert!(version.contains("version 2"), "{version}");
    let component = change(&|scales| {
        let layers = layers(scales);
        scales["components"] = json!({"vae_decoder": layers});
    });
    assert!(
        component.contains("says nothing of the component"),
        "{component}"
    );
    let nothing = refused(tmp.path(), &json!({"format": "other"}));
    assert!(nothing.contains("no file of scales"), "{nothing}");
}

#[test]
fn attention_on_8_bits_needs_the_ranges_of_what_it_reads() {
    let tmp = TempDir::new().unwrap();
    let mut scales = calibrate(tmp.path(), "max");
    let quant = [
        "--target",
        "tensorrt-rtx",
        "--quant",
        "fp16",
        "--quant",
        "fp8-attention",
    ];
    let [path, bundle] = ["scales.json", "fp8.bundle"].map(|name| tmp.path().join(name));
    let compile = ["compile", "presets/shapes.yaml", "--only", "transformer"];
    let files = [
        "--scales",
        path.to_str().unwrap(),
        "-o",
        bundle.to_str().unwrap(),
    ];
    ltxc(&[&compile[..], &quant, &files].concat()).fine();
    let model = fs::read(bundle.join("transformer.onnx")).unwrap();
    let holds = |name: &str| {
        model
            .windows(name.len())
            .any(|part| part == name.as_bytes())
    };
    assert!(holds("transformer_blocks.0.a.f16.weights_quantized"));
    assert!(holds("transformer_blocks.0.c.f16.k_quantized"));
    let ranges = scales["components"]["transformer"].as_object_mut().unwrap();
    let strange = |key: &str| key.contains("attn2.to_q.weight/k");
    let key = ranges.keys().find(|key| strange(key)).unwrap().clone();
    ranges.remove(&key);
    let said = refused_by(tmp.path(), &scales, &quant);
    assert!(
        said.contains(&key) && said.contains("ltxc calibrate"),
        "{said}"
    );
    let said = refused_by(tmp.path(), &scales, &quant[2..]);
    assert!(said.contains("quantized_attention"), "{said}");
}

#[test]
fn a_recipe_says_that_it_needs_scales() {
    let said = ltxc(&[
        "explain",
        "presets/shapes.yaml",
        "--quant",
        "int8",
        "--component",
        "transformer",
    ]);
    assert_eq!(said.code, Some(2));
    assert!(said.stderr.contains("--scales"), "{}", said.stderr);
}

#[test]
fn a_bundle_on_integers_cannot_be_calibrated() {
    let tmp = TempDir::new().unwrap();
    let [prompts, bundle] = ["prompts.txt", "int8.bundle"].map(|name| tmp.path().join(name));
    fs::write(&prompts, "a circle\n").unwrap();
    let [prompts, bundle] = [&prompts, &bundle].map(|path| path.to_str().unwrap());
    let recipe = tmp.path().join("all.yaml");
    let text = "ltxc: 1\nrecipe: all\ncomponents: [transformer]\npasses:\n  - {pass: linear-to-dynamic-int8, because: \"all layers\"}\n";
    fs::write(&recipe, text).unwrap();
    let compile = [
        "compile",
        "presets/shapes.yaml",
        "--quant",
        recipe.to_str().unwrap(),
        "-o",
        bundle,
    ];
    ltxc(&compile).fine();
    let out = tmp.path().join("scales.json");
    let said = ltxc(&[
        "calibrate",
        bundle,
        "--prompts",
        prompts,
        "--set",
        "defaults.steps=1",
        "-o",
        out.to_str().unwrap(),
    ]);
    assert_eq!(said.code, Some(1), "{}", said.stdout);
    assert!(
        said.stderr.contains("no linear layers in floats"),
        "{}",
        said.stderr
    );
    assert!(!out.exists());
}
