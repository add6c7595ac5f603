//! Patches: the only way to change a graph.
//!
//! A rule describes new nodes and what they replace; applying the patch checks that every replaced value keeps its
//! type, lets its readers read the new value, gives the new value the old name and removes what nobody needs.

use thiserror::Error;

use crate::fact::Fact;
use crate::graph::{Graph, GraphError, Node, NodeId, Origin};
use crate::op::Op;

/// A value a patch can name: one of the graph, or one the patch makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A value of the graph.
    Old(NodeId),
    /// The n-th node of the patch.
    New(usize),
}

impl From<NodeId> for Value {
    fn from(id: NodeId) -> Self {
        Self::Old(id)
    }
}

/// Why a patch was refused: always a bug in the rule that made it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PatchError {
    /// A new node has no type.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// The replacement has another type.
    #[error("`{name}` is {old}, its replacement is {new}")]
    Type {
        /// The replaced value.
        name: String,
        /// Its type.
        old: Fact,
        /// The replacement's type.
        new: Fact,
    },
}

/// A planned change.
#[derive(Clone, Debug, Default)]
pub struct Patch {
    nodes: Vec<(String, Op, Vec<Option<Value>>)>,
    replacements: Vec<(NodeId, Value)>,
}

impl Patch {
    /// An empty patch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Plans a node; `hint` ends its name.
    pub fn add(&mut self, hint: &str, op: impl Into<Op>, inputs: &[Value]) -> Value {
        self.add_with_gaps(
            hint,
            op,
            &inputs.iter().copied().map(Some).collect::<Vec<_>>(),
        )
    }

    /// Plans a node whose optional ports may be empty.
    pub fn add_with_gaps(
        &mut self,
        hint: &str,
        op: impl Into<Op>,
        inputs: &[Option<Value>],
    ) -> Value {
        self.nodes
            .push((hint.to_owned(), op.into(), inputs.to_vec()));
        Value::New(self.nodes.len() - 1)
    }

    /// Plans that readers of `old` read `new`.
    pub fn replace(mut self, old: NodeId, new: impl Into<Value>) -> Self {
        self.replacements.push((old, new.into()));
        self
    }

    /// Applies the patch on behalf of `rule`.
    pub fn apply(self, graph: &mut Graph, rule: &str) -> Result<(), PatchError> {
        let root = self
            .replacements
            .first()
            .map(|(old, _)| graph.node(*old).clone());
        let mut made = Vec::new();
        for (hint, op, inputs) in self.nodes {
            let name = free_name(graph, root.as_ref(), &hint);
            let inputs: Vec<_> = inputs
                .into_iter()
                .map(|v| v.map(|v| resolve(v, &made)))
                .collect();
            let origin = Origin {
                source: root.as_ref().and_then(|n| n.origin.source.clone()),
                rule: Some(rule.to_owned()),
            };
            made.push(graph.add(&name, op, &inputs, origin)?);
        }
        for (old, new) in self.replacements {
            replace(graph, old, resolve(new, &made), &made)?;
        }
        Ok(())
    }
}

fn resolve(value: Value, made: &[NodeId]) -> NodeId {
    match value {
        Value::Old(id) => id,
        Value::New(i) => made[i],
    }
}

fn replace(graph: &mut Graph, old: NodeId, new: NodeId, made: &[NodeId]) -> Result<(), PatchError> {
    let (before, after) = (&graph.node(old).fact, &graph.node(new).fact);
    if before != after {
        let name = graph.node(old).name.clone();
        return Err(PatchError::Type {
            name,
            old: before.clone(),
            new: after.clone(),
        });
    }
    graph.redirect(old, new);
    let name = graph.node(old).name.clone();
    remove_chain(graph, old);
    if made.contains(&new) && graph.find(&name).is_none() {
        graph.rename(new, &name);
    }
    Ok(())
}

/// Removes a node nobody reads, then what only it read; graph inputs stay.
fn remove_chain(graph: &mut Graph, root: NodeId) {
    let mut candidates = vec![root];
    while let Some(id) = candidates.pop() {
        if !graph.contains(id) || matches!(graph.node(id).op, Op::Input(_)) {
            continue;
        }
        let inputs = graph.inputs_of(id);
        if graph.remove_unread(id) {
            candidates.extend(inputs.into_iter().flatten());
        }
    }
}

fn free_name(graph: &Graph, root: Option<&Node>, hint: &str) -> String {
    let base = root.map_or_else(|| hint.to_owned(), |node| format!("{}.{hint}", node.name));
    let mut name = base.clone();
    let mut n = 2;
    while graph.find(&name).is_some() {
        name = format!("{base}_{n}");
        n += 1;
    }
    name
}

/// Removes every node that no output needs. Returns how many went.
pub fn drop_dead(graph: &mut Graph) -> usize {
    graph.sweep()
}
