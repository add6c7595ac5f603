//! Graph to text.

use std::fmt::Write;

use serde_json::Value;

use crate::attrs::print_attributes;
use crate::graph::{Graph, NodeId};
use crate::op::Op;
use crate::sizes::SizeRange;

/// Prints every node.
pub fn print(graph: &Graph) -> String {
    let mut out = header(graph);
    for id in graph.order() {
        out.push_str(&node_line(graph, id));
        out.push('\n');
    }
    out.push_str(&footer(graph));
    out
}

pub(super) fn header(graph: &Graph) -> String {
    let mut out = format!("graph {}\n", graph.name);
    if !graph.doc.is_empty() {
        let _ = writeln!(
            out,
            "doc {}",
            graph.doc.split_whitespace().collect::<Vec<_>>().join(" ")
        );
    }
    for (name, range) in &graph.sizes.0 {
        let _ = writeln!(out, "size {name} {}", range_text(range));
    }
    out
}

fn range_text(range: &SizeRange) -> String {
    let choices: Vec<String> = range.one_of.iter().map(ToString::to_string).collect();
    let time = if range.time { " in time" } else { "" };
    let bounds = format!("{}..{}{time}", range.min, range.max);
    if choices.is_empty() {
        bounds
    } else {
        format!("{bounds} one of {}", choices.join(", "))
    }
}

pub(super) fn footer(graph: &Graph) -> String {
    let reuse = graph.reuse.as_ref().map_or_else(String::new, |reuse| {
        format!(
            "reuse %{}, %{}, %{}\n",
            reuse.start, reuse.first, reuse.last
        )
    });
    let returns = graph
        .graph_outputs()
        .iter()
        .fold(String::new(), |mut out, (name, value)| {
            let _ = writeln!(out, "return {name} = %{}", graph.node(*value).name);
            out
        });
    reuse + &returns
}

/// One node: `%name : type = op(%a, %b) {attributes} ; source by rule`.
pub(super) fn node_line(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    let mut line = format!("%{} : {} = {}", node.name, node.fact, node.op.name());
    let inputs: Vec<String> = graph
        .inputs_of(id)
        .into_iter()
        .map(|input| input_text(graph, input))
        .collect();
    if !inputs.is_empty() {
        let _ = write!(line, "({})", inputs.join(", "));
    }
    let attributes = print_attributes(&visible_attributes(&node.op));
    if !attributes.is_empty() {
        let _ = write!(line, " {attributes}");
    }
    let origin = [
        node.origin.source.clone(),
        node.origin.rule.as_ref().map(|rule| format!("by {rule}")),
    ];
    let origin: Vec<String> = origin.into_iter().flatten().collect();
    if !origin.is_empty() {
        let _ = write!(line, " ; {}", origin.join(" "));
    }
    line
}

fn input_text(graph: &Graph, input: Option<NodeId>) -> String {
    input.map_or_else(|| "_".to_owned(), |id| format!("%{}", graph.node(id).name))
}

/// A leaf's type stands before the `=`, so its attributes leave it out.
fn visible_attributes(op: &Op) -> Value {
    let mut attributes = op.attributes();
    if let (true, Value::Object(map)) = (op.is_leaf(), &mut attributes) {
        map.retain(|key, _| key != "dtype" && key != "shape");
    }
    attributes
}
