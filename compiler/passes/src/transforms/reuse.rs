//! Using the work of an earlier step again (first-block cache).
//!
//! From step to step a diffusion transformer changes its tokens in much the same way, and what its first block does tells
//! how much that differs. [`reuse_steps`] cuts a graph where it says (`reuse`): `head` up to the result of the first
//! block, `body` with what the other blocks add to it, `tail` with the rest. With every body computed the numbers are
//! those of the whole graph within the rounding of one difference and one sum. Whether a body is computed is decided
//! by the runtime, which compares what the head's block added.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::attrs::Per;
use ltxc_ir::op::{Add, Sub};
use ltxc_ir::{Graph, GraphError, NodeId, Op, Origin, Reuse, drop_dead};
use thiserror::Error;

use super::hoist::worth_keeping;
use super::split::{Part, split};

/// What the first block adds; the name has a character that no name of a graph file has.
const MOVED: &str = "reuse.moved";

/// Why a graph cannot be cut.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ReuseError {
    /// It says nothing of where.
    #[error("the graph `{0}` does not say where a step's work may be used again (`reuse`)")]
    Nowhere(String),
    /// What it says makes no cut.
    #[error(
        "`reuse` of the graph `{0}` must name three values of one type, each made from the one before"
    )]
    Points(String),
    /// A new node has no type.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The parts of a graph: `once` as [`hoist`](super::hoist::hoist) makes it, `head`, `body`, `tail`.
pub fn reuse_steps(mut graph: Graph) -> Result<Vec<Part>, ReuseError> {
    let reuse = graph.reuse.take();
    let reuse = reuse.ok_or_else(|| ReuseError::Nowhere(graph.name.clone()))?;
    drop_dead(&mut graph);
    check(&graph, &reuse)?;
    let (graph, cut) = with_residual(&graph, &reuse)?;
    let mut place = BTreeMap::new();
    for (at, values) in [
        (2, ancestors(&graph, &[cut.residual])),
        (1, ancestors(&graph, &[cut.moved, cut.first])),
        (0, worth_keeping(&graph)),
    ] {
        place.extend(values.into_iter().map(|id| (id, at)));
    }
    let parts = [
        ("once", Per::Video),
        ("head", Per::Step),
        ("body", Per::Step),
        ("tail", Per::Step),
    ];
    let mut parts = split(&graph, &parts, &place)?;
    for part in parts.iter_mut().filter(|part| part.name == "body") {
        part.reuse = Some(MOVED.to_owned());
    }
    Ok(parts)
}

fn check(graph: &Graph, reuse: &Reuse) -> Result<(), ReuseError> {
    let wrong = || ReuseError::Points(graph.name.clone());
    let find = |name: &String| graph.find(name).ok_or_else(wrong);
    let (start, first, last) = (find(&reuse.start)?, find(&reuse.first)?, find(&reuse.last)?);
    let fact = |id: NodeId| &graph.node(id).fact;
    let one_type = fact(start) == fact(first) && fact(first) == fact(last);
    let made_of = |id: NodeId, of: NodeId| id != of && ancestors(graph, &[id]).contains(&of);
    match one_type && made_of(first, start) && made_of(last, first) {
        true => Ok(()),
        false => Err(wrong()),
    }
}

/// Where the graph is cut.
struct Points {
    moved: NodeId,
    first: NodeId,
    residual: NodeId,
}

/// The same graph in which readers of `last` read `first + (last - first)`, with what the first block adds as an output.
fn with_residual(graph: &Graph, reuse: &Reuse) -> Result<(Graph, Points), ReuseError> {
    let mut made = Graph::new(graph.name.clone());
    made.doc.clone_from(&graph.doc);
    made.sizes = graph.sizes.clone();
    let mut copies: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    let mut points = None;
    for id in graph.order() {
        let node = graph.node(id);
        let inputs = graph.inputs_of(id).into_iter();
        let inputs: Vec<_> = inputs.map(|id| id.map(|id| copies[&id])).collect();
        let copy = made.add(&node.name, node.op.clone(), &inputs, node.origin.clone())?;
        copies.insert(id, copy);
        if node.name == reuse.last {
            let cut = cut(&mut made, reuse, copy)?;
            copies.insert(id, cut.1);
            points = Some(cut.0);
        }
    }
    let points = points.ok_or_else(|| ReuseError::Points(graph.name.clone()))?;
    for (name, id) in graph.graph_outputs() {
        made.output(name, copies[id]);
    }
    made.output(MOVED, points.moved);
    Ok((made, points))
}

/// Adds what the first block adds, what the others add, and the sum that stands for `last`.
fn cut(made: &mut Graph, reuse: &Reuse, last: NodeId) -> Result<(Points, NodeId), ReuseError> {
    let points = |made: &Graph| Some((made.find(&reuse.start)?, made.find(&reuse.first)?));
    let found = points(made).ok_or_else(|| ReuseError::Points(made.name.clone()));
    let (start, first) = found?;
    let origin = Origin {
        source: None,
        rule: Some("reuse-steps".to_owned()),
    };
    let mut add = |name: &str, op: Op, a: NodeId, b: NodeId| {
        made.add(name, op, &[Some(a), Some(b)], origin.clone())
    };
    let moved = add(MOVED, Sub {}.into(), first, start)?;
    let residual = add("reuse.residual", Sub {}.into(), last, first)?;
    let resumed = add("reuse.resumed", Add {}.into(), first, residual)?;
    let points = Points {
        moved,
        first,
        residual,
    };
    Ok((points, resumed))
}

/// The values and everything they are made from.
fn ancestors(graph: &Graph, of: &[NodeId]) -> BTreeSet<NodeId> {
    let mut open = of.to_vec();
    let mut found: BTreeSet<NodeId> = open.iter().copied().collect();
    while let Some(id) = open.pop() {
        let inputs = graph.inputs_of(id).into_iter().flatten();
        open.extend(inputs.filter(|input| found.insert(*input)));
    }
    found
}
