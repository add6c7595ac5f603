//! Tying a graph's weights to the tensors of a checkpoint.
//!
//! Every weight must be there with its shape, and every tensor must be used or named as deliberately unused; all
//! mistakes are collected, each with the key, what was expected and what was found.

use std::collections::BTreeSet;

use ltxc_ir::{Dtype, Fact, Graph, NodeId, Op, Patch, PatchError};
use thiserror::Error;

use crate::checkpoint::{self, Checkpoint, TensorInfo};

/// Mistakes and keys listed in one message before the rest is counted.
pub const LISTED: usize = 10;

/// Why a checkpoint does not fit a graph.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum BindError {
    /// The checkpoint lacks a tensor.
    #[error("weight `{key}` ({expected}) is missing from the checkpoint{hint}")]
    Missing {
        /// The key in the original dialect.
        key: String,
        /// The type the graph needs.
        expected: Fact,
        /// A near key, if there is one.
        hint: String,
    },
    /// The tensor has another shape.
    #[error("weight `{key}`{}: expected {expected}, found {found}", in_file(.key, .source_key))]
    Shape {
        /// The key in the original dialect.
        key: String,
        /// The key in the file.
        source_key: String,
        /// The type the graph needs.
        expected: Fact,
        /// What is stored.
        found: String,
    },
    /// The element type cannot be used as a weight.
    #[error("weight `{key}`: {found} cannot be used where {expected} is needed")]
    Dtype {
        /// The key in the original dialect.
        key: String,
        /// The type the graph needs.
        expected: Fact,
        /// What is stored.
        found: String,
    },
    /// Tensors that nothing uses.
    #[error("no graph uses {} of the checkpoint: {listed}", if *.count == 1 { "this tensor".to_owned() } else { format!("these {count} tensors") })]
    Extra {
        /// How many.
        count: usize,
        /// The first of them.
        listed: String,
    },
    /// A replacement was refused; a bug.
    #[error(transparent)]
    Patch(#[from] PatchError),
}

/// A tensor's name in the file, where that is another.
fn in_file(key: &str, source_key: &str) -> String {
    if key == source_key {
        return String::new();
    }
    format!(" (in the file `{source_key}`)")
}

/// Writes into every weight of the graph what the checkpoint stores for it.
pub fn bind(graph: &mut Graph, checkpoint: &Checkpoint) -> Result<(), Vec<BindError>> {
    let mut errors = Vec::new();
    for id in graph.order() {
        // Looking for near keys takes a while, and nobody reads a thousand hints.
        let hints = errors.len() < LISTED;
        if let Err(error) = bind_weight(graph, id, checkpoint, hints) {
            errors.push(error);
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(errors)
    }
}

fn bind_weight(
    graph: &mut Graph,
    id: NodeId,
    checkpoint: &Checkpoint,
    hints: bool,
) -> Result<(), BindError> {
    let node = graph.node(id);
    let Op::Weight(weight) = &node.op else {
        return Ok(());
    };
    let expected = node.fact.clone();
    let Some(tensor) = checkpoint.tensor(&weight.key) else {
        let hint = match hints {
            true => near_key(&weight.key, checkpoint),
            false => String::new(),
        };
        return Err(BindError::Missing {
            key: weight.key.clone(),
            expected,
            hint,
        });
    };
    let stored = match check(tensor, &expected)? {
        // What is computed from eight bits needs more than eight.
        Dtype::F8e4m3 if checkpoint.is_computed(&weight.key) => Dtype::Bf16,
        stored => stored,
    };
    let bound = ltxc_ir::op::Weight {
        stored: Some(stored),
        ..weight.clone()
    };
    let mut patch = Patch::new();
    let new = patch.add("bound", bound, &[]);
    Ok(patch.replace(id, new).apply(graph, "bind")?)
}

fn check(tensor: &TensorInfo, expected: &Fact) -> Result<Dtype, BindError> {
    let found = format!("{}{:?}", tensor.dtype, tensor.shape);
    let key = tensor.key.clone();
    if expected.const_shape().as_ref() != Some(&tensor.shape) {
        return Err(BindError::Shape {
            key,
            source_key: tensor.source_key.clone(),
            expected: expected.clone(),
            found,
        });
    }
    stored_type(tensor.dtype).ok_or_else(|| BindError::Dtype {
        key,
        expected: expected.clone(),
        found,
    })
}

/// The IR's name of a stored element type, for the float types that weights come in.
pub fn stored_type(dtype: checkpoint::Dtype) -> Option<Dtype> {
    match dtype {
        checkpoint::Dtype::F32 => Some(Dtype::F32),
        checkpoint::Dtype::F16 => Some(Dtype::F16),
        checkpoint::Dtype::BF16 => Some(Dtype::Bf16),
        checkpoint::Dtype::F8E4M3 => Some(Dtype::F8e4m3),
        _ => None,
    }
}

/// A key of the checkpoint that ends alike, for the hint.
fn near_key(key: &str, checkpoint: &Checkpoint) -> String {
    let tail = key.rsplit('.').take(3).collect::<Vec<_>>();
    let alike = |other: &&TensorInfo| other.key.rsplit('.').take(3).eq(tail.iter().copied());
    let found = checkpoint.tensors().find(alike);
    found.map_or_else(String::new, |tensor| {
        format!("; it has `{}`", tensor.source_key)
    })
}

/// Every weight key a graph reads.
pub fn weight_keys(graph: &Graph) -> BTreeSet<String> {
    let key = |id: NodeId| match &graph.node(id).op {
        Op::Weight(weight) => Some(weight.key.clone()),
        _ => None,
    };
    graph.order().into_iter().filter_map(key).collect()
}

/// Fails if a tensor is neither used nor matched by a pattern (`*` at the end matches any rest).
pub fn check_extra(
    checkpoint: &Checkpoint,
    used: &BTreeSet<String>,
    unused: &[String],
) -> Result<(), BindError> {
    let matches = |key: &str, pattern: &String| match pattern.strip_suffix('*') {
        Some(start) => key.starts_with(start),
        None => key == pattern,
    };
    let extra = |tensor: &&TensorInfo| {
        !used.contains(&tensor.key) && !unused.iter().any(|p| matches(&tensor.key, p))
    };
    let extra: Vec<&str> = checkpoint
        .tensors()
        .filter(extra)
        .map(|tensor| tensor.source_key.as_str())
        .collect();
    if extra.is_empty() {
        return Ok(());
    }
    let mut listed = extra[..extra.len().min(LISTED)].join(", ");
    if extra.len() > LISTED {
        listed.push_str(", ..");
    }
    Err(BindError::Extra {
        count: extra.len(),
        listed,
    })
}
