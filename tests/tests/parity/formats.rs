//! Number formats: how far each recipe moves the transformer's velocity from the reference's.

use std::fs;
use std::path::{Path, PathBuf};

use ltxc::CompileOptions;
use ltxc_front::Role;
use ltxc_runtime::tensor::Tensor;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::components::velocity;
use crate::fixture::{CASES, Case, Errors, golden, golden_names, target};

/// Recipes, and the bound on the error relative to the velocity, in the Euclidean norm.
const BOUNDS: [(&str, f32); 3] = [("fp16", 3e-3), ("int8-dynamic", 2e-2), ("int4", 1.2e-1)];

/// Those that the target runs: tract computes in f32 only and refuses them.
fn bounds() -> &'static [(&'static str, f32)] {
    match target().as_str() {
        "tract" => &[],
        _ => &BOUNDS,
    }
}

#[test]
fn recipes_keep_the_velocity_within_their_bounds() {
    for &(recipe, bound) in bounds() {
        within(bound, recipe, &|case| case.quantized(recipe, "transformer"));
    }
}

/// A CPU has no kernels for it: the pairs are computed and products take what comes out, with the same numbers.
#[test]
fn attention_on_8_bits_keeps_the_velocity_within_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    if target() != "ort-cpu" {
        return;
    }
    within(3e-2, "fp8-attention", &|case| {
        case.changed("fp8-attention", "transformer", &|options| {
            options.quant = ["fp16", "fp8-attention"].map(str::to_owned).into();
            options.target = Some(widened(&folder));
            options.scales = Some(generous_ranges(&folder, options));
        })
    });
}

fn within(bound: f32, recipe: &str, quantized: &dyn Fn(&Case) -> Case) {
    let mut errors = Errors::default();
    let original = |case: &&Case| case.name.ends_with("(original)");
    for case in CASES.iter().filter(original) {
        let case = quantized(case);
        for name in golden_names(&case.folder, "dit_forward") {
            let golden = golden(&case.folder, &name);
            let found = velocity(&case, &golden);
            let error = relative(&found, golden.get("out.sample"));
            assert!(error > 0.0, "{recipe} changed nothing in {}", case.name);
            errors.note(&case.name, &format!("{name} {recipe}"), error, bound);
        }
    }
    errors.finish();
}

/// The target `ort-cpu`, which is said to have attention on 8 bits.
fn widened(folder: &TempDir) -> String {
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("../presets/targets/ort-cpu.yaml");
    let text = fs::read_to_string(known).unwrap();
    let has = "quantized_attention: [f8e4m3]\n  quantized_products:";
    let path = folder.path().join("widened.yaml");
    fs::write(&path, text.replace("quantized_products:", has)).unwrap();
    path.to_string_lossy().into_owned()
}

/// Ranges that no query, key or value of a fixture passes: floats keep their precision below.
fn generous_ranges(folder: &TempDir, options: &CompileOptions) -> PathBuf {
    let bytes = fs::read(&options.checkpoints[&Role::Model]).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Map<String, Value> = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let queries = header.keys().filter(|key| key.ends_with(".to_q.weight"));
    let ranges =
        queries.flat_map(|key| ["q", "k", "v"].map(|port| (format!("{key}/{port}"), json!(64.0))));
    let made_by = json!({"producer": "a test", "bundle": "none", "method": "max", "prompts": 1, "video": "1x1x1", "steps": 1});
    let ranges = json!({"transformer": ranges.collect::<Map<_, _>>()});
    let scales = json!({"ltxc_scales": 1, "made_by": made_by, "components": ranges});
    let path = folder.path().join("scales.json");
    fs::write(&path, scales.to_string()).unwrap();
    path
}

fn relative(found: &Tensor, wanted: &Tensor) -> f32 {
    let (found, wanted) = (found.to_f32().unwrap(), wanted.to_f32().unwrap());
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|x| x * x).sum::<f32>().sqrt();
    let mut differences = found.iter().zip(wanted.iter()).map(|(a, b)| a - b);
    norm(&mut differences) / norm(&mut wanted.iter().copied())
}
