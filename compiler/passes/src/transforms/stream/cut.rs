//! Cutting a graph into stages: behind each place where frames become more, as soon as one value carries everything.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::attrs::Per;
use ltxc_ir::op::Input;
use ltxc_ir::{Graph, GraphError, NodeId};

use super::time::Time;

/// The graphs of the stages. Each but the first has an input by the name of the value that the one before makes.
pub fn stages(time: &Time<'_>) -> Result<Vec<Graph>, GraphError> {
    let cuts = cuts(time);
    let ends = cuts.iter().copied().map(Some).chain([None]);
    let starts = std::iter::once(None).chain(cuts.iter().copied().map(Some));
    let pairs = starts.zip(ends).enumerate();
    pairs
        .map(|(at, (start, end))| between(time, at, start, end))
        .collect()
}

/// The values at which the stages meet.
fn cuts(time: &Time<'_>) -> Vec<NodeId> {
    let order = time.graph.order();
    let order = order.into_iter().filter(|id| time.frames.contains_key(id));
    let order: Vec<NodeId> = order.collect();
    let place: BTreeMap<NodeId, usize> = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let last_read = |id: NodeId| {
        let users = time.graph.users_of(id).into_iter();
        let last = users.filter_map(|user| place.get(&user).copied()).max();
        match time.graph.is_output(id) {
            true => usize::MAX,
            false => last.unwrap_or(0),
        }
    };
    let (mut cuts, mut open) = (Vec::new(), 0);
    let mut rate = order.first().map_or(0, |id| time.frames[id].rate);
    for (at, id) in order.iter().enumerate() {
        let finer = time.frames[id].rate > rate;
        if finer && open <= at && !time.graph.is_output(*id) {
            cuts.push(*id);
            rate = time.frames[id].rate;
        }
        open = open.max(last_read(*id));
    }
    cuts
}

/// The graph that makes `end`, or the graph's outputs, of `start`, or the graph's inputs.
fn between(
    time: &Time<'_>,
    at: usize,
    start: Option<NodeId>,
    end: Option<NodeId>,
) -> Result<Graph, GraphError> {
    let whole = time.graph;
    let name = |id: NodeId| whole.node(id).name.clone();
    let outputs = match end {
        Some(end) => vec![(name(end), end)],
        None => whole.graph_outputs().to_vec(),
    };
    let needed = needed(whole, start, &outputs);
    let mut graph = Graph::new(format!("{}.{at}", whole.name));
    graph.doc.clone_from(&whole.doc);
    graph.sizes = whole.sizes.clone();
    let mut made = BTreeMap::new();
    for id in start.into_iter().chain(whole.order()) {
        if !needed.contains(&id) || made.contains_key(&id) {
            continue;
        }
        let node = whole.node(id);
        let copy = match start == Some(id) {
            true => {
                let input = Input {
                    dtype: node.fact.dtype,
                    shape: node.fact.shape.clone(),
                    source: None,
                    per: Per::Step,
                };
                graph.add(&node.name, input.into(), &[], node.origin.clone())?
            }
            false => {
                let inputs = whole.inputs_of(id).into_iter();
                let inputs: Vec<_> = inputs.map(|x| x.map(|x| made[&x])).collect();
                graph.add(&node.name, node.op.clone(), &inputs, node.origin.clone())?
            }
        };
        made.insert(id, copy);
    }
    for (name, id) in &outputs {
        graph.output(name, made[id]);
    }
    Ok(graph)
}

/// The outputs and everything they are made of, back to `start`.
fn needed(graph: &Graph, start: Option<NodeId>, outputs: &[(String, NodeId)]) -> BTreeSet<NodeId> {
    let mut open: Vec<NodeId> = outputs.iter().map(|(_, id)| *id).collect();
    let mut needed: BTreeSet<NodeId> = open.iter().copied().collect();
    while let Some(id) = open.pop() {
        if start == Some(id) {
            continue;
        }
        let inputs = graph.inputs_of(id).into_iter().flatten();
        open.extend(inputs.filter(|input| needed.insert(*input)));
    }
    needed
}
