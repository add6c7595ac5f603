//! Weight expressions: how a tensor of the checkpoint becomes an initializer.

use ltxc_ir::{Dtype, Graph, NodeId, Op};

/// A step from what the checkpoint stores to what the graph reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another shape, the same bytes.
    Reshape(Vec<usize>),
    /// Axes in another order.
    Transpose(Vec<usize>),
}

/// An initializer to be streamed: which tensor, through which steps, into which element type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightPlan {
    /// Name of the initializer.
    pub name: String,
    /// Key in the checkpoint.
    pub key: String,
    /// Element type in the checkpoint.
    pub stored: Dtype,
    /// Element type in the bundle.
    pub written: Dtype,
    /// Shape in the checkpoint.
    pub shape: Vec<usize>,
    /// Shape in the bundle.
    pub final_shape: Vec<usize>,
    /// What happens in between.
    pub steps: Vec<Step>,
    /// Where it begins in the data file.
    pub offset: u64,
}

impl WeightPlan {
    /// Bytes in the data file.
    pub fn bytes(&self) -> u64 {
        self.final_shape.iter().map(|n| *n as u64).product::<u64>() * self.written.bytes()
    }
}

/// A weight and the steps on it, if the value depends on nothing else and only moves elements.
pub fn weight_expression(graph: &Graph, id: NodeId) -> Option<(NodeId, Vec<Step>)> {
    let step = match &graph.node(id).op {
        Op::Weight(_) => return Some((id, Vec::new())),
        Op::Reshape(_) => Step::Reshape(graph.node(id).fact.const_shape()?),
        Op::Transpose(op) => Step::Transpose(op.perm.clone()),
        _ => return None,
    };
    let input = graph.inputs_of(id).first().copied().flatten()?;
    let (weight, mut steps) = weight_expression(graph, input)?;
    steps.push(step);
    Some((weight, steps))
}
