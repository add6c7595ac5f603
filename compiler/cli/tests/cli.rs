//! Every command does what its help says, on the tiny model that comes with the project.
#![cfg(unix)]
#![allow(clippy::panic, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::safetensors::{MATRIX, Parts, project_of_matrices};
use common::{all, command, ltxc, root, run, shapes, snapshot};
use serde_json::{Value, json};
use tempfile::TempDir;

const PRESET: &str = "presets/shapes.yaml";
const COMPONENTS: [&str; 5] = [
    "latent_statistics",
    "text_encoder",
    "transformer",
    "vae_decoder",
    "vae_encoder",
];
const SNAPSHOTS: &str = "compiler/cli/tests/snapshots";

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|e| {
            (
                e.file_name().to_string_lossy().into_owned(),
                fs::read(e.path()).unwrap(),
            )
        })
        .collect()
}

/// Makes a video of one step; returns the picture of the last arguments given.
fn video(out: &Path, more: &[&str]) -> String {
    let (bundle, out) = (shapes().to_str().unwrap(), out.to_str().unwrap());
    let start = [
        "run",
        bundle,
        "--prompt",
        "a red circle",
        "--steps",
        "1",
        "-o",
        out,
    ];
    ltxc(&[&start, more].concat()).fine()
}

#[test]
fn expanded_graphs_are_as_they_were() {
    all(COMPONENTS, |component| {
        let text = ltxc(&["dump", PRESET, "--component", component]).fine();
        snapshot(SNAPSHOTS, &format!("dump-{component}"), &text, &[]);
    });
}

#[test]
fn lowered_and_unfolded_graphs_are_shown() {
    let folded = ltxc(&["dump", PRESET, "--component", "transformer"]).fine();
    let expanded = ltxc(&["dump", PRESET, "--component", "transformer", "--expand"]).fine();
    let lowered = ltxc(&["dump", PRESET, "--component", "transformer", "--lowered"]).fine();
    assert!(expanded.lines().count() > 2 * folded.lines().count());
    assert!(folded.contains(" = sdpa("));
    assert!(!lowered.contains(" = sdpa("));
    assert!(lowered.contains(" = ort_multi_head_attention("));
}

#[test]
fn passes_are_explained() {
    for target in ["ort-cpu", "tract"] {
        let text = ltxc(&["explain", PRESET, "--target", target]).fine();
        snapshot(SNAPSHOTS, &format!("explain-{target}"), &text, &[]);
    }
    let diff = ["--component", "vae_decoder", "--diff", "decompose-silu"];
    let text = ltxc(&[&["explain", PRESET][..], &diff].concat()).fine();
    assert!(
        text.lines()
            .any(|line| line.starts_with("- ") || line.starts_with("-  ")),
        "{text}"
    );
}

#[test]
fn recipes_run_at_the_targets_slot_for_their_components() {
    let tmp = TempDir::new().unwrap();
    let recipe = tmp.path().join("tidy.yaml");
    let text = "ltxc: 1\nrecipe: tidy\ncomponents: [transformer]\npasses:\n  \
                - {pass: merge-duplicates, because: \"the recipe says so\"}\n";
    fs::write(&recipe, text).unwrap();
    let recipe = recipe.to_str().unwrap();
    let explained = |component| {
        let asked = [
            "explain",
            PRESET,
            "--quant",
            recipe,
            "--component",
            component,
        ];
        ltxc(&asked).fine()
    };
    let transformer = explained("transformer");
    let place = |text: &str| {
        transformer
            .find(text)
            .unwrap_or_else(|| panic!("{transformer}"))
    };
    assert!(place("fold-constants") < place("the recipe says so"));
    assert!(place("the recipe says so") < place("linear-to-matmul"));
    assert!(!explained("vae_decoder").contains("the recipe says so"));
    let unknown = ltxc(&["explain", PRESET, "--quant", "int5"]);
    let said = "there is no recipe for number formats `int5`";
    assert!(unknown.stderr.contains(said), "{}", unknown.stderr);
}

#[test]
fn everything_that_comes_with_the_program_is_fine_and_formatted() {
    let folders = ["graphs/ltxv", "presets", "presets/targets"];
    let mut checked = 0;
    for folder in folders {
        for path in common::cases(folder, "yaml") {
            let path = path.to_str().unwrap();
            ltxc(&["check", path]).fine();
            ltxc(&["fmt", path, "--check"]).fine();
            checked += 1;
        }
    }
    assert!(checked > 10);
}

#[test]
fn formatting_keeps_comments_and_meaning_and_is_done_once() {
    let tmp = TempDir::new().unwrap();
    let file = tmp.path().join("a.yaml");
    let text = "# first\nltxc:   1\ngraph: a   # name\ninputs: {x: \"f32[3]\"}\n\n\n\noutputs:\n      y: y\nbody:\n  \
                # inside\n  y: { silu: { x: x } } # last\n";
    fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let check = ltxc(&["fmt", path, "--check"]);
    assert_eq!(check.code, Some(1));
    assert!(
        check.stderr.contains("is not formatted"),
        "{}",
        check.stderr
    );
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        text,
        "--check changes nothing"
    );
    ltxc(&["fmt", path]).fine();
    let once = fs::read_to_string(&file).unwrap();
    snapshot(SNAPSHOTS, "fmt", &once, &[]);
    ltxc(&["fmt", path]).fine();
    assert_eq!(fs::read_to_string(&file).unwrap(), once);
    ltxc(&["fmt", path, "--check"]).fine();
    ltxc(&["check", path]).fine();
    assert_eq!(fs::read_dir(tmp.path()).unwrap().count(), 1);
}

#[test]
fn two_compiles_give_the_same_bytes() {
    let tmp = TempDir::new().unwrap();
    let second = tmp.path().join("second.bundle");
    let out = second.to_str().unwrap();
    assert_eq!(ltxc(&["compile", PRESET, "-o", out]).fine().trim(), out);
    assert_eq!(files(shapes()), files(&second));
}

#[test]
fn a_merged_lora_is_named_and_changes_the_same_bytes_each_time() {
    let tmp = TempDir::new().unwrap();
    let checkpoint = "tests/fixtures/0.9.8-distilled-like/ltxv-2b-0.9.8-distilled.safetensors";
    let compile = |name: &str, more: &[&str]| {
        let out = tmp.path().join(name);
        let base = ["compile", "ltxv", "--checkpoint", checkpoint];
        let rest = ["--only", "transformer", "-o", out.to_str().unwrap()];
        ltxc(&[&base, more, &rest].concat()).fine();
        files(&out)
    };
    let lora = ["--lora", "tests/fixtures/lora/peft.safetensors:-0.5"];
    let (none, first, second) = (compile("a", &[]), compile("b", &lora), compile("c", &lora));
    assert_eq!(first, second);
    let data = "transformer.onnx.data";
    assert_ne!(none[data], first[data]);
    assert_eq!(none[data].len(), first[data].len());
    let manifest: Value = serde_json::from_slice(&first["manifest.json"]).unwrap();
    assert_eq!(manifest["sources"][1]["role"], "lora");
    assert_eq!(manifest["sources"][1]["name"], "peft.safetensors");
    let from = manifest["files"][data]["from"].as_array().unwrap();
    assert!(from.contains(&json!("peft.safetensors")), "{from:?}");
    let note = manifest["notes"][0].as_str().unwrap();
    assert!(
        note.contains("changes 33 weights") && note.contains("weight -0.5"),
        "{note}"
    );
}

#[test]
fn a_bundle_says_nothing_of_the_machine_it_was_made_on() {
    let manifest = fs::read_to_string(shapes().join("manifest.json")).unwrap();
    let home = root();
    assert!(!manifest.contains(home.to_str().unwrap()));
    assert!(!manifest.contains(env!("CARGO_TARGET_TMPDIR")));
}

#[test]
fn components_are_compiled_alone() {
    let tmp = TempDir::new().unwrap();
    let out = tmp.path().join("a.bundle");
    let arguments = [
        "compile",
        PRESET,
        "--only",
        "latent_statistics",
        "-o",
        out.to_str().unwrap(),
    ];
    let said = ltxc(&[&arguments[..], &["--json"]].concat()).fine();
    let summary: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(summary["components"].as_object().unwrap().len(), 1);
}

#[test]
fn settings_of_the_preset_are_changed_by_set() {
    let tmp = TempDir::new().unwrap();
    let out = tmp.path().join("a.bundle");
    let sets = [
        "--set",
        "defaults.steps=3",
        "--set",
        "defaults.negative_prompt=a blue square",
    ];
    let start = [
        "compile",
        PRESET,
        "--only",
        "latent_statistics",
        "-o",
        out.to_str().unwrap(),
    ];
    ltxc(&[&start[..], &sets].concat()).fine();
    let manifest: Value =
        serde_json::from_str(&fs::read_to_string(out.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["defaults"]["steps"], 3);
    assert_eq!(manifest["defaults"]["negative_prompt"], "a blue square");
}

#[test]
fn bundles_are_described() {
    let bundle = shapes().to_str().unwrap();
    let text = ltxc(&["inspect", bundle, "--verify"]).fine();
    snapshot(SNAPSHOTS, "inspect", &text, &[(shapes(), "$BUNDLE")]);
    let json: Value = serde_json::from_str(&ltxc(&["inspect", bundle, "--json"]).fine()).unwrap();
    assert_eq!(
        json["components"].as_object().unwrap().len(),
        COMPONENTS.len()
    );
}

#[test]
fn videos_and_pictures_are_written() {
    let tmp = TempDir::new().unwrap();
    let at = |name: &str| tmp.path().join(name);
    let json = video(&at("a.mp4"), &["--json", "--seed", "7", "--frames", "9"]);
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["frames"], &report["seed"]), (&9.into(), &7.into()));
    let mp4 = fs::read(at("a.mp4")).unwrap();
    assert_eq!(&mp4[4..8], b"ftyp");
    video(&at("a.gif"), &[]);
    assert!(fs::read(at("a.gif")).unwrap().starts_with(b"GIF89a"));
    video(&at("frames/%03d.png"), &["--frames", "9"]);
    let pictures = files(&at("frames"));
    assert_eq!(pictures.len(), 9);
    assert!(pictures.values().all(|bytes| bytes.starts_with(b"\x89PNG")));
    assert!(pictures.contains_key("000.png") && pictures.contains_key("008.png"));
    probe(&at("a.mp4"), "h264", 9);
    probe(&at("a.gif"), "gif", 17);
}

/// Another program's opinion, where there is one.
fn probe(file: &Path, codec: &str, frames: usize) {
    let wanted = "stream=codec_name,width,height,nb_read_frames";
    let probe = Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-count_frames",
            "-show_entries",
            wanted,
            "-of",
            "csv=p=0",
        ])
        .arg(file)
        .output();
    if let Ok(probe) = probe {
        let said = String::from_utf8_lossy(&probe.stdout);
        assert_eq!(said.trim(), format!("{codec},64,64,{frames}"));
        assert!(
            probe.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&probe.stderr)
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_video() {
    let tmp = TempDir::new().unwrap();
    let make = |name: &str, seed: &str| {
        let path = tmp.path().join(name);
        video(&path, &["--seed", seed]);
        fs::read(path).unwrap()
    };
    let first = make("a.gif", "1");
    assert_eq!(first, make("b.gif", "1"));
    assert_ne!(first, make("c.gif", "2"));
}

#[test]
fn a_component_runs_on_given_tensors() {
    let tmp = TempDir::new().unwrap();
    let (latents, out) = (
        tmp.path().join("l.safetensors"),
        tmp.path().join("o.safetensors"),
    );
    video(
        &tmp.path().join("a.gif"),
        &["--save-latents", latents.to_str().unwrap()],
    );
    let mut saved = Parts::read(&latents);
    let shape = saved.entry("latents")["shape"].clone();
    let bundle = shapes().to_str().unwrap();
    let (input, output) = (latents.to_str().unwrap(), out.to_str().unwrap());
    let arguments = ["exec", bundle, "latent_statistics", "--input", input];
    let listed = ltxc(&arguments).fine();
    assert!(listed.contains("normalized: F32["), "{listed}");
    let times = ltxc(&[&arguments[..], &["-o", output, "--repeat", "2", "--json"]].concat()).fine();
    assert_eq!(serde_json::from_str::<Vec<f64>>(&times).unwrap().len(), 2);
    let made = Parts::read(&out);
    let of_that_shape =
        |(name, entry): (&String, &Value)| name != "__metadata__" && entry["shape"] == shape;
    assert!(made.header.iter().any(of_that_shape), "{:?}", made.header);
}

#[test]
fn completions_exist_for_every_shell() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = ltxc(&["completions", shell]).fine();
        assert!(script.contains("save-latents"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_the_program_quietly() {
    let commands: [&[&str]; 4] = [
        &["dump", PRESET, "--expand"],
        &["explain", PRESET],
        &["completions", "bash"],
        &["inspect", shapes().to_str().unwrap(), "--json"],
    ];
    for arguments in commands {
        let mut child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        reader.read_line(&mut String::new()).unwrap();
        drop(reader);
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&ended.stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_closed_standard_error_is_no_crash() {
    let mut child = command(&[
        "check",
        "tests/bad/yaml/many_mistakes.yaml",
        "--config",
        "tests/bad/config.json",
    ])
    .stdout(Stdio::null())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// Weights stream through: a checkpoint ten times as large needs no more memory.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_checkpoint() {
    let peak = |count: usize| {
        let tmp = TempDir::new().unwrap();
        let preset = project_of_matrices(tmp.path(), count);
        let out = tmp.path().join("one.bundle");
        let arguments = [
            "compile",
            &preset,
            "--only",
            "denoiser",
            "-o",
            out.to_str().unwrap(),
        ];
        let ran = run(command(&arguments), Duration::from_secs(300));
        let peak = ran.peak;
        ran.fine();
        let data = fs::metadata(out.join("denoiser.onnx.data")).unwrap().len();
        assert!(data >= (count * MATRIX) as u64);
        peak
    };
    let (small, large) = (peak(12), peak(120));
    assert!(
        large < small + (16 << 10),
        "{small} KiB for 50 MB, {large} KiB for 500 MB"
    );
}
