//! Values between graphs, in the type in which they are read.
//!
//! Rules keep the types of inputs and outputs, so parts of a component, and steps of a stream, hand values on in f32 even
//! where a recipe lets every reader round them first. After the passes the graph that makes a value may round it, once:
//! what is kept is then half as large, and nobody rounds it again. The numbers are the same.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::op::{Cast, Input};
use ltxc_ir::{Dtype, Graph, GraphError, NodeId, Op, drop_dead};

/// A value that some graphs give by one name and others take by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The output that gives it.
    pub output: String,
    /// The input that takes it.
    pub input: String,
}

/// What parts of a component hand on, by the same name at both ends, but for the component's own outputs.
pub fn links_of_parts(parts: &[Graph], outputs: &BTreeSet<String>) -> Vec<Link> {
    let made = parts.iter().flat_map(Graph::graph_outputs);
    let made: BTreeSet<&String> = made.map(|(name, _)| name).collect();
    let inner = made.into_iter().filter(|name| !outputs.contains(*name));
    let link = |name: &String| Link {
        output: name.clone(),
        input: name.clone(),
    };
    inner.map(link).collect()
}

/// The graph with some inputs rounded as they come, so that passes see what they are: numbers of a narrower type.
pub fn rounded_inputs(
    graph: &Graph,
    names: &BTreeSet<String>,
    to: Dtype,
) -> Result<Graph, GraphError> {
    let mut made = Graph::new(graph.name.clone());
    made.doc.clone_from(&graph.doc);
    made.sizes = graph.sizes.clone();
    made.reuse.clone_from(&graph.reuse);
    let mut copies: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in graph.order() {
        let node = graph.node(id);
        let inputs = graph.inputs_of(id).into_iter();
        let inputs: Vec<_> = inputs.map(|x| x.map(|x| copies[&x])).collect();
        let mut copy = made.add(&node.name, node.op.clone(), &inputs, node.origin.clone())?;
        if matches!(node.op, Op::Input(_)) && names.contains(&node.name) {
            for (what, to) in [("rounded", to), ("widened", node.fact.dtype)] {
                let (name, origin) = (format!("{}.{what}", node.name), node.origin.clone());
                copy = made.add(&name, Op::Cast(Cast { to }), &[Some(copy)], origin)?;
            }
        }
        copies.insert(id, copy);
    }
    for (name, id) in graph.graph_outputs() {
        made.output(name, copies[id]);
    }
    Ok(made)
}

/// The narrower type that an output has the numbers of.
pub fn widened_from(graph: &Graph, output: &str) -> Option<Dtype> {
    let mut outputs = graph.graph_outputs().iter();
    let (_, id) = outputs.find(|(name, _)| name == output)?;
    let read = graph.inputs_of(*id).first().copied().flatten()?;
    let (from, to) = (graph.node(read).fact.dtype, graph.node(*id).fact.dtype);
    let widens = matches!(graph.node(*id).op, Op::Cast(_)) && from.is_float();
    (widens && from.bytes() < to.bytes()).then_some(from)
}

/// Lets the graphs hand on in a narrower type what all readers of a link round to it.
pub fn hand_over_narrow(graphs: &[Graph], links: &[Link]) -> Result<Vec<Graph>, GraphError> {
    let (mut inputs, mut outputs) = (BTreeMap::new(), BTreeMap::new());
    for link in links {
        if let Some(to) = read_as(graphs, &link.input) {
            inputs.insert(link.input.as_str(), to);
            outputs.insert(link.output.as_str(), to);
        }
    }
    let narrowed = graphs
        .iter()
        .map(|graph| narrowed(graph, &inputs, &outputs));
    narrowed.collect()
}

type Types<'a> = BTreeMap<&'a str, Dtype>;

/// The narrower type to which every reader of an input rounds it.
fn read_as(graphs: &[Graph], name: &str) -> Option<Dtype> {
    let takers = graphs.iter().filter_map(|graph| {
        let id = graph.find(name)?;
        matches!(graph.node(id).op, Op::Input(_)).then_some((graph, id))
    });
    let mut types = takers.flat_map(|(graph, id)| {
        let width = graph.node(id).fact.dtype.bytes();
        let cast = move |user: NodeId| match &graph.node(user).op {
            Op::Cast(Cast { to }) if !graph.is_output(id) => {
                (to.is_float() && to.bytes() < width).then_some(*to)
            }
            _ => None,
        };
        graph.users_of(id).into_iter().map(cast)
    });
    let first = types.next()??;
    types.all(|to| to == Some(first)).then_some(first)
}

/// The graph with these inputs and outputs in other types.
fn narrowed(part: &Graph, taken: &Types<'_>, given: &Types<'_>) -> Result<Graph, GraphError> {
    let mut graph = Graph::new(part.name.clone());
    graph.doc.clone_from(&part.doc);
    graph.sizes = part.sizes.clone();
    graph.reuse.clone_from(&part.reuse);
    let mut made: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in part.order() {
        let node = part.node(id);
        let inputs = part.inputs_of(id);
        if let (Op::Cast(_), Some(Some(read))) = (&node.op, inputs.first())
            && is_narrowed_input(part, *read, taken)
        {
            made.insert(id, made[read]);
            continue;
        }
        let op = match (&node.op, taken.get(node.name.as_str())) {
            (Op::Input(input), Some(to)) => Op::Input(Input {
                dtype: *to,
                ..input.clone()
            }),
            (op, _) => op.clone(),
        };
        let inputs: Vec<_> = inputs.iter().map(|id| id.map(|id| made[&id])).collect();
        let name = match rounds(part, id, given) {
            true => format!("{}.wide", node.name),
            false => node.name.clone(),
        };
        made.insert(id, graph.add(&name, op, &inputs, node.origin.clone())?);
    }
    for (name, id) in part.graph_outputs() {
        let value = match given.get(name.as_str()) {
            Some(to) => rounded(&mut graph, name, made[id], *to)?,
            None => made[id],
        };
        graph.output(name, value);
    }
    drop_dead(&mut graph);
    Ok(graph)
}

fn is_narrowed_input(part: &Graph, id: NodeId, taken: &Types<'_>) -> bool {
    let node = part.node(id);
    matches!(node.op, Op::Input(_)) && taken.contains_key(node.name.as_str())
}

/// Whether a value is handed on and goes by the name that the rounded one takes.
fn rounds(part: &Graph, id: NodeId, given: &Types<'_>) -> bool {
    let name = &part.node(id).name;
    let handed = |(output, value): &(String, NodeId)| output == name && *value == id;
    given.contains_key(name.as_str()) && part.graph_outputs().iter().any(handed)
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
