//! What a component computes once for a video.
//!
//! A value that depends only on inputs that stay the same for a whole video (`per: video`) need not be computed at every
//! step. [`hoist`] chooses which of them are computed once and kept. Kept are the last of them on the way to the steps,
//! but for what costs more memory than it saves work: a view of a kept value, or one that only moves or combines
//! elements and is larger than what it is made of, is made anew at every step.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::attrs::Per;
use ltxc_ir::{Graph, GraphError, NodeId, Op, Size, Sizes, drop_dead};

use super::split::{Part, fixed, split};

/// What run-time sizes count for where two shapes are compared.
const TYPICAL: i64 = 64;

/// The parts of a graph: `once`, where something is worth computing once for a video, and `step`, which is the graph
/// itself where nothing is.
pub fn hoist(mut graph: Graph) -> Result<Vec<Part>, GraphError> {
    drop_dead(&mut graph);
    let kept = worth_keeping(&graph);
    if kept.is_empty() {
        return Ok(vec![whole(graph)]);
    }
    let place: BTreeMap<NodeId, usize> = kept.into_iter().map(|id| (id, 0)).collect();
    split(&graph, &[("once", Per::Video), ("step", Per::Step)], &place)
}

/// A graph in one part.
pub fn whole(mut graph: Graph) -> Part {
    graph.reuse = None;
    Part {
        name: "step",
        per: Per::Step,
        graph,
        reuse: None,
    }
}

/// Bytes of what a part hands on, as a size.
pub fn held_bytes(part: &Graph) -> Size {
    let bytes = |id: NodeId| {
        let fact = &part.node(id).fact;
        fact.elements() * Size::from(fact.dtype.bytes() as i64)
    };
    let outputs = part.graph_outputs().iter();
    outputs.fold(Size::from(0), |sum, (_, id)| sum + bytes(*id))
}

/// The values to compute once: none if that saves no work.
pub(super) fn worth_keeping(graph: &Graph) -> BTreeSet<NodeId> {
    let mut choice = Choice::new(graph);
    while let Some(id) = choice.cheaper_in_the_step() {
        choice.once.remove(&id);
    }
    let works = |id: &NodeId| cost(&graph.node(*id).op) == Cost::Work;
    match choice.once.iter().any(works) {
        true => choice.once,
        false => BTreeSet::new(),
    }
}

struct Choice<'g> {
    graph: &'g Graph,
    /// Values that are computed once, without the inputs.
    once: BTreeSet<NodeId>,
}

impl<'g> Choice<'g> {
    /// Everything that may be computed once.
    fn new(graph: &'g Graph) -> Self {
        let fixed = fixed(graph);
        let mut steady = BTreeSet::new();
        for id in graph.order() {
            let mut inputs = graph.inputs_of(id).into_iter().flatten();
            let steady_inputs =
                inputs.all(|input| steady.contains(&input) || fixed.contains(&input));
            let is_steady = match &graph.node(id).op {
                Op::Input(input) => input.per == Per::Video,
                _ => steady_inputs && !fixed.contains(&id),
            };
            if is_steady {
                steady.insert(id);
            }
        }
        let is_input = |id: &NodeId| matches!(graph.node(*id).op, Op::Input(_));
        Self {
            once: steady.into_iter().filter(|id| !is_input(id)).collect(),
            graph,
        }
    }

    /// A value that steps read and that is better made there, if there is one.
    fn cheaper_in_the_step(&self) -> Option<NodeId> {
        let read_by_steps_only = |id: &&NodeId| {
            let users = self.graph.users_of(**id);
            users.iter().all(|user| !self.once.contains(user))
        };
        let mut edge = self.once.iter().filter(read_by_steps_only);
        edge.find(|id| self.is_cheaper_in_the_step(**id)).copied()
    }

    fn is_cheaper_in_the_step(&self, id: NodeId) -> bool {
        match cost(&self.graph.node(id).op) {
            Cost::View => true,
            Cost::Work => false,
            Cost::Light => self.bytes(id) > self.bytes_to_keep_instead(id),
        }
    }

    /// What has to be kept for the steps to make a value. Inputs are given to every step anyway.
    fn bytes_to_keep_instead(&self, id: NodeId) -> i64 {
        let inputs = self.graph.inputs_of(id).into_iter().flatten();
        let kept_now = |input: &NodeId| {
            let users = self.graph.users_of(*input).into_iter();
            let mut others = users.filter(|user| *user != id);
            others.any(|user| !self.once.contains(&user)) || self.graph.is_output(*input)
        };
        let new = inputs.filter(|input| self.once.contains(input) && !kept_now(input));
        let new: BTreeSet<NodeId> = new.collect();
        new.into_iter()
            .map(|id| self.bytes(id))
            .fold(0, i64::saturating_add)
    }

    fn bytes(&self, id: NodeId) -> i64 {
        let fact = &self.graph.node(id).fact;
        let sizes = &self.graph.sizes;
        let elements = fact.elements().eval(&|name| Some(typical(sizes, name)));
        let elements = elements.unwrap_or(i64::MAX);
        elements.saturating_mul(fact.dtype.bytes() as i64)
    }
}

/// A number for a size whose value only the run knows: of several it may equal, the last.
fn typical(sizes: &Sizes, name: &str) -> i64 {
    let Some(range) = sizes.0.get(name) else {
        return TYPICAL;
    };
    let last = range.one_of.last();
    let other = last.and_then(|size| size.eval(&|other| (other != name).then_some(TYPICAL)));
    other.unwrap_or_else(|| TYPICAL.clamp(range.min, range.max))
}

/// What an operation costs beside the memory of its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cost {
    /// Nothing.
    View,
    /// About as much as reading and writing it.
    Light,
    /// More.
    Work,
}

fn cost(op: &Op) -> Cost {
    match op {
        Op::Input(_) | Op::Weight(_) | Op::Constant(_) | Op::Reshape(_) | Op::Identity(_) => {
            Cost::View
        }
        Op::Iota(_)
        | Op::Linspace(_)
        | Op::Add(_)
        | Op::Sub(_)
        | Op::Mul(_)
        | Op::Div(_)
        | Op::Min(_)
        | Op::Max(_)
        | Op::Less(_)
        | Op::Where(_)
        | Op::Neg(_)
        | Op::Abs(_)
        | Op::Floor(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Select(_)
        | Op::Concat(_)
        | Op::Expand(_)
        | Op::Pad(_)
        | Op::Cast(_)
        | Op::Gather(_) => Cost::Light,
        Op::Pow(_)
        | Op::Exp(_)
        | Op::Log(_)
        | Op::Sqrt(_)
        | Op::Sin(_)
        | Op::Cos(_)
        | Op::Sigmoid(_)
        | Op::Tanh(_)
        | Op::Silu(_)
        | Op::Gelu(_)
        | Op::Mean(_)
        | Op::Softmax(_)
        | Op::Matmul(_)
        | Op::Linear(_)
        | Op::Conv3d(_)
        | Op::RmsNorm(_)
        | Op::LayerNorm(_)
        | Op::GroupNorm(_)
        | Op::Rope(_)
        | Op::Sdpa(_)
        | Op::OrtMultiHeadAttention(_)
        | Op::OnnxAttention(_)
        | Op::OnnxRotaryEmbedding(_)
        | Op::WeightScale(_)
        | Op::Quantize(_)
        | Op::Dequantize(_)
        | Op::OrtPackNibbles(_)
        | Op::OrtMatmulNbits(_)
        | Op::OrtDynamicQuantizeMatmul(_)
        | Op::TrtFp4DynamicQuantize(_) => Cost::Work,
    }
}
