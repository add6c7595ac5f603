//! The ONNX form of every operation.

use ltxc_ir::op::{
    GeluKind, OnnxRotaryEmbedding, OrtMatmulNbits, PadMode, RopePairs, TrtFp4DynamicQuantize,
};
use ltxc_ir::{Dtype, Node, NodeId, Op, Size, resolve_axis};

use super::emit::{Emitter, OnnxError};
use super::proto::{AttributeProto, element_type};
use super::weight::weight_expression;

/// Names of a node's inputs; empty where an optional port is.
type Names = Vec<String>;

impl Emitter<'_> {
    pub(super) fn operation(&mut self, id: NodeId) -> Result<(), OnnxError> {
        let node = self.graph.node(id).clone();
        let inputs = self.input_names(id);
        if let Some(op_type) = plain(&node.op) {
            self.push(op_type, &inputs, &node.name, Vec::new());
            return Ok(());
        }
        match &node.op {
            Op::Reshape(_) | Op::Expand(_) | Op::Iota(_) => self.sized(id, &node, inputs),
            Op::RmsNorm(_) | Op::LayerNorm(_) | Op::GroupNorm(_) => self.norm(id, &node, inputs),
            Op::Conv3d(_) | Op::Gelu(_) | Op::Softmax(_) => self.layer(&node, inputs),
            Op::OrtMultiHeadAttention(_) | Op::OnnxAttention(_) => self.attention(&node, inputs),
            Op::OnnxRotaryEmbedding(op) => self.rotary(op, &node, &inputs),
            Op::OrtDynamicQuantizeMatmul(_) => self.dynamic_product(&node, inputs),
            Op::Quantize(_) | Op::Dequantize(_) => self.scaled(id, &node, inputs),
            Op::TrtFp4DynamicQuantize(op) => self.there_and_back(op, &node, &inputs),
            Op::OrtMatmulNbits(op) => self.product_of_bits(op, id, &node, inputs),
            _ => self.movement(id, &node, inputs),
        }
    }

    fn input_names(&self, id: NodeId) -> Names {
        let name = |input: Option<NodeId>| {
            input.map_or_else(String::new, |id| self.graph.node(id).name.clone())
        };
        self.graph.inputs_of(id).into_iter().map(name).collect()
    }

    fn input_shape(&self, id: NodeId) -> Vec<Size> {
        let first = self.graph.inputs_of(id).first().copied().flatten();
        first
            .map(|id| self.graph.node(id).fact.shape.clone())
            .unwrap_or_default()
    }

    /// Operations whose result needs a size.
    fn sized(&mut self, id: NodeId, node: &Node, mut inputs: Names) -> Result<(), OnnxError> {
        let from = self.input_shape(id);
        match &node.op {
            Op::Reshape(op) => {
                inputs.push(self.reshape_target(id, &from, &op.to)?);
                self.push("Reshape", &inputs, &node.name, Vec::new());
            }
            Op::Expand(op) => {
                inputs.push(self.expand_target(id, &from, &op.to)?);
                self.push("Expand", &inputs, &node.name, Vec::new());
            }
            _ => self.iota(id, node)?,
        }
        Ok(())
    }

    /// Axes that keep their size are 1 in the target, so that only a new size has to be known.
    fn expand_target(
        &mut self,
        id: NodeId,
        from: &[Size],
        to: &[Size],
    ) -> Result<String, OnnxError> {
        let lead = to.len() - from.len();
        let kept = |axis: usize| axis >= lead && from[axis - lead] == to[axis];
        let target: Vec<Size> = (0..to.len())
            .map(|axis| {
                if kept(axis) {
                    Size::from(1)
                } else {
                    to[axis].clone()
                }
            })
            .collect();
        match target
            .iter()
            .map(Size::as_const)
            .collect::<Option<Vec<i64>>>()
        {
            Some(numbers) => Ok(self.ints(&numbers)),
            None => self.shape_vector(id, &target),
        }
    }

    fn iota(&mut self, id: NodeId, node: &Node) -> Result<(), OnnxError> {
        let n = self.size_value(id, &node.fact.shape[0])?;
        let (end, zero, one) = (format!("{}.end", node.name), self.int(0), self.int(1));
        let empty = self.ints(&[0]);
        self.push("Squeeze", &[n, empty], &end, Vec::new());
        if node.fact.dtype == Dtype::I64 {
            self.push("Range", &[zero, end, one], &node.name, Vec::new());
            return Ok(());
        }
        let whole = format!("{}.whole", node.name);
        self.push("Range", &[zero, end, one], &whole, Vec::new());
        self.push("Cast", &[whole], &node.name, vec![cast_to(node.fact.dtype)]);
        Ok(())
    }

    /// Operations that only move elements.
    fn movement(&mut self, id: NodeId, node: &Node, mut inputs: Names) -> Result<(), OnnxError> {
        let rank = self.input_shape(id).len();
        match &node.op {
            Op::Transpose(op) => {
                let perm = AttributeProto::ints("perm", op.perm.iter().map(|axis| *axis as i64));
                self.push("Transpose", &inputs, &node.name, vec![perm]);
            }
            Op::Slice(op) => {
                let ends = op.end.unwrap_or(i64::MAX);
                inputs.extend([
                    self.ints(&[op.start]),
                    self.ints(&[ends]),
                    self.ints(&[op.axis]),
                ]);
                self.push("Slice", &inputs, &node.name, Vec::new());
            }
            Op::Select(op) => {
                inputs.push(self.int(op.index));
                self.push(
                    "Gather",
                    &inputs,
                    &node.name,
                    vec![AttributeProto::int("axis", op.axis)],
                );
            }
            Op::Gather(op) => self.push(
                "Gather",
                &inputs,
                &node.name,
                vec![AttributeProto::int("axis", op.axis)],
            ),
            Op::Concat(op) => self.push(
                "Concat",
                &inputs,
                &node.name,
                vec![AttributeProto::int("axis", op.axis)],
            ),
            Op::Pad(op) => {
                let axis = resolve_axis(op.axis, rank).unwrap_or(0);
                let mut pads = vec![0; 2 * rank];
                (pads[axis], pads[rank + axis]) = (op.before as i64, op.after as i64);
                inputs.push(self.ints(&pads));
                let mode = match op.mode {
                    PadMode::Edge => "edge",
                    PadMode::Zero => "constant",
                };
                self.push(
                    "Pad",
                    &inputs,
                    &node.name,
                    vec![AttributeProto::text("mode", mode)],
                );
            }
            Op::Mean(op) => {
                inputs.push(self.ints(&op.axes));
                self.push(
                    "ReduceMean",
                    &inputs,
                    &node.name,
                    vec![AttributeProto::int("keepdims", 1)],
                );
            }
            Op::Cast(op) => self.push("Cast", &inputs, &node.name, vec![cast_to(op.to)]),
            _ => return Err(not_lowered(node)),
        }
        Ok(())
    }

    /// Convolutions and activations.
    fn layer(&mut self, node: &Node, inputs: Names) -> Result<(), OnnxError> {
        let (op_type, attributes) = match &node.op {
            Op::Conv3d(op) => {
                let numbers = |values: [usize; 3]| values.map(|v| v as i64);
                let strides = AttributeProto::ints("strides", numbers(op.stride));
                let pads = AttributeProto::ints(
                    "pads",
                    numbers(op.pad).into_iter().chain(numbers(op.pad)),
                );
                ("Conv", vec![strides, pads])
            }
            Op::Gelu(op) => {
                let approximate = match op.approximate {
                    GeluKind::Tanh => "tanh",
                    GeluKind::Erf => "none",
                };
                (
                    "Gelu",
                    vec![AttributeProto::text("approximate", approximate)],
                )
            }
            Op::Softmax(op) => ("Softmax", vec![AttributeProto::int("axis", op.axis)]),
            _ => return Err(not_lowered(node)),
        };
        self.push(op_type, &inputs, &node.name, attributes);
        Ok(())
    }

    /// Norms, in the forms that have an operator.
    fn norm(&mut self, id: NodeId, node: &Node, mut inputs: Names) -> Result<(), OnnxError> {
        let shape = self.input_shape(id);
        let (op_type, eps) = match &node.op {
            Op::RmsNorm(op) => {
                if resolve_axis(op.axis, shape.len()) != shape.len().checked_sub(1) {
                    return Err(not_lowered(node));
                }
                self.fill_scale(&mut inputs, node.fact.dtype, &shape);
                ("RMSNormalization", op.eps)
            }
            Op::LayerNorm(op) => {
                self.fill_scale(&mut inputs, node.fact.dtype, &shape);
                ("LayerNormalization", op.eps)
            }
            Op::GroupNorm(op) => {
                let alone = shape.get(1).and_then(Size::as_const) == i64::try_from(op.groups).ok();
                let weighted = inputs.iter().skip(1).any(|name| !name.is_empty());
                if !alone || weighted || shape.len() < 3 {
                    return Err(not_lowered(node));
                }
                inputs.truncate(1);
                let dtype = node.fact.dtype;
                inputs.extend([1.0, 0.0].map(|value| self.filled(dtype, value, &shape[1])));
                ("InstanceNormalization", op.eps)
            }
            _ => return Err(not_lowered(node)),
        };
        let eps = AttributeProto::float("epsilon", eps);
        self.push(op_type, &inputs, &node.name, vec![eps]);
        Ok(())
    }

    /// ONNX norms need a scale: ones where the graph has none.
    fn fill_scale(&mut self, inputs: &mut Names, dtype: Dtype, shape: &[Size]) {
        inputs.resize(inputs.len().max(2), String::new());
        if let (true, Some(last)) = (inputs[1].is_empty(), shape.last()) {
            inputs[1] = self.filled(dtype, 1.0, last);
        }
    }

    /// One head as wide as the last axis.
    fn rotary(
        &mut self,
        op: &OnnxRotaryEmbedding,
        node: &Node,
        inputs: &[String],
    ) -> Result<(), OnnxError> {
        let interleaved = i64::from(op.pairs == RopePairs::Interleaved);
        let attributes = vec![
            AttributeProto::int("interleaved", interleaved),
            AttributeProto::int("num_heads", 1),
        ];
        self.push("RotaryEmbedding", inputs, &node.name, attributes);
        Ok(())
    }

    /// Weights are quantised around 0, so they have no zero points.
    fn dynamic_product(&mut self, node: &Node, mut inputs: Names) -> Result<(), OnnxError> {
        inputs.insert(3, String::new());
        let op_type = "DynamicQuantizeMatMul";
        self.push_in("com.microsoft", op_type, &inputs, &node.name, Vec::new());
        Ok(())
    }

    /// Where one scale serves all, a zero point is written, from which ONNX Runtime takes the type when it fuses pairs.
    fn scaled(&mut self, id: NodeId, node: &Node, mut inputs: Names) -> Result<(), OnnxError> {
        let (op_type, axis, block, quantised) = match &node.op {
            Op::Quantize(op) => ("QuantizeLinear", op.axis, op.block, id),
            Op::Dequantize(op) => {
                let input = self.graph.inputs_of(id).first().copied().flatten();
                let input = input.ok_or_else(|| not_lowered(node))?;
                ("DequantizeLinear", op.axis, op.block, input)
            }
            _ => return Err(not_lowered(node)),
        };
        let block = block.map(|block| AttributeProto::int("block_size", block as i64));
        let named = axis.map(|axis| AttributeProto::int("axis", axis));
        let mut attributes: Vec<AttributeProto> = named.into_iter().chain(block).collect();
        match axis {
            None => inputs.push(self.zero_point(quantised)),
            Some(_) if quantised == id => {
                let to = element_type(node.fact.dtype).into();
                attributes.push(AttributeProto::int("output_dtype", to));
            }
            Some(_) => {}
        }
        self.push(op_type, &inputs, &node.name, attributes);
        Ok(())
    }

    /// Numbers and scales come out apart; the scales get the element type of the value before they take the numbers back.
    fn there_and_back(
        &mut self,
        op: &TrtFp4DynamicQuantize,
        node: &Node,
        inputs: &Names,
    ) -> Result<(), OnnxError> {
        let [_, whole] = inputs.as_slice() else {
            return Err(not_lowered(node));
        };
        let named = |what: &str| format!("{}.{what}", node.name);
        let [numbers, scales, wide] = ["numbers", "scales", "wide_scales"].map(named);
        let blocks = [("axis", -1), ("block_size", op.block as i64)];
        let blocks = blocks.map(|(name, value)| AttributeProto::int(name, value));
        let scale_type = AttributeProto::int("scale_type", element_type(Dtype::F8e4m3).into());
        let attributes = blocks.iter().cloned().chain([scale_type]).collect();
        let outputs = [numbers.as_str(), scales.as_str()];
        self.push_all(
            "trt",
            "TRT_FP4DynamicQuantize",
            inputs,
            &outputs,
            attributes,
        );
        self.push(
            "DequantizeLinear",
            &[scales, whole.clone()],
            &wide,
            Vec::new(),
        );
        let wide = match node.fact.dtype {
            Dtype::F32 => wide,
            to => {
                let to = AttributeProto::int("to", element_type(to).into());
                let narrow = format!("{}.narrow_scales", node.name);
                self.push("Cast", &[wide], &narrow, vec![to]);
                narrow
            }
        };
        self.push(
            "DequantizeLinear",
            &[numbers, wide],
            &node.name,
            blocks.to_vec(),
        );
        Ok(())
    }

    /// What stands for 0 among the numbers of a quantised value.
    fn zero_point(&mut self, id: NodeId) -> String {
        match self.loses_its_sign(id) {
            true => self.whole(Dtype::U8, 128),
            false => self.whole(self.graph.node(id).fact.dtype, 0),
        }
    }

    /// Whether numbers of `i8` are written as those of `u8` plus 128: they are computed, and nothing reads them but what
    /// takes them back.
    fn loses_its_sign(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let back = |user: &NodeId| matches!(self.graph.node(*user).op, Op::Dequantize(_));
        self.dialect.unsigned_int8
            && node.fact.dtype == Dtype::I8
            && matches!(node.op, Op::Quantize(_))
            && weight_expression(self.graph, id).is_none()
            && !self.graph.is_output(id)
            && self.graph.users_of(id).iter().all(back)
    }

    /// The numbers of a byte are those plus 8, which is the zero point where none is given.
    fn product_of_bits(
        &mut self,
        op: &OrtMatmulNbits,
        id: NodeId,
        node: &Node,
        mut inputs: Names,
    ) -> Result<(), OnnxError> {
        let last = |shape: &[Size]| shape.last().and_then(Size::as_const).unwrap_or(0);
        let shape = self.input_shape(id);
        let attributes = vec![
            AttributeProto::int("K", last(&shape)),
            AttributeProto::int("N", last(&node.fact.shape)),
            AttributeProto::int("bits", 4),
            AttributeProto::int("block_size", op.block as i64),
            AttributeProto::int("accuracy_level", op.accuracy_level.into()),
        ];
        // Between the scales and the bias stand zero points and an order of groups.
        inputs.splice(3..3, [String::new(), String::new()]);
        self.push_in(
            "com.microsoft",
            "MatMulNBits",
            &inputs,
            &node.name,
            attributes,
        );
        Ok(())
    }

    fn attention(&mut self, node: &Node, inputs: Names) -> Result<(), OnnxError> {
        let [q, k, v] = [&inputs[0], &inputs[1], &inputs[2]].map(String::clone);
        let mask = inputs.get(3).cloned().unwrap_or_default();
        match &node.op {
            Op::OrtMultiHeadAttention(op) => {
                let attributes = vec![
                    AttributeProto::int("num_heads", op.heads as i64),
                    AttributeProto::float("scale", op.scale),
                ];
                let inputs = [q, k, v, String::new(), String::new(), mask];
                self.push_in(
                    "com.microsoft",
                    "MultiHeadAttention",
                    &inputs,
                    &node.name,
                    attributes,
                );
            }
            Op::OnnxAttention(op) => {
                let heads = op.heads as i64;
                let attributes = vec![
                    AttributeProto::int("q_num_heads", heads),
                    AttributeProto::int("kv_num_heads", heads),
                    AttributeProto::float("scale", op.scale),
                ];
                self.push("Attention", &[q, k, v, mask], &node.name, attributes);
            }
            _ => return Err(not_lowered(node)),
        }
        Ok(())
    }
}

/// The node has no ONNX form yet.
fn not_lowered(node: &Node) -> OnnxError {
    OnnxError::NotLowered {
        node: node.name.clone(),
        op: node.op.name(),
    }
}

fn cast_to(dtype: Dtype) -> AttributeProto {
    AttributeProto::int("to", element_type(dtype).into())
}

/// Operations that are one ONNX operator of the same inputs without attributes.
fn plain(op: &Op) -> Option<&'static str> {
    Some(match op {
        Op::Add(_) => "Add",
        Op::Sub(_) => "Sub",
        Op::Mul(_) => "Mul",
        Op::Div(_) => "Div",
        Op::Pow(_) => "Pow",
        Op::Min(_) => "Min",
        Op::Max(_) => "Max",
        Op::Less(_) => "Less",
        Op::Where(_) => "Where",
        Op::Neg(_) => "Neg",
        Op::Abs(_) => "Abs",
        Op::Exp(_) => "Exp",
        Op::Log(_) => "Log",
        Op::Sqrt(_) => "Sqrt",
        Op::Sin(_) => "Sin",
        Op::Cos(_) => "Cos",
        Op::Floor(_) => "Floor",
        Op::Sigmoid(_) => "Sigmoid",
        Op::Tanh(_) => "Tanh",
        Op::Matmul(_) => "MatMul",
        Op::Identity(_) => "Identity",
        _ => return None,
    })
}
