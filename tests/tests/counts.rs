//! What every pass of every target does to the graphs of the released models, counted. No weights are needed: the
//! configs of their checkpoints say all sizes.
#![allow(clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use ltxc::{CompileOptions, Compiled, Project};
use ltxc_front::{expand, library};
use ltxc_passes::{Fidelity, PassReport};
use serde_json::{Value, json};

const COMPONENTS: [&str; 3] = ["transformer", "vae_encoder", "vae_decoder"];

/// Targets with recipes that they take.
const RECIPES: [(&str, &[&str]); 6] = [
    ("ort-cpu", &["int8-dynamic"]),
    ("ort-cpu", &["int8"]),
    ("ort-cpu", &["int4"]),
    ("ort-tensorrt", &["fp16", "fp8"]),
    ("ort-tensorrt", &["bf16", "int8"]),
    ("ort-tensorrt", &["fp16", "int4"]),
];

#[test]
fn passes_do_the_same_to_the_released_2b_model() {
    compare("2b");
}

#[test]
fn passes_do_the_same_to_the_released_13b_model() {
    compare("13b");
}

/// One snapshot for each target, so that a change to one target changes one file.
fn compare(model: &str) {
    let config = config(model);
    for target in library::names(library::Shelf::Targets) {
        let counts = counts(&config, &target);
        insta::assert_snapshot!(format!("{model}-{target}"), counts);
    }
}

fn config(model: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/headers");
    let text = std::fs::read_to_string(folder.join(format!("{model}.json")));
    let header: Value = serde_json::from_str(&text.expect("the header is there")).expect("JSON");
    header["config"].clone()
}

/// `pass: changed, declined, nodes before -> after`, a line for each pass of each component.
fn counts(config: &Value, target: &str) -> String {
    let options = options(target, &COMPONENTS);
    let mut text = String::new();
    for (component, parts) in lowered(config, &options) {
        for part in parts {
            writeln!(text, "{component}, {}", part.name).expect("text takes all");
            part.reports
                .iter()
                .for_each(|report| count(&mut text, report));
        }
    }
    text
}

fn options(target: &str, components: &[&str]) -> CompileOptions {
    CompileOptions {
        preset: "ltxv".to_owned(),
        target: Some(target.to_owned()),
        only: components.iter().map(|name| (*name).to_owned()).collect(),
        ..CompileOptions::default()
    }
}

/// Every component's parts after the passes, in the order in which the options name the components.
fn lowered(config: &Value, options: &CompileOptions) -> Vec<(String, Vec<Compiled>)> {
    let at = format!("{:?} {:?}", options.target, options.quant);
    let project = Project::open(options).unwrap_or_else(|e| panic!("{at}: {e:?}"));
    let one = |component: &String| {
        let graph = expand(&project.graphs[component], config, &project.options)
            .unwrap_or_else(|e| panic!("{at}, {component}: {e:?}"));
        let parts = project.lower(component, graph, None);
        let parts = parts.unwrap_or_else(|e| panic!("{at}, {component}: {e:?}"));
        (component.clone(), parts)
    };
    options.only.iter().map(one).collect()
}

/// What recipes for number formats change in the transformer: their lossy passes, by target.
#[test]
fn recipes_do_the_same_to_the_released_models() {
    for model in ["2b", "13b"] {
        let (config, mut text) = (config(model), String::new());
        let folder = tempfile::tempdir().expect("a folder");
        let scales = folder.path().join("scales.json");
        fs::write(&scales, ones(&config).to_string()).expect("scales are written");
        for (target, recipes) in RECIPES {
            let options = CompileOptions {
                quant: recipes.iter().map(|name| (*name).to_owned()).collect(),
                scales: Some(scales.clone()),
                ..options(target, &["transformer"])
            };
            writeln!(text, "{target}, {}", recipes.join(", ")).expect("text takes all");
            let parts = lowered(&config, &options)
                .into_iter()
                .flat_map(|(_, parts)| parts);
            let reports = parts.flat_map(|part| part.reports);
            reports
                .filter(|report| report.fidelity == Fidelity::Lossy)
                .for_each(|report| count(&mut text, &report));
        }
        insta::assert_snapshot!(format!("{model}-recipes"), text);
    }
}

/// Scales of 1 for every weight of the transformer.
fn ones(config: &Value) -> Value {
    let options = options("ort-cpu", &["transformer"]);
    let project = Project::open(&options).expect("the preset is there");
    let graph = expand(&project.graphs["transformer"], config, &project.options);
    let keys = ltxc_export::weight_keys(&graph.expect("the transformer expands"));
    let layers: BTreeMap<String, f32> = keys.into_iter().map(|key| (key, 1.0)).collect();
    json!({
        "ltxc_scales": 1,
        "made_by": {"producer": "a test", "bundle": "none", "method": "max", "prompts": 0, "video": "0x0x0", "steps": 0},
        "components": {"transformer": layers},
    })
}

fn count(text: &mut String, report: &PassReport) {
    let (pass, matched, declined) = (&report.pass, report.matched, report.declines());
    let (before, after) = (report.nodes_before, report.nodes_after);
    writeln!(
        text,
        "  {pass}: changed {matched}, declined {declined}, {before} -> {after} nodes"
    )
    .expect("text takes all");
}
