//! What transforms make of a graph: every fixture `transforms/<transform>/<case>.ltxir` as a snapshot, and that the parts
//! of a graph compute together what it computed. Adding a case is adding a file.
#![allow(clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ltxc_ir::attrs::Per;
use ltxc_ir::{Array, Graph, NodeId, Op, Reuse, parse, print, verify};
use ltxc_passes::transforms::hand_over::{hand_over_narrow, links_of_parts};
use ltxc_passes::transforms::hoist::{held_bytes, hoist};
use ltxc_passes::transforms::reuse::{ReuseError, reuse_steps};
use ltxc_passes::transforms::split::{Part, split};
use ltxc_passes::{Capabilities, PassSpec};
use ltxc_tests::numbers::{SizeValues, compare, outputs, outputs_of, size_values};
use ltxc_tests::random_graph;
use proptest::prelude::*;

const TOLERANCE: f32 = 1e-5;

fn fixtures(transform: &str) -> Vec<(PathBuf, Graph)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("transforms")
        .join(transform);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "ltxir"))
        .collect();
    paths.sort();
    let graph = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let graph = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        (path, graph)
    };
    paths.into_iter().map(graph).collect()
}

/// The graph's outputs as its parts make them, each given what those before it made.
fn joined(graph: &Graph, parts: &[Part], sizes: &SizeValues, seed: u64) -> BTreeMap<String, Array> {
    let mut made = BTreeMap::new();
    for part in parts {
        let errors = verify(part.graph.clone()).err().unwrap_or_default();
        assert_eq!(errors, [], "{}", print(&part.graph));
        let more = outputs_of(&part.graph, &made, sizes, seed)
            .unwrap_or_else(|e| panic!("{}: {e}\n{}", part.name, print(&part.graph)));
        made.extend(more);
    }
    let names = graph.graph_outputs().iter().map(|(name, _)| name);
    names
        .map(|name| (name.clone(), made[name].clone()))
        .collect()
}

fn check(graph: &Graph, parts: &[Part], seed: u64) -> Result<(), String> {
    for sizes in size_values(graph) {
        let whole = outputs(graph, &sizes, seed)?;
        compare(&whole, &joined(graph, parts, &sizes, seed), TOLERANCE)?;
    }
    Ok(())
}

#[test]
fn transforms_make_parts_of_their_fixtures() {
    snapshots("hoist", |graph| hoist(graph).map_err(|e| e.to_string()));
    snapshots("reuse", |graph| {
        reuse_steps(graph).map_err(|e| e.to_string())
    });
}

/// Each part that [`hoist`] makes is narrowed by itself; then parts hand on as narrow as is read, with the same numbers.
#[test]
fn parts_hand_on_as_narrow_as_is_read() {
    for (path, graph) in fixtures("hand_over") {
        let outputs = graph.graph_outputs().iter().map(|(name, _)| name.clone());
        let outputs: BTreeSet<String> = outputs.collect();
        let with_graph = |part: &Part, graph| Part {
            graph,
            ..part.clone()
        };
        let parts = hoist(graph.clone()).unwrap_or_else(|e| panic!("{e}"));
        let parts: Vec<Part> = parts
            .iter()
            .map(|part| with_graph(part, in_f16(part.graph.clone())))
            .collect();
        let graphs: Vec<Graph> = parts.iter().map(|part| part.graph.clone()).collect();
        let links = links_of_parts(&graphs, &outputs);
        let handed = hand_over_narrow(&graphs, &links).unwrap_or_else(|e| panic!("{e}"));
        let handed = parts.iter().zip(handed);
        let handed: Vec<Part> = handed
            .map(|(part, graph)| with_graph(part, graph))
            .collect();
        for sizes in size_values(&graph) {
            let before = joined(&graph, &parts, &sizes, 1);
            compare(&before, &joined(&graph, &handed, &sizes, 1), 0.0)
                .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
        snapshot(&path, &handed);
    }
}

fn in_f16(graph: Graph) -> Graph {
    let passes = ["narrow-floats", "drop-round-trip-casts", "merge-duplicates"];
    let passes = passes.map(|pass| PassSpec {
        pass: pass.to_owned(),
        with: serde_json::Value::Null,
        because: String::new(),
    });
    let can: Capabilities = serde_json::from_value(serde_json::json!({
        "attention": "decomposed", "rms_normalization": false, "half_weights": true, "bf16": true,
        "floats": ["f32", "f16"],
    }))
    .unwrap_or_else(|e| panic!("{e}"));
    let (graph, _) = ltxc_passes::run(graph, &passes, &can).unwrap_or_else(|e| panic!("{e}"));
    graph.into_inner()
}

#[test]
fn a_cut_needs_three_values_in_a_row() {
    let (_, graph) = fixtures("reuse").remove(0);
    for (start, first, last) in [
        ("x1", "x0", "x2"),
        ("x0", "x2", "x1"),
        ("x0", "x0", "x2"),
        ("x0", "x1", "x1"),
        ("x0", "x1", "y"),
        ("x0", "k", "x2"),
        ("x0", "x1", "nothing"),
    ] {
        let [start, first, last] = [start, first, last].map(str::to_owned);
        let mut graph = graph.clone();
        graph.reuse = Some(Reuse { start, first, last });
        let refused = reuse_steps(graph).map(|_| ());
        assert_eq!(refused, Err(ReuseError::Points("dit".to_owned())));
    }
    let mut nowhere = graph;
    nowhere.reuse = None;
    let refused = reuse_steps(nowhere).map(|_| ());
    assert_eq!(refused, Err(ReuseError::Nowhere("dit".to_owned())));
}

fn snapshots(transform: &str, apply: impl Fn(Graph) -> Result<Vec<Part>, String>) {
    for (path, graph) in fixtures(transform) {
        let parts = apply(graph.clone()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        check(&graph, &parts, 1).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        snapshot(&path, &parts);
    }
}

fn snapshot(path: &Path, parts: &[Part]) {
    let kept = |part: &Part| match part.per {
        Per::Video => format!("; keeps {} bytes\n", held_bytes(&part.graph)),
        Per::Step => String::new(),
    };
    let text: Vec<String> = parts
        .iter()
        .map(|part| format!("; part {}\n{}{}", part.name, kept(part), print(&part.graph)))
        .collect();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(path.parent().unwrap_or(path));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    settings.bind(|| insta::assert_snapshot!(name.into_owned(), text.join("\n")));
}

fn graphs() -> impl Strategy<Value = Graph> {
    prop::collection::vec(any::<random_graph::Choice>(), 1..16)
        .prop_map(|choices| random_graph::build(&choices))
}

/// The same graph with inputs that stay the same for a video.
fn with_steady(graph: &Graph, steady: &[&str]) -> Graph {
    let line = |line: &str| match steady
        .iter()
        .any(|name| line.starts_with(&format!("%{name} : ")))
    {
        true => format!("{line} {{per: video}}\n"),
        false => format!("{line}\n"),
    };
    let text: String = print(graph).lines().map(line).collect();
    parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn hoisting_keeps_the_numbers(graph in graphs(), seed in any::<u64>()) {
        for steady in [&["text", "mask", "cos", "sin"][..], &["x", "text"], &["x", "text", "mask", "bias", "cos", "sin"]] {
            let graph = with_steady(&graph, steady);
            let parts = hoist(graph.clone()).map_err(|e| TestCaseError::fail(e.to_string()))?;
            check(&graph, &parts, seed).map_err(TestCaseError::fail)?;
            let asked = parts.last().map(|part| part.graph.graph_inputs().len());
            prop_assert!(asked.is_some());
        }
    }

    #[test]
    fn any_cut_keeps_the_numbers(graph in graphs(), cuts in prop::collection::vec(0usize..3, 64), seed in any::<u64>()) {
        let mut place: BTreeMap<NodeId, usize> = BTreeMap::new();
        for (id, wish) in graph.order().into_iter().zip(cuts.iter().cycle()) {
            let inputs = graph.inputs_of(id).into_iter().flatten();
            let latest = inputs.filter_map(|input| place.get(&input)).max().copied();
            let at = match graph.node(id).op {
                Op::Input(_) => 0,
                _ => (*wish).max(latest.unwrap_or(0)),
            };
            place.insert(id, at);
        }
        let names = [("a", Per::Step), ("b", Per::Step), ("c", Per::Step)];
        let parts = split(&graph, &names, &place).map_err(|e| TestCaseError::fail(e.to_string()))?;
        check(&graph, &parts, seed).map_err(TestCaseError::fail)?;
    }
}
