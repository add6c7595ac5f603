//! The graph: nodes with one result each, connected by ports.
//!
//! petgraph holds it; no petgraph type leaves this module. Inputs of a node are its incoming edges, each labelled
//! with the port it feeds. Everything that reads a graph in order uses [`Graph::order`], which depends on the
//! outputs and ports only, never on when a node was made.

use std::collections::{BTreeSet, HashMap};

use petgraph::Direction;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use thiserror::Error;

use crate::fact::Fact;
use crate::infer::{InferError, infer};
use crate::op::Op;
use crate::sizes::Sizes;

/// A node, and the value it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(crate) NodeIndex);

/// Where a node comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// `file:line` of its source.
    pub source: Option<String>,
    /// The rule that made it.
    pub rule: Option<String>,
}

/// An operation in a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Unique name of its value.
    pub name: String,
    /// What it computes.
    pub op: Op,
    /// Type of its value.
    pub fact: Fact,
    /// Where it comes from.
    pub origin: Origin,
}

/// Why a node could not be added.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum GraphError {
    /// The operation has no type on these inputs.
    #[error("`{name}`: {source}")]
    Infer {
        /// The node.
        name: String,
        /// Why.
        source: InferError,
    },
    /// The name is taken.
    #[error("`{0}` is defined twice")]
    Duplicate(String),
}

/// Values between which a run may use the work of an earlier step again: names of nodes, each after the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// What the first block changes.
    pub start: String,
    /// What it makes of that.
    pub first: String,
    /// What the blocks after it make.
    pub last: String,
}

/// A typed operation graph with named inputs and outputs.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// Name of the graph.
    pub name: String,
    /// One sentence on what it computes.
    pub doc: String,
    /// The run-time sizes.
    pub sizes: Sizes,
    /// Where a step's work may be used again, if anywhere.
    pub reuse: Option<Reuse>,
    net: StableDiGraph<Node, usize>,
    names: HashMap<String, NodeIndex>,
    inputs: Vec<NodeId>,
    outputs: Vec<(String, NodeId)>,
}

impl Graph {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Adds a node; its type is inferred.
    pub fn add(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[Option<NodeId>],
        origin: Origin,
    ) -> Result<NodeId, GraphError> {
        if self.names.contains_key(name) {
            return Err(GraphError::Duplicate(name.to_owned()));
        }
        let facts: Vec<Option<&Fact>> = inputs
            .iter()
            .map(|id| id.map(|id| &self.node(id).fact))
            .collect();
        let fact = infer(&op, &facts, &self.sizes).map_err(|source| GraphError::Infer {
            name: name.to_owned(),
            source,
        })?;
        let is_input = matches!(op, Op::Input(_));
        let index = self.net.add_node(Node {
            name: name.to_owned(),
            op,
            fact,
            origin,
        });
        for (port, input) in inputs.iter().enumerate() {
            if let Some(input) = input {
                self.net.add_edge(input.0, index, port);
            }
        }
        self.names.insert(name.to_owned(), index);
        if is_input {
            self.inputs.push(NodeId(index));
        }
        Ok(NodeId(index))
    }

    /// Names a value as an output; outputs keep their order.
    pub fn output(&mut self, name: &str, value: NodeId) {
        self.outputs.push((name.to_owned(), value));
    }

    /// The node behind an id of this graph.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.net[id.0]
    }

    /// Whether the id still stands for a node.
    pub fn contains(&self, id: NodeId) -> bool {
        self.net.contains_node(id.0)
    }

    /// The node of that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.names.get(name).map(|index| NodeId(*index))
    }

    /// Values by port; `None` where an optional port is empty.
    pub fn inputs_of(&self, id: NodeId) -> Vec<Option<NodeId>> {
        let mut ports = Vec::new();
        for edge in self.net.edges_directed(id.0, Direction::Incoming) {
            let port = *edge.weight();
            if ports.len() <= port {
                ports.resize(port + 1, None);
            }
            ports[port] = Some(NodeId(edge.source()));
        }
        ports
    }

    /// The nodes that read a value, each once.
    pub fn users_of(&self, id: NodeId) -> BTreeSet<NodeId> {
        self.net
            .neighbors_directed(id.0, Direction::Outgoing)
            .map(NodeId)
            .collect()
    }

    /// Whether the value is an output.
    pub fn is_output(&self, id: NodeId) -> bool {
        self.outputs.iter().any(|(_, value)| *value == id)
    }

    /// The graph's inputs in the order they were declared.
    pub fn graph_inputs(&self) -> &[NodeId] {
        &self.inputs
    }

    /// The graph's outputs in order, by name.
    pub fn graph_outputs(&self) -> &[(String, NodeId)] {
        &self.outputs
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.net.node_count()
    }

    /// Whether it has no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every node, graph inputs first, then each value after what it reads.
    pub fn order(&self) -> Vec<NodeId> {
        let mut order = self.inputs.clone();
        let mut placed: BTreeSet<NodeId> = order.iter().copied().collect();
        for (_, output) in &self.outputs {
            self.place(*output, &mut placed, &mut order);
        }
        order
    }

    /// Depth first without recursion: graphs are thousands of nodes deep.
    fn place(&self, root: NodeId, placed: &mut BTreeSet<NodeId>, order: &mut Vec<NodeId>) {
        let mut stack = vec![(
            root,
            self.inputs_of(root)
                .into_iter()
                .flatten()
                .collect::<Vec<_>>(),
            0,
        )];
        if placed.contains(&root) {
            return;
        }
        while let Some((id, inputs, next)) = stack.last_mut() {
            let Some(input) = inputs.get(*next).copied() else {
                if placed.insert(*id) {
                    order.push(*id);
                }
                stack.pop();
                continue;
            };
            *next += 1;
            if !placed.contains(&input) {
                stack.push((
                    input,
                    self.inputs_of(input).into_iter().flatten().collect(),
                    0,
                ));
            }
        }
    }

    /// Types the node's operation anew from its inputs' types.
    pub fn infer_again(&self, id: NodeId) -> Result<Fact, InferError> {
        let inputs = self.inputs_of(id);
        let facts: Vec<Option<&Fact>> = inputs
            .iter()
            .map(|id| id.map(|id| &self.node(id).fact))
            .collect();
        infer(&self.node(id).op, &facts, &self.sizes)
    }

    /// All nodes, in no useful order, also unused ones.
    pub(crate) fn all(&self) -> impl Iterator<Item = NodeId> {
        self.net.node_indices().map(NodeId)
    }

    /// Lets every reader of `old`, outputs too, read `new`.
    pub(crate) fn redirect(&mut self, old: NodeId, new: NodeId) {
        let readers: Vec<_> = self
            .net
            .edges_directed(old.0, Direction::Outgoing)
            .map(|e| (e.id(), e.target(), *e.weight()))
            .collect();
        for (edge, reader, port) in readers {
            self.net.remove_edge(edge);
            self.net.add_edge(new.0, reader, port);
        }
        for (_, value) in &mut self.outputs {
            if *value == old {
                *value = new;
            }
        }
    }

    /// Removes nodes that no output needs; graph inputs stay. Returns how many went.
    pub(crate) fn sweep(&mut self) -> usize {
        let live: BTreeSet<NodeId> = self.order().into_iter().collect();
        let dead: Vec<NodeId> = self.all().filter(|id| !live.contains(id)).collect();
        for id in &dead {
            if let Some(node) = self.net.remove_node(id.0) {
                self.names.remove(&node.name);
            }
        }
        dead.len()
    }

    /// Removes one node nobody reads.
    pub(crate) fn remove_unread(&mut self, id: NodeId) -> bool {
        let unread = self
            .net
            .neighbors_directed(id.0, Direction::Outgoing)
            .next()
            .is_none()
            && !self.is_output(id);
        if unread && let Some(node) = self.net.remove_node(id.0) {
            self.names.remove(&node.name);
        }
        unread
    }

    pub(crate) fn rename(&mut self, id: NodeId, name: &str) {
        let old = std::mem::replace(&mut self.net[id.0].name, name.to_owned());
        self.names.remove(&old);
        self.names.insert(name.to_owned(), id.0);
    }

    pub(crate) fn is_acyclic(&self) -> bool {
        !petgraph::algo::is_cyclic_directed(&self.net)
    }
}
