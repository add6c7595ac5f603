//! What holds for every graph and every rule.

use ltxc_ir::{Fact, Graph, Verified, parse, print, verify};
use ltxc_passes::{AttentionForm, Capabilities, Fidelity, rules, run};
use ltxc_tests::{fixture, numbers, random_graph};
use proptest::prelude::*;

/// Rounding of a dozen operations in f32.
const TOLERANCE: f32 = 1e-4;

/// Every rule once, in the order a target would use, and the clean-ups again.
const PIPELINE: [&str; 12] = [
    "fold-constants",
    "drop-identities",
    "merge-duplicates",
    "linear-to-matmul",
    "sdpa-to-ort-multi-head-attention",
    "sdpa-to-onnx-attention",
    "decompose-sdpa",
    "decompose-rms-norm",
    "decompose-rope",
    "decompose-silu",
    "fold-constants",
    "merge-duplicates",
];

fn graphs() -> impl Strategy<Value = Graph> {
    prop::collection::vec(any::<random_graph::Choice>(), 1..16)
        .prop_map(|choices| random_graph::build(&choices))
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    let forms = [
        AttentionForm::OrtMultiHeadAttention,
        AttentionForm::OnnxAttention,
        AttentionForm::Decomposed,
    ];
    (prop::sample::select(forms.to_vec()), any::<bool>()).prop_map(
        |(attention, rms_normalization)| Capabilities {
            attention,
            rms_normalization,
            ..fixture::capable()
        },
    )
}

/// Names and types of inputs and outputs.
fn interface(graph: &Graph) -> Vec<(String, Fact)> {
    let inputs = graph.graph_inputs().iter().map(|id| {
        let node = graph.node(*id);
        (node.name.clone(), node.fact.clone())
    });
    let outputs = graph.graph_outputs().iter();
    let outputs = outputs.map(|(name, id)| (name.clone(), graph.node(*id).fact.clone()));
    inputs.chain(outputs).collect()
}

/// The graph after some passes; the driver verifies it.
fn after(graph: &Graph, ids: &[&str], target: &Capabilities) -> Result<Verified, TestCaseError> {
    let result = run(graph.clone(), &fixture::passes(ids), target);
    result
        .map(|(graph, _)| graph)
        .map_err(|e| TestCaseError::fail(e.to_string()))
}

fn keeps_numbers(before: &Graph, after: &Graph, seed: u64) -> Result<(), TestCaseError> {
    for sizes in numbers::size_values(before) {
        let outputs = |graph| numbers::outputs(graph, &sizes, seed);
        let same =
            outputs(before).and_then(|old| numbers::compare(&old, &outputs(after)?, TOLERANCE));
        same.map_err(TestCaseError::fail)?;
    }
    Ok(())
}

fn each_rule(
    graph: &Graph,
    target: &Capabilities,
    holds: impl Fn(&'static str, Verified) -> Result<(), TestCaseError>,
) -> Result<(), TestCaseError> {
    for rule in rules() {
        let id = rule.meta().id;
        holds(id, after(graph, &[id], target)?)?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn random_graphs_are_sound(graph in graphs()) {
        prop_assert!(verify(graph).is_ok());
    }

    #[test]
    fn printing_and_parsing_are_inverse(graph in graphs(), target in capabilities()) {
        for graph in [graph.clone(), after(&graph, &PIPELINE, &target)?.into_inner()] {
            let text = print(&graph);
            let again = parse(&text).map_err(|e| TestCaseError::fail(e.to_string()))?;
            prop_assert_eq!(print(&again), text);
        }
    }

    #[test]
    fn rules_keep_the_interface(graph in graphs(), target in capabilities()) {
        each_rule(&graph, &target, |id, after| {
            prop_assert_eq!(interface(&after), interface(&graph), "{}", id);
            Ok(())
        })?;
    }

    #[test]
    fn rules_change_nothing_the_second_time(graph in graphs(), target in capabilities()) {
        each_rule(&graph, &target, |id, once| {
            let twice = after(&once, &[id], &target)?;
            prop_assert_eq!(print(&twice), print(&once), "{}", id);
            Ok(())
        })?;
    }

    #[test]
    fn exact_rules_keep_the_numbers(graph in graphs(), target in capabilities(), seed in any::<u64>()) {
        let lossy: Vec<_> = rules().iter().map(|rule| rule.meta()).filter(|meta| meta.fidelity == Fidelity::Lossy).map(|meta| meta.id).collect();
        each_rule(&graph, &target, |id, after| match lossy.contains(&id) {
            true => Ok(()),
            false => keeps_numbers(&graph, &after, seed),
        })?;
    }

    #[test]
    fn pipelines_keep_interface_and_numbers(graph in graphs(), target in capabilities(), seed in any::<u64>()) {
        let lowered = after(&graph, &PIPELINE, &target)?;
        prop_assert_eq!(interface(&lowered), interface(&graph));
        keeps_numbers(&graph, &lowered, seed)?;
    }

    #[test]
    fn pipelines_leave_nothing_to_lower(graph in graphs(), target in capabilities()) {
        let lowered = after(&graph, &PIPELINE, &target)?;
        for id in lowered.order() {
            let op = lowered.node(id).op.name();
            prop_assert!(!["sdpa", "rope", "silu", "linear"].contains(&op), "{} is left", op);
        }
    }
}
