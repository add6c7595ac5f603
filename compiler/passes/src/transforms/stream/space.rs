//! Where rows and columns run in a stage, and how far around a place its result looks.
//!
//! A stage that only looks at neighbours can be computed on a tile of its frames: with as many rows and columns around it
//! as it looks at, what lies in the tile has the numbers of the whole. At the border of a frame a tile ends where the
//! frame does, so the zeros that convolutions pad with are those of the whole; elsewhere they spoil the margin, which is
//! cut off. States are kept for each tile, margin included: how deep the spoiled margin is does not depend on time.

use std::collections::BTreeMap;

use ltxc_ir::{Graph, NodeId, Op, Size};

use super::Along;
use super::motion::Motion;
use super::time::Time;

/// Rows or columns of a stage, in units of which the value with the fewest has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Side {
    /// The size that counts the units.
    pub size: String,
    /// Units that one of that size was in the graph of which this is a stage.
    pub rate: i64,
    /// Units that must be known on each side of a tile.
    pub halo: i64,
    /// The inputs and outputs that have rows or columns.
    pub along: BTreeMap<String, Along>,
}

/// The stages with rows and columns counted anew in each, and their sides; as they are, and none, where one of them
/// cannot be computed in tiles.
pub fn tiled(stages: Vec<Graph>) -> (Vec<Graph>, Vec<Vec<Side>>) {
    let tiled: Option<Vec<_>> = stages.iter().map(of_stage).collect();
    let tiled = tiled.unwrap_or_else(|| {
        stages
            .into_iter()
            .map(|graph| (graph, Vec::new()))
            .collect()
    });
    tiled.into_iter().unzip()
}

fn of_stage(graph: &Graph) -> Option<(Graph, Vec<Side>)> {
    let (mut counted, mut sides) = (graph.clone(), Vec::new());
    for size in symbols(graph)? {
        let side = side(&Time::along(graph, &size).ok()?)?;
        counted = recounted(&counted, &size, side.rate)?;
        sides.push(side);
    }
    Some((counted, sides))
}

/// The sizes that count rows and columns: those of what convolutions read.
fn symbols(graph: &Graph) -> Option<[String; 2]> {
    let mut order = graph.order().into_iter();
    let conv = order.find(|id| matches!(graph.node(*id).op, Op::Conv3d(_)))?;
    let read = graph.inputs_of(conv).first().copied().flatten()?;
    let shape = &graph.node(read).fact.shape;
    let only = |axis: usize| {
        let mut symbols = shape.get(axis)?.symbols();
        symbols.next().filter(|_| symbols.next().is_none())
    };
    let (rows, columns) = (only(3)?, only(4)?);
    (rows != columns).then(|| [rows.to_owned(), columns.to_owned()])
}

/// The rows or columns that a size counts.
fn side(time: &Time<'_>) -> Option<Side> {
    let even = time.frames.values().all(|frames| frames.offset == 0);
    let finest = time
        .frames
        .values()
        .map(|frames| frames.rate)
        .max()
        .filter(|_| even)?;
    let mut reach: BTreeMap<NodeId, i64> = BTreeMap::new();
    for id in time
        .graph
        .order()
        .into_iter()
        .filter(|id| time.frames.contains_key(id))
    {
        let read = time.flowing(id).map(|read| reach[&read]).fold(0, i64::max);
        reach.insert(id, read + look(time, id, finest)?);
    }
    let named = time
        .graph
        .graph_outputs()
        .iter()
        .map(|(name, id)| (name.clone(), *id));
    let inputs = time.graph.graph_inputs().iter();
    let named = named.chain(inputs.map(|id| (time.graph.node(*id).name.clone(), *id)));
    let along = |(name, id): (String, NodeId)| {
        let frames = time.frames.get(&id)?;
        let (axis, rate) = (frames.axis, frames.rate);
        Some((name, Along { axis, rate }))
    };
    let outputs = time.graph.graph_outputs().iter();
    let far = outputs
        .filter_map(|(_, id)| reach.get(id))
        .copied()
        .fold(0, i64::max);
    Some(Side {
        size: time.symbol.clone(),
        rate: time.unit,
        halo: (far + finest - 1) / finest,
        along: named.filter_map(along).collect(),
    })
}

/// How far an operation looks beyond the place of its result, in the finest rows; none where it does more than that.
fn look(time: &Time<'_>, id: NodeId, finest: i64) -> Option<i64> {
    match time.motions[&id] {
        Motion::Given | Motion::Framewise | Motion::Regrouped => Some(0),
        Motion::Longer { .. } | Motion::Shorter { .. } => None,
        Motion::Window {
            kernel,
            stride,
            zeros,
        } => {
            let (own, read) = (time.frames[&id].rate, time.flowing(id).next()?);
            let read = time.frames[&read].rate;
            let fits = kernel == 2 * zeros + 1 && read == own * stride && finest % read == 0;
            fits.then(|| zeros * (finest / read))
        }
    }
}

/// The graph with a size that counts as many times finer.
fn recounted(graph: &Graph, symbol: &str, rate: i64) -> Option<Graph> {
    let mut made = Graph::new(graph.name.clone());
    made.doc.clone_from(&graph.doc);
    made.sizes = graph.sizes.clone();
    if let Some(range) = made.sizes.0.get_mut(symbol) {
        (range.min, range.max) = (1, range.max.saturating_mul(rate));
    }
    let mut copies: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in graph.order() {
        let node = graph.node(id);
        let mut op = node.op.clone();
        for size in op.sizes_mut() {
            *size = finer(size, symbol, rate)?;
        }
        let inputs = graph.inputs_of(id).into_iter();
        let inputs: Vec<_> = inputs.map(|x| x.map(|x| copies[&x])).collect();
        let copy = made
            .add(&node.name, op, &inputs, node.origin.clone())
            .ok()?;
        copies.insert(id, copy);
    }
    for (name, id) in graph.graph_outputs() {
        made.output(name, copies[id]);
    }
    Some(made)
}

/// A size in terms of a unit of which `rate` were one before.
fn finer(size: &Size, symbol: &str, rate: i64) -> Option<Size> {
    let mut sum = Size::from(0);
    for (coefficient, symbols) in size.terms() {
        let power = symbols.iter().filter(|name| *name == symbol).count();
        let by = rate.checked_pow(u32::try_from(power).ok()?)?;
        let term = (coefficient % by == 0).then(|| Size::from(coefficient / by))?;
        let factors = symbols.iter().map(Size::symbol);
        sum = sum + factors.fold(term, |product, factor| product * factor);
    }
    Some(sum)
}
