//! The verifier: what every later stage may rely on.
//!
//! - every value has a unique, non-empty name without spaces;
//! - every node has the type its operation infers from its inputs;
//! - every symbol in a type is a declared size, every range is sane;
//! - the graph has outputs, output names are unique, nothing runs in a circle.
//!
//! All errors are collected.

use std::collections::BTreeSet;
use std::ops::Deref;

use thiserror::Error;

use crate::fact::Fact;
use crate::graph::{Graph, NodeId};

/// One broken rule.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum VerifyError {
    /// A node's type is not what its operation infers.
    #[error("`{name}` is typed {found}, its operation makes {expected}")]
    Type {
        /// The node.
        name: String,
        /// Its recorded type.
        found: Fact,
        /// The inferred one.
        expected: Fact,
    },
    /// A node's operation has no type.
    #[error("`{name}`: {why}")]
    Untyped {
        /// The node.
        name: String,
        /// Why.
        why: String,
    },
    /// A type uses a size nobody declared.
    #[error("`{name}` uses the size `{size}`, which is not declared")]
    Size {
        /// The node.
        name: String,
        /// The unknown size.
        size: String,
    },
    /// Anything about the graph as a whole.
    #[error("{0}")]
    Graph(String),
}

/// A graph the verifier accepted; code generation takes nothing else.
#[derive(Clone, Debug)]
pub struct Verified(Graph);

impl Verified {
    /// Gives the graph back for further rewriting.
    pub fn into_inner(self) -> Graph {
        self.0
    }
}

impl Deref for Verified {
    type Target = Graph;
    fn deref(&self) -> &Graph {
        &self.0
    }
}

/// Checks a graph and seals it.
pub fn verify(graph: Graph) -> Result<Verified, Vec<VerifyError>> {
    let errors = check(&graph);
    if errors.is_empty() {
        Ok(Verified(graph))
    } else {
        Err(errors)
    }
}

/// Every broken rule of a graph.
pub fn check(graph: &Graph) -> Vec<VerifyError> {
    if !graph.is_acyclic() {
        return vec![VerifyError::Graph("values run in a circle".to_owned())];
    }
    let mut errors = check_interface(graph);
    for id in graph.order() {
        check_node(graph, id, &mut errors);
    }
    errors
}

fn check_interface(graph: &Graph) -> Vec<VerifyError> {
    let mut errors = Vec::new();
    let mut seen = BTreeSet::new();
    if graph.graph_outputs().is_empty() {
        errors.push(VerifyError::Graph("the graph has no outputs".to_owned()));
    }
    for (name, _) in graph.graph_outputs() {
        if !seen.insert(name) {
            errors.push(VerifyError::Graph(format!(
                "two outputs are named `{name}`"
            )));
        }
    }
    let reuse = graph.reuse.iter();
    for name in reuse.flat_map(|reuse| [&reuse.start, &reuse.first, &reuse.last]) {
        if graph.find(name).is_none() {
            let why = format!("`{name}` is to be used again and is no value");
            errors.push(VerifyError::Graph(why));
        }
    }
    for (name, range) in &graph.sizes.0 {
        if range.min < 1 || range.max < range.min {
            errors.push(VerifyError::Graph(format!(
                "size `{name}` cannot be {}..{}",
                range.min, range.max
            )));
        }
    }
    errors
}

fn check_node(graph: &Graph, id: NodeId, errors: &mut Vec<VerifyError>) {
    let node = graph.node(id);
    if node.name.is_empty()
        || node
            .name
            .contains(|c: char| c.is_whitespace() || c == ',' || c == ')')
    {
        errors.push(VerifyError::Graph(format!(
            "`{}` is no name for a value",
            node.name
        )));
    }
    for size in &node.fact.shape {
        for symbol in size
            .symbols()
            .filter(|symbol| !graph.sizes.0.contains_key(*symbol))
        {
            errors.push(VerifyError::Size {
                name: node.name.clone(),
                size: symbol.to_owned(),
            });
        }
    }
    match graph.infer_again(id) {
        Ok(expected) if expected == node.fact => {}
        Ok(expected) => errors.push(VerifyError::Type {
            name: node.name.clone(),
            found: node.fact.clone(),
            expected,
        }),
        Err(why) => errors.push(VerifyError::Untyped {
            name: node.name.clone(),
            why: why.to_string(),
        }),
    }
}
