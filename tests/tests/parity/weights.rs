//! Weights that are more than stored numbers: LoRAs merged, eight bits widened, rotations undone.

mod eight_bits;
mod parts;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ltxc::{CompileOptions, Project, write_bundle};
use ltxc_bundle::Bundle;
use ltxc_export::checkpoint::Fp8;
use ltxc_front::Role;
use ltxc_runtime::run::{Runner, RunnerOptions};
use ltxc_runtime::tensor::{Tensor, file};
use tempfile::TempDir;

use self::parts::{Parts, value};
use crate::COMPONENT;
use crate::fixture::{Errors, Quiet, difference, golden, timesteps};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(path)
}

fn fp8(name: &str) -> PathBuf {
    fixture("0.9.8-fp8-like").join(format!("ltxv-2b-0.9.8-distilled-{name}.safetensors"))
}

/// The target `ort-cpu` with other ways to store weights.
fn target(folder: &TempDir, half_weights: bool, fp8_weights: bool) -> String {
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("../presets/targets/ort-cpu.yaml");
    let text = fs::read_to_string(known).unwrap();
    let changed = text
        .replace(
            "half_weights: true",
            &format!("half_weights: {half_weights}"),
        )
        .replace("fp8_weights: false", &format!("fp8_weights: {fp8_weights}"));
    let path = folder
        .path()
        .join(format!("{half_weights}-{fp8_weights}.yaml"));
    fs::write(&path, changed).unwrap();
    path.to_string_lossy().into_owned()
}

struct Compiled {
    bundle: Bundle,
    runner: Runner,
    _folder: TempDir,
}

/// Compiles one component with `ort-cpu` that stores weights as said: in 16 bits, in 8 bits.
fn compile(options: CompileOptions, only: &str, (half, eight): (bool, bool)) -> Compiled {
    let folder = tempfile::tempdir().unwrap();
    let options = CompileOptions {
        preset: "ltxv".to_owned(),
        target: Some(target(&folder, half, eight)),
        only: vec![only.to_owned()],
        ..options
    };
    let out = folder.path().join("a.bundle");
    let project = Project::open(&options).unwrap();
    write_bundle(&project, &out, &mut Quiet).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let runner = Runner::open(
        Bundle::open(&out).unwrap(),
        &RunnerOptions::default(),
        &|_| (),
    );
    Compiled {
        bundle: Bundle::open(&out).unwrap(),
        runner: runner.unwrap(),
        _folder: folder,
    }
}

fn transformer(checkpoint: PathBuf, how: Fp8, stored: (bool, bool)) -> Compiled {
    let options = CompileOptions {
        checkpoints: [(Role::Model, checkpoint)].into(),
        fp8: Some(how),
        ..CompileOptions::default()
    };
    compile(options, "transformer", stored)
}

fn velocity(compiled: &Compiled, inputs: &BTreeMap<String, Tensor>) -> Tensor {
    let ports = [
        ("latents", "tokens"),
        ("coords", "indices_grid"),
        ("text", "text"),
        ("text_mask", "text_mask"),
    ];
    let input = |(port, name): &(&str, &str)| {
        let tensor = inputs[&format!("input.{name}")].clone();
        ((*port).to_owned(), tensor)
    };
    let told = timesteps(&inputs["input.timestep"]);
    let mut inputs: BTreeMap<String, Tensor> = ports.iter().map(input).collect();
    inputs.extend(told.map(|(name, tensor)| (name.to_owned(), tensor)));
    let component = &compiled.runner.manifest().components["transformer"];
    let keep = component.inputs.iter().find(|port| port.name == "keep");
    let blocks: usize = keep.unwrap().shape[0].parse().unwrap();
    let rows = inputs["latents"].shape()[0];
    let keep = Tensor::new([blocks, rows], vec![1f32; blocks * rows]).unwrap();
    inputs.insert("keep".to_owned(), keep);
    let mut outputs = compiled.runner.exec("transformer", inputs).unwrap();
    outputs.remove("velocity").unwrap()
}

#[test]
fn loras_merge_as_diffusers_and_peft_merge_them() {
    let golden = file::read(&fixture("lora/golden.safetensors")).unwrap();
    let inputs = golden_inputs();
    let lora = |name: &str, weight| (fixture(&format!("lora/{name}.safetensors")), weight);
    let (peft, kohya) = (lora("peft", 0.75), lora("kohya", -0.5));
    let mut errors = Errors::default();
    for (name, loras) in [
        ("none", vec![]),
        ("peft", vec![peft.clone()]),
        ("both", vec![peft, kohya]),
    ] {
        for (layout, path) in layouts() {
            for (half, end) in [(false, ""), (true, ".bf16")] {
                let rounded = half && layout == "original" && name != "none";
                // The folder's weights are the same numbers; those that are fp32 there stay fp32.
                if half && !rounded {
                    continue;
                }
                let options = CompileOptions {
                    checkpoints: [(Role::Model, path.clone())].into(),
                    loras: loras.clone(),
                    ..CompileOptions::default()
                };
                let compiled = compile(options, "transformer", (half, false));
                let expected = &golden[&format!("out.{name}{end}")];
                let error = difference(&velocity(&compiled, &inputs), expected);
                errors.note(&format!("LoRA {name} ({layout})"), end, error, COMPONENT);
            }
        }
    }
    errors.finish();
}

fn golden_inputs() -> BTreeMap<String, Tensor> {
    golden(&fixture("0.9.8-distilled-like"), "dit_forward_scalar_t").tensors
}

fn layouts() -> [(&'static str, PathBuf); 2] {
    let folder = fixture("0.9.8-distilled-like");
    [
        (
            "original",
            folder.join("ltxv-2b-0.9.8-distilled.safetensors"),
        ),
        ("diffusers", folder.join("diffusers")),
    ]
}

#[test]
fn a_lora_on_eight_bits_is_one_on_what_they_mean() {
    let inputs = golden_inputs();
    let loras = vec![(fixture("lora/peft.safetensors"), 0.75)];
    let of = |checkpoint: PathBuf, half| {
        let options = CompileOptions {
            checkpoints: [(Role::Model, checkpoint)].into(),
            loras: loras.clone(),
            fp8: Some(Fp8::Plain),
            ..CompileOptions::default()
        };
        velocity(&compile(options, "transformer", (half, half)), &inputs)
    };
    let folder = tempfile::tempdir().unwrap();
    let widened = folder.path().join("bf16.safetensors");
    let mut parts = Parts::read(&fp8("fp8"));
    parts.change(|_, tensor| {
        if tensor.dtype == "F8_E4M3" {
            tensor.dtype = "BF16".to_owned();
            let wide = |b: &u8| half::bf16::from_f32(value(*b)).to_le_bytes();
            tensor.data = tensor.data.iter().flat_map(wide).collect();
        }
    });
    parts.write(&widened);
    for half in [true, false] {
        let (eight, sixteen) = (of(fp8("fp8"), half), of(widened.clone(), half));
        assert_eq!(difference(&eight, &sixteen), 0.0);
    }
}
