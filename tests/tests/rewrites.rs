//! Every fixture through its rule: the difference is a snapshot, the numbers stay. Adding a case is adding a file.
#![allow(clippy::panic)]

use ltxc_ir::{Dtype, Graph};
use ltxc_passes::explain;
use ltxc_tests::{fixture, numbers};

/// How far exact rules may move the numbers: rounding alone, of the narrowest floats in the graph.
fn tolerance(graph: &Graph) -> f32 {
    let has = |dtype| {
        let mut nodes = graph.order().into_iter();
        nodes.any(|id| graph.node(id).fact.dtype == dtype)
    };
    match (has(Dtype::Bf16), has(Dtype::F16)) {
        (true, _) => 16e-3,
        (false, true) => 2e-3,
        (false, false) => 1e-5,
    }
}

#[test]
fn rules_rewrite_their_fixtures() {
    for fixture in fixture::all() {
        let passes = fixture.passes();
        let (_, reports) = explain(fixture.graph, &passes, &fixture.capabilities)
            .unwrap_or_else(|e| panic!("{}/{}: {e}", fixture.rule, fixture.case));
        let should_fire = !fixture.case.starts_with("declines");
        assert_eq!(
            reports[0].matched > 0,
            should_fire,
            "{}/{}",
            fixture.rule,
            fixture.case
        );
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&fixture.folder);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(fixture.case, reports[0]));
    }
}

#[test]
fn rules_keep_the_numbers_of_their_fixtures() {
    for fixture in fixture::all() {
        let at = format!("{}/{}", fixture.rule, fixture.case);
        let passes = fixture.passes();
        let (after, _) = explain(fixture.graph.clone(), &passes, &fixture.capabilities)
            .unwrap_or_else(|e| panic!("{at}: {e}"));
        let bound = fixture.bound.unwrap_or_else(|| tolerance(&fixture.graph));
        for (seed, sizes) in numbers::size_values(&fixture.graph).iter().enumerate() {
            let outputs = |graph| {
                numbers::outputs(graph, sizes, seed as u64).unwrap_or_else(|e| panic!("{at}: {e}"))
            };
            let expected = fixture.expected.as_ref().unwrap_or(&fixture.graph);
            numbers::compare(&outputs(expected), &outputs(&after), bound)
                .unwrap_or_else(|e| panic!("{at} with {sizes:?}: {e}"));
        }
    }
}
