//! Cutting a graph into parts that hand values on.
//!
//! Together the parts compute what the graph computed. A part takes those of the graph's inputs that it reads, and what
//! earlier parts hand it; it gives the graph's outputs that it makes, and what later parts need. Values keep their names,
//! so that a value handed on has one name on both sides. What depends on no input is copied to every part that reads it.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::attrs::Per;
use ltxc_ir::op::Input;
use ltxc_ir::{Graph, GraphError, NodeId, Op, Size};

/// A share of a component.
#[derive(Clone, Debug)]
pub struct Part {
    /// Its name among the parts.
    pub name: &'static str,
    /// How often it runs.
    pub per: Per,
    /// What it computes.
    pub graph: Graph,
    /// A value of an earlier part: while that changes little, results of an earlier step may stand for this part's.
    pub reuse: Option<String>,
}

/// Cuts a graph into `parts`, by name and how often each runs. `place` says which part makes a value; no value may be
/// made before what it reads, and those of no place belong to the last part. Parts that would make nothing are left
/// out.
pub fn split(
    graph: &Graph,
    parts: &[(&'static str, Per)],
    place: &BTreeMap<NodeId, usize>,
) -> Result<Vec<Part>, GraphError> {
    let cut = Cut::new(graph, parts, place);
    let made = (0..parts.len()).map(|at| cut.part(at));
    let made = made.collect::<Result<Vec<_>, _>>()?;
    let full = made
        .into_iter()
        .filter(|part| !part.graph.graph_outputs().is_empty());
    Ok(full.collect())
}

/// The values that depend on no input of the graph.
pub(super) fn fixed(graph: &Graph) -> BTreeSet<NodeId> {
    let mut fixed = BTreeSet::new();
    for id in graph.order() {
        let mut inputs = graph.inputs_of(id).into_iter().flatten();
        if !matches!(graph.node(id).op, Op::Input(_)) && inputs.all(|input| fixed.contains(&input))
        {
            fixed.insert(id);
        }
    }
    fixed
}

struct Cut<'a> {
    graph: &'a Graph,
    order: Vec<NodeId>,
    parts: &'a [(&'static str, Per)],
    /// Where each value is made; none for inputs and for values that depend on no input.
    place: BTreeMap<NodeId, usize>,
}

impl<'a> Cut<'a> {
    fn new(
        graph: &'a Graph,
        parts: &'a [(&'static str, Per)],
        place: &BTreeMap<NodeId, usize>,
    ) -> Self {
        let (order, fixed) = (graph.order(), fixed(graph));
        let last = parts.len().saturating_sub(1);
        let moves =
            |id: &&NodeId| !matches!(graph.node(**id).op, Op::Input(_)) && !fixed.contains(*id);
        let place_of = |id: &NodeId| (*id, place.get(id).map_or(last, |at| *at.min(&last)));
        Self {
            place: order.iter().filter(moves).map(place_of).collect(),
            graph,
            order,
            parts,
        }
    }

    fn part(&self, at: usize) -> Result<Part, GraphError> {
        let (name, per) = self.parts[at];
        let outputs = self.outputs(at);
        let shown = match at + 1 == self.parts.len() {
            true => self.graph.name.clone(),
            false => format!("{}.{name}", self.graph.name),
        };
        let mut graph = Graph::new(shown);
        graph.doc.clone_from(&self.graph.doc);
        graph.sizes = self.graph.sizes.clone();
        let mut made = BTreeMap::new();
        for id in self.needed(at) {
            let (op, inputs) = self.node(at, id, &made);
            let node = self.graph.node(id);
            let copy = graph.add(&node.name, op, &inputs, node.origin.clone())?;
            made.insert(id, copy);
        }
        for (name, id) in &outputs {
            graph.output(name, made[id]);
        }
        drop_sizes(&mut graph);
        Ok(Part {
            name,
            per,
            graph,
            reuse: None,
        })
    }

    /// The graph's outputs that a part makes, and what it hands on, in order.
    fn outputs(&self, at: usize) -> Vec<(String, NodeId)> {
        let last = self.parts.len() - 1;
        let own = |id: &NodeId| self.place.get(id).map_or(at == last, |place| *place == at);
        let of_graph = self.graph.graph_outputs().iter();
        let mut outputs: Vec<_> = of_graph.filter(|(_, id)| own(id)).cloned().collect();
        for id in &self.order {
            let later = |user: &NodeId| self.place.get(user).is_some_and(|place| *place > at);
            if self.place.get(id) == Some(&at) && self.graph.users_of(*id).iter().any(later) {
                let name = self.graph.node(*id).name.clone();
                if outputs.iter().all(|(known, _)| *known != name) {
                    outputs.push((name, *id));
                }
            }
        }
        outputs
    }

    /// The values a part's graph holds: what it makes, what that reads, and before all the inputs. An input that nobody
    /// reads stays with the last part.
    fn needed(&self, at: usize) -> Vec<NodeId> {
        let made = self.place.iter().filter(|(_, place)| **place == at);
        let mut needed: BTreeSet<NodeId> = made.map(|(id, _)| *id).collect();
        needed.extend(self.outputs(at).into_iter().map(|(_, id)| id));
        let mut open: Vec<NodeId> = needed.iter().copied().collect();
        while let Some(id) = open.pop() {
            if self.received(at, id) {
                continue;
            }
            for input in self.graph.inputs_of(id).into_iter().flatten() {
                if needed.insert(input) {
                    open.push(input);
                }
            }
        }
        if at == self.parts.len() - 1 {
            let unread = |id: &&NodeId| self.graph.users_of(**id).is_empty();
            needed.extend(self.graph.graph_inputs().iter().filter(unread));
        }
        let is_input = |id: &NodeId| matches!(self.graph.node(*id).op, Op::Input(_));
        let ordered = self.order.iter().copied().filter(|id| needed.contains(id));
        let (inputs, rest): (Vec<_>, Vec<_>) = ordered.partition(is_input);
        let (received, rest): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|id| self.received(at, *id));
        [inputs, received, rest].concat()
    }

    /// Whether an earlier part makes it.
    fn received(&self, at: usize, id: NodeId) -> bool {
        self.place.get(&id).is_some_and(|place| *place < at)
    }

    fn node(
        &self,
        at: usize,
        id: NodeId,
        made: &BTreeMap<NodeId, NodeId>,
    ) -> (Op, Vec<Option<NodeId>>) {
        let node = self.graph.node(id);
        if let Some(place) = self.place.get(&id).filter(|place| **place < at) {
            let input = Input {
                dtype: node.fact.dtype,
                shape: node.fact.shape.clone(),
                source: None,
                per: self.parts[*place].1,
            };
            return (input.into(), Vec::new());
        }
        let inputs = self.graph.inputs_of(id).into_iter();
        let inputs = inputs.map(|input| input.map(|input| made[&input]));
        (node.op.clone(), inputs.collect())
    }
}

/// Forgets the sizes that no type in the graph speaks of.
fn drop_sizes(graph: &mut Graph) {
    let facts = graph
        .order()
        .into_iter()
        .map(|id| graph.node(id).fact.clone());
    let sizes = facts.flat_map(|fact| fact.shape);
    let mut open: Vec<String> = sizes.flat_map(|size| names(&size)).collect();
    let mut known = BTreeSet::new();
    while let Some(name) = open.pop() {
        if known.insert(name.clone())
            && let Some(range) = graph.sizes.0.get(&name)
        {
            open.extend(range.one_of.iter().flat_map(names));
        }
    }
    graph.sizes.0.retain(|name, _| known.contains(name));
}

fn names(size: &Size) -> Vec<String> {
    size.symbols().map(str::to_owned).collect()
}
