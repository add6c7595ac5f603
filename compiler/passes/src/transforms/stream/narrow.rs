//! What graphs hand one another in the number format that they compute in.
//!
//! Rules keep the types of inputs and outputs, so a graph that computes in 16 bits takes and gives f32, by casts at its
//! border. Between graphs that only hand values on, those casts cost twice the memory and say nothing: where every reader
//! narrows a value at once and every maker has just widened it, it stays narrow.

use std::collections::BTreeMap;

use ltxc_ir::{Dtype, Graph, GraphError, NodeId, Op};

/// A value that some graphs give by one name and others take by another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Link {
    /// The output that gives it.
    pub output: String,
    /// The input that takes it.
    pub input: String,
}

/// The graphs with every link as narrow as all of them allow.
pub fn narrow_links(graphs: &[Graph], links: &[Link]) -> Result<Vec<Graph>, GraphError> {
    let narrow = links
        .iter()
        .filter_map(|link| Some((link, narrowed(graphs, link)?)));
    let (mut inputs, mut outputs) = (BTreeMap::new(), BTreeMap::new());
    for (link, dtype) in narrow {
        inputs.insert(link.input.as_str(), dtype);
        outputs.insert(link.output.as_str(), dtype);
    }
    let rebuilt = graphs.iter().map(|graph| rebuilt(graph, &inputs, &outputs));
    rebuilt.collect()
}

/// The type that all graphs compute a link in, if that is not the one it has.
fn narrowed(graphs: &[Graph], link: &Link) -> Option<Dtype> {
    let takes = graphs.iter().flat_map(|graph| takers(graph, &link.input));
    let gives = graphs.iter().flat_map(|graph| givers(graph, &link.output));
    let mut dtypes = takes.chain(gives);
    let first = dtypes.next()??;
    dtypes.all(|dtype| dtype == Some(first)).then_some(first)
}

/// What each reader of an input casts it to; none for one that does not.
fn takers(graph: &Graph, name: &str) -> Vec<Option<Dtype>> {
    let Some(id) = input(graph, name) else {
        return Vec::new();
    };
    let target = |user: NodeId| match &graph.node(user).op {
        Op::Cast(cast) if !graph.is_output(id) => Some(cast.to),
        _ => None,
    };
    graph.users_of(id).into_iter().map(target).collect()
}

/// What an output is cast from; none if it is not.
fn givers(graph: &Graph, name: &str) -> Option<Option<Dtype>> {
    let (_, id) = output(graph, name)?;
    let source = cast_from(graph, *id).map(|source| graph.node(source).fact.dtype);
    Some(source)
}

fn input(graph: &Graph, name: &str) -> Option<NodeId> {
    let found = graph.find(name)?;
    matches!(graph.node(found).op, Op::Input(_)).then_some(found)
}

fn output<'g>(graph: &'g Graph, name: &str) -> Option<&'g (String, NodeId)> {
    graph
        .graph_outputs()
        .iter()
        .find(|(known, _)| known == name)
}

fn cast_from(graph: &Graph, id: NodeId) -> Option<NodeId> {
    match graph.node(id).op {
        Op::Cast(_) => graph.inputs_of(id).into_iter().flatten().next(),
        _ => None,
    }
}

fn rebuilt(
    graph: &Graph,
    inputs: &BTreeMap<&str, Dtype>,
    outputs: &BTreeMap<&str, Dtype>,
) -> Result<Graph, GraphError> {
    let mut made = Graph::new(graph.name.clone());
    made.doc.clone_from(&graph.doc);
    made.sizes = graph.sizes.clone();
    let mut copies: BTreeMap<NodeId, NodeId> = BTreeMap::new();
    for id in graph.order() {
        let node = graph.node(id);
        let mut op = node.op.clone();
        if let Op::Input(input) = &mut op
            && let Some(dtype) = inputs.get(node.name.as_str())
        {
            input.dtype = *dtype;
        }
        let read: Vec<_> = graph.inputs_of(id).into_iter().collect();
        let source = cast_from(graph, id).filter(|source| {
            let source = graph.node(*source);
            matches!(source.op, Op::Input(_)) && inputs.contains_key(source.name.as_str())
        });
        if let Some(source) = source {
            copies.insert(id, copies[&source]);
            continue;
        }
        let read: Vec<_> = read.into_iter().map(|x| x.map(|x| copies[&x])).collect();
        copies.insert(id, made.add(&node.name, op, &read, node.origin.clone())?);
    }
    for (name, id) in graph.graph_outputs() {
        let source = outputs.get(name.as_str()).and(cast_from(graph, *id));
        made.output(name, copies[&source.unwrap_or(*id)]);
    }
    ltxc_ir::drop_dead(&mut made);
    Ok(made)
}
