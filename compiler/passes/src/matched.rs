//! What a rule sees of the graph: one node, its surroundings, and the target.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap};

use ltxc_ir::op::Constant;
use ltxc_ir::{Fact, Graph, NodeId, Op};

use crate::pattern::matches;
use crate::rule::{Declined, require};
use crate::target::Capabilities;

/// A node a rule may rewrite.
pub struct Match<'a> {
    graph: &'a Graph,
    root: NodeId,
    inputs: Vec<Option<NodeId>>,
    sweep: &'a Sweep,
    capabilities: &'a Capabilities,
}

impl<'a> Match<'a> {
    pub(crate) fn new(
        graph: &'a Graph,
        root: NodeId,
        sweep: &'a Sweep,
        capabilities: &'a Capabilities,
    ) -> Self {
        Self {
            graph,
            root,
            inputs: graph.inputs_of(root),
            sweep,
            capabilities,
        }
    }

    /// The node itself.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The node's operation.
    pub fn op(&self) -> &'a Op {
        &self.graph.node(self.root).op
    }

    /// The type of the node's value.
    pub fn fact(&self) -> &'a Fact {
        &self.graph.node(self.root).fact
    }

    /// The values it reads, by port.
    pub fn inputs(&self) -> &[Option<NodeId>] {
        &self.inputs
    }

    /// The value at port `i`.
    pub fn input(&self, i: usize) -> Option<NodeId> {
        self.inputs.get(i).copied().flatten()
    }

    /// The value at a port that is always given.
    pub fn required(&self, i: usize) -> Result<NodeId, Declined> {
        self.input(i)
            .ok_or_else(|| Declined::Because(format!("port {i} is empty")))
    }

    /// The node's name.
    pub fn name(&self) -> &'a str {
        &self.graph.node(self.root).name
    }

    /// The operation that makes any value.
    pub fn op_of(&self, id: NodeId) -> &'a Op {
        &self.graph.node(id).op
    }

    /// What the operation that makes any value reads, by port.
    pub fn inputs_of(&self, id: NodeId) -> Vec<Option<NodeId>> {
        self.graph.inputs_of(id)
    }

    /// The nodes that read the node's value.
    pub fn users(&self) -> BTreeSet<NodeId> {
        self.graph.users_of(self.root)
    }

    /// Whether the node's value is one of the graph's outputs.
    pub fn is_output(&self) -> bool {
        self.graph.is_output(self.root)
    }

    /// The value at port `i` of the operation that makes another.
    pub fn input_of(&self, id: NodeId, i: usize) -> Option<NodeId> {
        self.graph.inputs_of(id).get(i).copied().flatten()
    }

    /// Whether one operation reads a value, and nobody outside the graph.
    pub fn is_read_once(&self, id: NodeId) -> bool {
        self.graph.users_of(id).len() == 1 && !self.graph.is_output(id)
    }

    /// The type of any value.
    pub fn fact_of(&self, id: NodeId) -> &'a Fact {
        &self.graph.node(id).fact
    }

    /// The value, if it is a constant.
    pub fn constant(&self, id: NodeId) -> Option<&'a Constant> {
        match &self.graph.node(id).op {
            Op::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    /// The weight that a value is, or is a cast of, and its key.
    pub fn weight_of(&self, id: NodeId) -> Option<(NodeId, &'a str)> {
        match self.op_of(id) {
            Op::Weight(weight) => Some((id, weight.key.as_str())),
            Op::Cast(_) => self.weight_of(self.input_of(id, 0)?),
            _ => None,
        }
    }

    /// The key of the weight in the last product that makes a value, found along first inputs: norms, turns, cuts and
    /// casts lie between, and the product may be of any form.
    pub fn made_by(&self, mut id: NodeId) -> Option<&'a str> {
        loop {
            id = match self.op_of(id) {
                Op::Linear(_)
                | Op::Matmul(_)
                | Op::OrtMatmulNbits(_)
                | Op::OrtDynamicQuantizeMatmul(_) => break,
                _ => self.input_of(id, 0)?,
            };
        }
        let mut weight = self.input_of(id, 1)?;
        loop {
            match self.op_of(weight) {
                Op::Weight(weight) => return Some(weight.key.as_str()),
                _ => weight = self.input_of(weight, 0)?,
            }
        }
    }

    /// Declines if a pattern of the recipe names the node, or a weight that it reads by its key.
    pub fn require_not_in(&self, leave: &[String]) -> Result<(), Declined> {
        let inputs = self.inputs.iter().flatten();
        let keys = inputs.filter_map(|id| Some(self.weight_of(*id)?.1));
        self.require_none_in(leave, keys.chain([self.name()]))
    }

    /// Declines if a pattern of the recipe is one of the names of what would change.
    pub fn require_none_in<'n>(
        &self,
        leave: &[String],
        names: impl Iterator<Item = &'n str>,
    ) -> Result<(), Declined> {
        let names: Vec<&str> = names.collect();
        for pattern in leave {
            let left = names.iter().any(|name| matches(pattern, name));
            require!(!left, "the recipe leaves `{pattern}` as it is");
        }
        Ok(())
    }

    /// What the target can do.
    pub fn capabilities(&self) -> &'a Capabilities {
        self.capabilities
    }

    /// The first node with the same operation on the same inputs, if it stands before this one.
    pub fn earlier_twin(&self) -> Option<NodeId> {
        let same = |id: &NodeId| {
            self.sweep.place(*id) < self.sweep.place(self.root)
                && self.graph.contains(*id)
                && self.graph.node(*id).op == *self.op()
                && self.graph.inputs_of(*id) == self.inputs
        };
        match self.inputs.iter().flatten().next() {
            Some(input) => self
                .graph
                .users_of(*input)
                .into_iter()
                .filter(same)
                .min_by_key(|id| self.sweep.place(*id)),
            None => self.sweep.sources(self.graph, self.root).find(same),
        }
    }
}

/// Nodes without inputs, by name of the operation and type.
type Sources = HashMap<(&'static str, Fact), Vec<NodeId>>;

/// The order in which one sweep over the graph visits it.
pub(crate) struct Sweep {
    order: Vec<NodeId>,
    places: HashMap<NodeId, usize>,
    sources: OnceCell<Sources>,
}

impl Sweep {
    pub(crate) fn new(graph: &Graph) -> Self {
        let order = graph.order();
        let places = order.iter().enumerate().map(|(place, id)| (*id, place));
        Self {
            places: places.collect(),
            order,
            sources: OnceCell::new(),
        }
    }

    pub(crate) fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// Nodes made during the sweep come last.
    fn place(&self, id: NodeId) -> usize {
        self.places.get(&id).copied().unwrap_or(usize::MAX)
    }

    /// The nodes without inputs with the operation's name and the type of this one, in order; gathered when first asked for.
    fn sources(&self, graph: &Graph, like: NodeId) -> impl Iterator<Item = NodeId> {
        let sources = self.sources.get_or_init(|| self.gather_sources(graph));
        let node = graph.node(like);
        let found = sources.get(&(node.op.name(), node.fact.clone()));
        found.into_iter().flatten().copied()
    }

    fn gather_sources(&self, graph: &Graph) -> Sources {
        let mut sources = Sources::new();
        for id in self.order.iter().filter(|id| graph.contains(**id)) {
            if graph.inputs_of(*id).is_empty() {
                let node = graph.node(*id);
                sources
                    .entry((node.op.name(), node.fact.clone()))
                    .or_default()
                    .push(*id);
            }
        }
        sources
    }
}
