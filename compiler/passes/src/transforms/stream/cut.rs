//! Cutting a graph into stages: wherever one value carries everything, and frames have become more or convolutions have
//! looked in time as often as in a residual block; behind the last convolution there is nothing to cut.
//!
//! A stage begins and ends with as many frames at once as it looks ahead, and its tiles have a margin of what it looks
//! around; so stages are small.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::attrs::Per;
use ltxc_ir::op::Input;
use ltxc_ir::{Graph, GraphError, NodeId, Op};

use super::motion::Motion;
use super::time::Time;

/// Convolutions over time that a stage has at least.
const CONVOLUTIONS: usize = 2;

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
    let looks = |id: &NodeId| matches!(time.motions[id], Motion::Window { .. });
    let last_look = order.iter().rposition(looks).unwrap_or(0);
    let (mut cuts, mut open, mut looked) = (Vec::new(), 0, 0);
    let mut rate = order.first().map_or(0, |id| time.frames[id].rate);
    for (at, id) in order.iter().enumerate() {
        looked += usize::from(looks(id));
        let enough = looked >= CONVOLUTIONS || time.frames[id].rate > rate;
        let inner = at < last_look && !time.graph.is_output(*id);
        if enough && open <= at && inner {
            cuts.push(*id);
            (rate, looked) = (time.frames[id].rate, 0);
        }
        if !matches!(time.graph.node(*id).op, Op::Input(_)) {
            open = open.max(last_read(*id));
        }
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

/// The graph without what no output is made of; its inputs stay.
pub fn swept(graph: &Graph) -> Result<Graph, GraphError> {
    let mut needed = needed(graph, None, graph.graph_outputs());
    needed.extend(graph.graph_inputs());
    let mut swept = Graph::new(graph.name.clone());
    swept.doc.clone_from(&graph.doc);
    swept.sizes = graph.sizes.clone();
    let mut made = BTreeMap::new();
    for id in graph.order().into_iter().filter(|id| needed.contains(id)) {
        let node = graph.node(id);
        let inputs = graph.inputs_of(id).into_iter();
        let inputs: Vec<_> = inputs.map(|x| x.map(|x| made[&x])).collect();
        let copy = swept.add(&node.name, node.op.clone(), &inputs, node.origin.clone())?;
        made.insert(id, copy);
    }
    for (name, id) in graph.graph_outputs() {
        swept.output(name, made[id]);
    }
    Ok(swept)
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
