//! Values between parts, in the type in which they are read.
//!
//! Parts are cut before the passes, so a value is handed on in f32 even where a recipe lets every reader round it first.
//! After the passes the part that makes it may round it, once: what is kept for a video is then half as large, and no
//! step rounds it again. The numbers are the same.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::op::{Cast, Input};
use ltxc_ir::{Dtype, Graph, GraphError, NodeId, Op, drop_dead};

/// Lets the parts of a component hand on in a narrower type what all readers round to it. `outputs` are the component's
/// own, which keep their types.
pub fn hand_over_narrow(
    parts: Vec<Graph>,
    outputs: &BTreeSet<String>,
) -> Result<Vec<Graph>, GraphError> {
    let mut wanted: BTreeMap<String, Option<Dtype>> = BTreeMap::new();
    for (at, part) in parts.iter().enumerate() {
        let made = parts[..at].iter().flat_map(Graph::graph_outputs);
        let made: BTreeSet<&String> = made.map(|(name, _)| name).collect();
        for id in part.graph_inputs() {
            let name = &part.node(*id).name;
            if made.contains(name) && !outputs.contains(name) {
                let narrow = read_as(part, *id);
                let known = wanted.entry(name.clone()).or_insert(narrow);
                *known = known.filter(|known| Some(*known) == narrow);
            }
        }
    }
    wanted.retain(|_, narrow| narrow.is_some());
    let narrow: BTreeMap<String, Dtype> = wanted
        .into_iter()
        .filter_map(|(name, to)| Some((name, to?)))
        .collect();
    match narrow.is_empty() {
        true => Ok(parts),
        false => parts.iter().map(|part| narrowed(part, &narrow)).collect(),
    }
}

/// The narrower type to which every reader of an input rounds it.
fn read_as(part: &Graph, id: NodeId) -> Option<Dtype> {
    let users = part.users_of(id);
    let mut types = users.iter().map(|user| match &part.node(*user).op {
        Op::Cast(Cast { to }) => Some(*to),
        _ => None,
    });
    let first = types.next().flatten()?;
    let narrower = first.is_float() && first.bytes() < part.node(id).fact.dtype.bytes();
    let all = !part.is_output(id) && types.all(|to| to == Some(first));
    (narrower && all).then_some(first)
}

/// The part with these inputs and outputs in other types.
fn narrowed(part: &Graph, narrow: &BTreeMap<String, Dtype>) -> Result<Graph, GraphError> {
    let mut graph = Graph::new(part.name.clone());
    graph.doc.clone_from(&part.doc);
    graph.sizes = part.sizes.clone();
    graph.reuse.clone_from(&part.reuse);
    let mut made: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in part.order() {
        let node = part.node(id);
        let inputs = part.inputs_of(id);
        if let (Op::Cast(_), Some(Some(read))) = (&node.op, inputs.first())
            && is_narrowed_input(part, *read, narrow)
        {
            made.insert(id, made[read]);
            continue;
        }
        let op = match (&node.op, narrow.get(&node.name)) {
            (Op::Input(input), Some(to)) => Op::Input(Input {
                dtype: *to,
                ..input.clone()
            }),
            (op, _) => op.clone(),
        };
        let inputs: Vec<_> = inputs.iter().map(|id| id.map(|id| made[&id])).collect();
        let name = match rounds(part, id, narrow) {
            true => format!("{}.wide", node.name),
            false => node.name.clone(),
        };
        made.insert(id, graph.add(&name, op, &inputs, node.origin.clone())?);
    }
    for (name, id) in part.graph_outputs() {
        let value = match narrow.get(name) {
            Some(to) => rounded(&mut graph, name, made[id], *to)?,
            None => made[id],
        };
        graph.output(name, value);
    }
    drop_dead(&mut graph);
    Ok(graph)
}

fn is_narrowed_input(part: &Graph, id: NodeId, narrow: &BTreeMap<String, Dtype>) -> bool {
    let node = part.node(id);
    matches!(node.op, Op::Input(_)) && narrow.contains_key(&node.name)
}

/// Whether a value is handed on and goes by the name that the rounded one takes.
fn rounds(part: &Graph, id: NodeId, narrow: &BTreeMap<String, Dtype>) -> bool {
    let name = &part.node(id).name;
    let handed = |(output, value): &(String, NodeId)| output == name && *value == id;
    narrow.contains_key(name) && part.graph_outputs().iter().any(handed)
}

/// The value in a narrower type: what it was widened from, where that has the type.
fn rounded(graph: &mut Graph, name: &str, value: NodeId, to: Dtype) -> Result<NodeId, GraphError> {
    let node = graph.node(value);
    if let (Op::Cast(_), Some(Some(from))) = (&node.op, graph.inputs_of(value).first())
        && graph.node(*from).fact.dtype == to
    {
        return Ok(*from);
    }
    let origin = node.origin.clone();
    graph.add(name, Op::Cast(Cast { to }), &[Some(value)], origin)
}
