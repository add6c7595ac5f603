//! What the IR refuses, and that it says everything at once.

use ltxc_ir::op::{Add, Mul, Reshape, Sigmoid, Slice};
use ltxc_ir::{
    Dtype, Fact, Graph, GraphError, Op, Origin, Patch, PatchError, SizeRange, VerifyError, check,
    parse, print, verify,
};

const GRAPH: &str = "graph small
size B 1..4
%x : f32[B, 4] = input
%w : f32[4] = weight {key: scale}
%y : f32[B, 4] = mul(%x, %w) ; small.yaml:4
return y = %y
";

fn graph() -> Graph {
    parse(GRAPH).expect("the test graph parses")
}

fn add(graph: &mut Graph, op: impl Into<Op>, inputs: &[&str]) -> Result<Fact, GraphError> {
    let inputs: Vec<_> = inputs.iter().map(|name| graph.find(name)).collect();
    let id = graph.add("new", op.into(), &inputs, Origin::default())?;
    Ok(graph.node(id).fact.clone())
}

#[test]
fn a_patch_may_not_change_a_type() {
    let mut graph = graph();
    let (x, y) = (graph.find("x").expect("x"), graph.find("y").expect("y"));
    let mut patch = Patch::new();
    let to = vec![4.into(), "B".parse().expect("a size")];
    let turned = patch.add("turned", Reshape { to }, &[x.into()]);
    let error = patch.replace(y, turned).apply(&mut graph, "wrong");
    assert!(matches!(error, Err(PatchError::Type { name, .. }) if name == "y"));
}

#[test]
fn a_patch_with_an_untyped_node_is_refused() {
    let mut graph = graph();
    let y = graph.find("y").expect("y");
    let mut patch = Patch::new();
    let lonely = patch.add("lonely", Add {}, &[y.into()]);
    let error = patch.replace(y, lonely).apply(&mut graph, "wrong");
    assert!(matches!(
        error,
        Err(PatchError::Graph(GraphError::Infer { .. }))
    ));
}

#[test]
fn a_patch_keeps_the_name_and_says_who_made_it() {
    let mut graph = graph();
    let (x, y) = (graph.find("x").expect("x"), graph.find("y").expect("y"));
    let mut patch = Patch::new();
    let gate = patch.add("gate", Sigmoid {}, &[x.into()]);
    let gated = patch.add("gated", Mul {}, &[gate, x.into()]);
    patch
        .replace(y, gated)
        .apply(&mut graph, "gate-it")
        .expect("types agree");
    let text = print(&graph);
    assert!(
        text.contains("%y.gate : f32[B, 4] = sigmoid(%x) ; small.yaml:4 by gate-it"),
        "{text}"
    );
    assert!(text.contains("%y : f32[B, 4] = mul(%y.gate, %x)"), "{text}");
    assert!(
        graph.find("w").is_none(),
        "what only the old node read is gone"
    );
}

#[test]
fn the_verifier_collects_every_error() {
    let mut graph = graph();
    let y = graph.find("y").expect("y");
    graph.output("y", y);
    graph.sizes.0.clear();
    let backwards = SizeRange {
        min: 5,
        max: 2,
        ..SizeRange::default()
    };
    graph.sizes.0.insert("S".to_owned(), backwards);
    let errors = check(&graph);
    let unknown = |e: &&VerifyError| matches!(e, VerifyError::Size { size, .. } if size == "B");
    assert_eq!(errors.iter().filter(unknown).count(), 2, "{errors:?}");
    for text in ["two outputs are named `y`", "size `S` cannot be 5..2"] {
        assert!(errors.iter().any(|e| e.to_string() == text), "{errors:?}");
    }
}

#[test]
fn a_graph_without_outputs_is_refused() {
    let graph = parse("graph empty\n").expect("an empty graph parses");
    assert!(verify(graph).is_err());
}

#[test]
fn names_are_unique() {
    let again = format!("{GRAPH}%x : f32[B] = input\n");
    assert_eq!(parse(&again).map_err(|e| e.line).err(), Some(7));
}

#[test]
fn the_parser_refuses_broken_lines() {
    for (line, why) in [
        ("hello", "starts no line"),
        ("size B", "should read `size NAME MIN..MAX`"),
        ("size B 1..x", "should read `size NAME MIN..MAX`"),
        ("return y", "return NAME = %value"),
        ("return y = x", "values start with %"),
        ("return y = %x", "not defined above"),
        ("%x = input", "` : ` is missing"),
        ("%x : f32[4] input", "` = ` is missing"),
        ("%x : f32 = input", "is no type"),
        ("%x : f33[4] = input", "unknown element type `f33`"),
        ("%x : f32[4] = swirl", "unknown op `swirl`"),
        ("%x : f32[4] = add(%a, %b", "a `)` is missing"),
        ("%x : f32[4] = neg(%a)", "`%a` is not defined above"),
        ("%x : f32[4] = weight {keys: a}", "unknown field `keys`"),
        ("%x : f32[4] = weight {key: a", "is missing"),
        (
            "%x : f32[4] = iota {n: 5, dtype: f32}",
            "its operation makes f32[5]",
        ),
        ("%x : f32[-4] = input", "an axis of -4"),
    ] {
        let error = parse(line).expect_err(line).to_string();
        assert!(
            error.starts_with("line 1: ") && error.contains(why),
            "{line}: {error}"
        );
    }
}

#[test]
fn size_ranges_broadcast_as_declared() {
    let mut graph =
        parse("size B 1..4\nsize S 1..8\nsize M 1..8 one of 1, S\n").expect("sizes parse");
    let size = |text: &str| text.parse().expect("a size");
    let (s, m) = (size("S"), size("M"));
    assert_eq!(graph.sizes.broadcast(&m, &s), Some(s.clone()));
    assert_eq!(graph.sizes.broadcast(&s, &m), Some(s.clone()));
    assert_eq!(graph.sizes.broadcast(&m, &size("B")), None);
    graph.sizes.0.insert("M".to_owned(), SizeRange::default());
    assert_eq!(graph.sizes.broadcast(&m, &s), None);
}

#[test]
fn slices_stay_within_fixed_axes() {
    let slice = |start, end| Slice {
        axis: 1,
        start,
        end,
    };
    for (start, end) in [(0, Some(5)), (5, Some(6)), (3, Some(1)), (-5, None)] {
        assert!(
            add(&mut graph(), slice(start, end), &["x"]).is_err(),
            "{start}..{end:?}"
        );
    }
    let last_two = add(&mut graph(), slice(-2, None), &["x"]);
    assert_eq!(
        last_two.map(|fact| fact.to_string()),
        Ok("f32[B, 2]".to_owned())
    );
}

#[test]
fn element_types_never_mix() {
    let mut graph = graph();
    let half = Fact::new(Dtype::F16, [4.into(), 4.into()]);
    let weight = Op::from_parts(
        "weight",
        serde_json::json!({"key": "h", "dtype": "f16", "shape": [4, 4]}),
    );
    let id = graph
        .add("h", weight.expect("a weight"), &[], Origin::default())
        .expect("it types");
    assert_eq!(graph.node(id).fact, half);
    assert!(add(&mut graph, ltxc_ir::op::Linear {}, &["x", "h"]).is_err());
    assert!(add(&mut graph, Add {}, &["x", "h"]).is_err());
}
