//! Weight expressions: how a tensor of the checkpoint becomes an initializer, and that one a value.

use std::sync::Arc;

use ltxc_ir::attrs::Literal;
use ltxc_ir::op::{Constant, Quantize, WeightScale};
use ltxc_ir::{Dtype, Graph, Node, NodeId, Op, narrow, resolve_axis};

use super::emit::{DataFile, Dialect, Emitter, OnnxError};
use super::proto::*;

/// Tensors start at multiples of this in the data file, so that a runtime can map each by pages.
const ALIGNMENT: u64 = 4096;
/// Smaller tensors start at multiples of this.
const SMALL_ALIGNMENT: u64 = 64;

/// A step from what the checkpoint stores to what the graph reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Another shape, the same bytes.
    Reshape(Vec<usize>),
    /// Axes in another order.
    Transpose(Vec<usize>),
    /// Another element type, rounded to the nearest even.
    Cast(Dtype),
    /// The scales of the numbers, for a quantised type.
    Scale(Quantized),
    /// The numbers in a quantised type, by those scales.
    Quantize(Quantized),
    /// Numbers of 4 bits plus 8, two to a byte, in this shape.
    Pack(Vec<usize>),
}

/// How a weight is quantised.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantized {
    /// The element type.
    pub to: Dtype,
    /// What shares a scale.
    pub scales: Shared,
    /// The number that the largest magnitude becomes.
    pub largest: u16,
    /// Whether the scales are those of a block, each a number of `f8e4m3` by one scale that all share.
    pub rounded: bool,
    /// What the positions of a row are multiplied with before.
    pub columns: Option<Arc<[f32]>>,
}

/// Which numbers of a weight share a scale: those that stream together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shared {
    /// All.
    All,
    /// Those of a row: all positions of the first axis.
    Row,
    /// So many in a row of a matrix.
    Block(usize),
}

impl Quantized {
    /// `None` for axes that do not stream.
    fn new(by: &WeightScale, rank: usize) -> Option<Self> {
        let most = narrow::largest(by.to)? as u16;
        let axis = by.axis.and_then(|axis| resolve_axis(axis, rank));
        let scales = match (by.axis, axis, by.block) {
            (None, _, None) => Shared::All,
            (_, Some(0), None) => Shared::Row,
            (_, Some(1), Some(block)) if rank == 2 => Shared::Block(block),
            _ => return None,
        };
        Some(Self {
            to: by.to,
            scales,
            largest: by.largest.unwrap_or(most),
            rounded: false,
            columns: None,
        })
    }

    /// The shape of the scales of a weight.
    pub fn scale_shape(&self, shape: &[usize]) -> Vec<usize> {
        match self.scales {
            Shared::All => Vec::new(),
            Shared::Row => shape[..1].to_vec(),
            Shared::Block(block) => vec![shape[0], shape[1] / block],
        }
    }
}

impl Step {
    /// Whether elements change their order.
    pub fn moves(&self) -> bool {
        matches!(self, Self::Transpose(_))
    }

    /// Whether it is the numbers that are computed on; that comes first, before anything moves.
    pub fn computes(&self) -> bool {
        matches!(self, Self::Scale(_) | Self::Quantize(_))
    }

    /// The same on numbers whose columns are multiplied before.
    fn after(self, columns: Arc<[f32]>) -> Self {
        let with = |by| Quantized {
            columns: Some(columns),
            ..by
        };
        match self {
            Self::Scale(by) => Self::Scale(with(by)),
            Self::Quantize(by) => Self::Quantize(with(by)),
            other => other,
        }
    }

    /// Whether the shape or the order of elements changes, not the elements.
    pub fn rearranges(&self) -> bool {
        matches!(self, Self::Transpose(_) | Self::Reshape(_))
    }
}

/// An initializer to be streamed: which tensor, through which steps, into which element type.
#[derive(Clone, Debug, PartialEq)]
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
    /// Whether the graph multiplies by the scale of the weight, if it has one.
    pub scale_in_graph: bool,
    /// Where it begins in the data file.
    pub offset: u64,
}

impl WeightPlan {
    /// Bytes in the data file.
    pub fn bytes(&self) -> u64 {
        self.written
            .bytes_of(self.final_shape.iter().map(|n| *n as u64).product())
    }
}

/// A weight and the steps on it, if the value depends on nothing else and can be written as it is.
pub fn weight_expression(graph: &Graph, id: NodeId) -> Option<(NodeId, Vec<Step>)> {
    let step = match &graph.node(id).op {
        Op::Weight(_) => return Some((id, Vec::new())),
        Op::Reshape(_) => Step::Reshape(graph.node(id).fact.const_shape()?),
        Op::Transpose(op) => Step::Transpose(op.perm.clone()),
        Op::WeightScale(op) => Step::Scale(Quantized::new(op, rank_of_input(graph, id))?),
        Op::Quantize(op) => Step::Quantize(quantized_by(graph, id, op)?),
        Op::OrtPackNibbles(_) => Step::Pack(graph.node(id).fact.const_shape()?),
        Op::Cast(op) if matches!(op.to, Dtype::F16 | Dtype::Bf16) => Step::Cast(op.to),
        _ => return None,
    };
    let input = graph.inputs_of(id).first().copied().flatten()?;
    if let (Some(weight), true) = (smoothed(graph, input), step.computes()) {
        return Some((weight.0, vec![step.after(weight.1)]));
    }
    let (weight, mut steps) = weight_expression(graph, input)?;
    // Scales may have scales of their own; what is packed stays as it is.
    let of_scales = matches!(steps.as_slice(), [Step::Scale(_)]);
    let packed = steps.iter().any(|step| matches!(step, Step::Pack(_)));
    if step.computes() && !steps.is_empty() && !of_scales || packed {
        return None;
    }
    steps.push(step);
    Some((weight, steps))
}

/// A weight whose columns are multiplied with constants.
fn smoothed(graph: &Graph, id: NodeId) -> Option<(NodeId, Arc<[f32]>)> {
    let Op::Mul(_) = &graph.node(id).op else {
        return None;
    };
    let [Some(weight), Some(columns)] = *graph.inputs_of(id).as_slice() else {
        return None;
    };
    match (&graph.node(weight).op, &graph.node(columns).op) {
        (
            Op::Weight(_),
            Op::Constant(Constant {
                shape,
                data: Literal::Floats(data),
                ..
            }),
        ) if graph.node(weight).fact.rank() == 2 && shape.len() == 1 => {
            Some((weight, data.as_slice().into()))
        }
        _ => None,
    }
}

fn rank_of_input(graph: &Graph, id: NodeId) -> usize {
    let input = graph.inputs_of(id).first().copied().flatten();
    input.map_or(0, |id| graph.node(id).fact.rank())
}

/// How a value is quantised, if its scales are its own.
fn quantized_by(graph: &Graph, id: NodeId, op: &Quantize) -> Option<Quantized> {
    let ports = graph.inputs_of(id);
    let given = ports.get(1).copied().flatten()?;
    let scale = rounded_scale(graph, given).unwrap_or(given);
    let Op::WeightScale(by) = &graph.node(scale).op else {
        return None;
    };
    let same = by.to == op.to && by.axis == op.axis && by.block == op.block;
    let own = graph.inputs_of(scale).first() == ports.first();
    let quantized = Quantized::new(by, rank_of_input(graph, id)).filter(|_| same && own)?;
    Some(Quantized {
        rounded: scale != given,
        ..quantized
    })
}

/// The scales `s` of `dequantize(quantize(s, t), t)`, where `t = weight_scale(s)` of `f8e4m3`.
fn rounded_scale(graph: &Graph, id: NodeId) -> Option<NodeId> {
    let pair = |id: NodeId| match *graph.inputs_of(id).as_slice() {
        [Some(a), Some(b)] => Some((a, b)),
        _ => None,
    };
    let Op::Dequantize(_) = &graph.node(id).op else {
        return None;
    };
    let (numbers, whole) = pair(id)?;
    let Op::Quantize(op) = &graph.node(numbers).op else {
        return None;
    };
    let (scale, by) = pair(numbers)?;
    let Op::WeightScale(of_scale) = &graph.node(whole).op else {
        return None;
    };
    let plain = op.axis.is_none() && of_scale.axis.is_none() && of_scale.largest.is_none();
    let own = graph.inputs_of(whole) == [Some(scale)] && by == whole;
    let f8 = op.to == Dtype::F8e4m3 && of_scale.to == op.to;
    (plain && own && f8).then_some(scale)
}

impl Dialect {
    /// The element type in the data file of a weight that is stored as one type and read as another.
    fn written(&self, stored: Dtype, read: Dtype) -> Dtype {
        match stored {
            Dtype::F8e4m3 if self.fp8_weights => stored,
            Dtype::F8e4m3 if self.half_weights && read == Dtype::F32 => Dtype::Bf16,
            Dtype::F16 | Dtype::Bf16 if self.half_weights && read == Dtype::F32 => stored,
            _ => read,
        }
    }
}

impl DataFile {
    /// Where a weight begins: where it is already, or behind all others.
    fn place(&mut self, plan: &WeightPlan) -> u64 {
        let here = |known: &WeightPlan| WeightPlan {
            name: plan.name.clone(),
            offset: plan.offset,
            ..known.clone()
        };
        let same = |known: &&WeightPlan| known.key == plan.key && here(known) == *plan;
        if let Some(known) = self.weights.iter().find(same) {
            return known.offset;
        }
        let alignment = if plan.bytes() >= ALIGNMENT {
            ALIGNMENT
        } else {
            SMALL_ALIGNMENT
        };
        let offset = self.bytes.next_multiple_of(alignment);
        self.bytes = offset + plan.bytes();
        self.weights.push(WeightPlan {
            offset,
            ..plan.clone()
        });
        offset
    }
}

impl Emitter<'_> {
    /// Plans an initializer in the data file, and a `Cast` where it is written narrower than it is read.
    pub(super) fn weight(
        &mut self,
        id: NodeId,
        weight: NodeId,
        steps: Vec<Step>,
    ) -> Result<(), OnnxError> {
        let (node, source) = (self.graph.node(id), self.graph.node(weight));
        let Op::Weight(op) = &source.op else {
            return Err(OnnxError::Unbound(source.name.clone()));
        };
        let stored = op
            .stored
            .ok_or_else(|| OnnxError::Unbound(op.key.clone()))?;
        let computes = steps.first().is_some_and(Step::computes);
        let written = match computes {
            true => node.fact.dtype,
            false => self.dialect.written(stored, node.fact.dtype),
        };
        let name = if written == node.fact.dtype {
            node.name.clone()
        } else {
            format!("{}.stored", node.name)
        };
        let unbound = || OnnxError::Unbound(op.key.clone());
        let shape = source.fact.const_shape().ok_or_else(unbound)?;
        let final_shape = node.fact.const_shape().ok_or_else(unbound)?;
        let mut plan = WeightPlan {
            name: name.clone(),
            key: op.key.clone(),
            stored,
            written,
            shape,
            final_shape,
            steps,
            scale_in_graph: stored == Dtype::F8e4m3 && written != node.fact.dtype,
            offset: 0,
        };
        plan.offset = self.data.place(&plan);
        self.proto.initializer.push(self.external_tensor(&plan));
        if written != node.fact.dtype {
            self.widen(&plan, node);
        }
        Ok(())
    }

    /// What makes an initializer that is written narrow the value that the graph reads.
    fn widen(&mut self, plan: &WeightPlan, node: &Node) {
        let scale = (self.scales)(&plan.key).filter(|_| plan.scale_in_graph);
        if plan.written == Dtype::F8e4m3 {
            let scale = self.scalar(node.fact.dtype, scale.unwrap_or(1.0));
            let inputs = [plan.name.clone(), scale];
            return self.push("DequantizeLinear", &inputs, &node.name, Vec::new());
        }
        let to = AttributeProto::int("to", element_type(node.fact.dtype).into());
        let inputs = [plan.name.clone()];
        match scale {
            None => self.push("Cast", &inputs, &node.name, vec![to]),
            Some(scale) => {
                let unscaled = format!("{}.unscaled", node.name);
                self.push("Cast", &inputs, &unscaled, vec![to]);
                let scale = self.float(scale);
                self.push("Mul", &[unscaled, scale], &node.name, Vec::new());
            }
        }
    }

    fn external_tensor(&self, plan: &WeightPlan) -> TensorProto {
        let entry = |key: &str, value: String| StringStringEntry {
            key: key.to_owned(),
            value,
        };
        TensorProto {
            dims: plan.final_shape.iter().map(|n| *n as i64).collect(),
            data_type: element_type(plan.written),
            name: plan.name.clone(),
            doc_string: plan.key.clone(),
            external_data: vec![
                entry("location", self.data.name.clone()),
                entry("offset", plan.offset.to_string()),
                entry("length", plan.bytes().to_string()),
            ],
            data_location: Some(EXTERNAL),
            ..TensorProto::default()
        }
    }
}

#[cfg(test)]
mod tests;
