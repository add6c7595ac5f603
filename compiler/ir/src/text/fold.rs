//! Printing with identical repeats folded. The graph itself is never folded.

use std::collections::HashMap;

use crate::graph::{Graph, NodeId};

use super::print::{footer, header, node_line};

/// Prints the graph; of neighbouring turns `a.0.`, `a.1.`, .. that differ in nothing but their number, the first only.
pub fn print_folded(graph: &Graph) -> String {
    let order = graph.order();
    let mut out = header(graph);
    let mut at = 0;
    while at < order.len() {
        let turns = turns_from(graph, &order[at..]);
        let shown = turns.first().map_or(1, |turn| turn.nodes);
        if let Some(first) = turns.first().filter(|_| turns.len() > 1) {
            out.push_str(&format!(
                "repeat {} x{} {{ ; turn {} shown\n",
                first.prefix,
                turns.len(),
                first.index
            ));
        }
        let indent = if turns.len() > 1 { "  " } else { "" };
        for id in &order[at..at + shown] {
            out.push_str(&format!("{indent}{}\n", node_line(graph, *id)));
        }
        if turns.len() > 1 {
            out.push_str("}\n");
        }
        at += turns.iter().map(|turn| turn.nodes).sum::<usize>().max(1);
    }
    out.push_str(&footer(graph));
    out
}

struct Turn {
    prefix: String,
    index: u64,
    nodes: usize,
}

/// The run of equal turns that starts here; empty where no turn starts.
fn turns_from(graph: &Graph, order: &[NodeId]) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut at = 0;
    let mut shape: Option<Vec<Line>> = None;
    while let Some(turn) = turn_at(graph, &order[at..]) {
        let follows = turns
            .last()
            .is_none_or(|last| last.prefix == turn.prefix && last.index + 1 == turn.index);
        let lines = relative_lines(graph, &order[at..at + turn.nodes], &turn);
        if !follows || shape.as_ref().is_some_and(|shape| !alike(shape, &lines)) {
            break;
        }
        shape.get_or_insert(lines);
        at += turn.nodes;
        turns.push(turn);
    }
    turns
}

fn turn_at(graph: &Graph, order: &[NodeId]) -> Option<Turn> {
    let (prefix, index) = split_index(&graph.node(*order.first()?).name)?;
    let same = |id: &&NodeId| {
        split_index(&graph.node(**id).name).is_some_and(|found| found == (prefix, index))
    };
    let nodes = order.iter().take_while(same).count();
    Some(Turn {
        prefix: prefix.to_owned(),
        index,
        nodes,
    })
}

/// `blocks.3.q` is turn 3 of `blocks`.
fn split_index(name: &str) -> Option<(&str, u64)> {
    let mut start = 0;
    for part in name.split('.') {
        if start > 0
            && let Ok(index) = part.parse()
        {
            return Some((&name[..start - 1], index));
        }
        start += part.len() + 1;
    }
    None
}

/// A line of a turn, and the same with the turn's number taken out of an `index`: a turn may take its own part of a
/// table.
struct Line {
    exact: String,
    counted: String,
}

fn alike(one: &[Line], other: &[Line]) -> bool {
    let same = |(a, b): (&Line, &Line)| a.exact == b.exact || a.counted == b.counted;
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The turn's lines with its own number taken out of names and values from outside numbered by place.
fn relative_lines(graph: &Graph, nodes: &[NodeId], turn: &Turn) -> Vec<Line> {
    let own = format!("{}.{}.", turn.prefix, turn.index);
    let places: HashMap<NodeId, usize> = nodes
        .iter()
        .enumerate()
        .map(|(place, id)| (*id, place))
        .collect();
    let line = |id: &NodeId| {
        let node = graph.node(*id);
        let inputs: Vec<Option<&usize>> = graph
            .inputs_of(*id)
            .iter()
            .map(|i| i.and_then(|i| places.get(&i)))
            .collect();
        let start = format!(
            "{} {} {} {inputs:?}",
            node.name.replace(&own, "#."),
            node.fact,
            node.op.name()
        );
        let mut attributes = node.op.attributes();
        let exact = format!("{start} {attributes}").replace(&own, "#.");
        if let Some(index) = attributes.get_mut("index").filter(|i| **i == turn.index) {
            *index = "#".into();
        }
        let counted = format!("{start} {attributes}").replace(&own, "#.");
        Line { exact, counted }
    };
    nodes.iter().map(line).collect()
}
