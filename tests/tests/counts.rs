//! What every pass of every target does to the graphs of the released models, counted. No weights are needed: the
//! configs of their checkpoints say all sizes.
#![allow(clippy::panic, clippy::expect_used)]

use std::fmt::Write;
use std::path::Path;

use ltxc::{CompileOptions, Project};
use ltxc_front::{expand, library};
use ltxc_passes::PassReport;
use serde_json::Value;

const COMPONENTS: [&str; 3] = ["transformer", "vae_encoder", "vae_decoder"];

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
    let options = CompileOptions {
        preset: "ltxv".to_owned(),
        target: Some(target.to_owned()),
        only: COMPONENTS.map(str::to_owned).to_vec(),
        ..CompileOptions::default()
    };
    let project = Project::open(&options).unwrap_or_else(|e| panic!("{target}: {e:?}"));
    let mut text = String::new();
    for component in COMPONENTS {
        let graph = expand(&project.graphs[component], config, &project.options)
            .unwrap_or_else(|e| panic!("{target}, {component}: {e:?}"));
        let parts = project
            .lower(component, graph, None)
            .unwrap_or_else(|e| panic!("{target}, {component}: {e:?}"));
        for part in parts {
            writeln!(text, "{component}, {}", part.name).expect("text takes all");
            part.reports
                .iter()
                .for_each(|report| count(&mut text, report));
        }
    }
    text
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
