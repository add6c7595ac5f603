//! The shape of a model: inputs, nodes, initializers, outputs.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::attrs::Literal;
use ltxc_ir::op::Constant;
use ltxc_ir::{Dtype, Fact, Graph, NodeId, Op, Size, Verified, narrow};
use prost::Message;
use thiserror::Error;

use super::order::file_order;
use super::proto::*;
use super::weight::{WeightPlan, weight_expression};

/// What a target's ONNX looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// Version of the default operator set.
    pub opset: i64,
    /// Version of the file format.
    pub ir_version: i64,
    /// Whether 16-bit weights are written as stored and widened by a `Cast`; 8-bit ones then take 16.
    pub half_weights: bool,
    /// Whether 8-bit weights are written as stored and widened by a `DequantizeLinear`.
    pub fp8_weights: bool,
    /// Whether 8-bit integers that are computed are written without a sign, with 128 for 0.
    pub unsigned_int8: bool,
}

/// The scale of a weight by its key, where it has one.
pub type Scales<'a> = &'a dyn Fn(&str) -> Option<f32>;

/// Why a graph has no ONNX form.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OnnxError {
    /// A rule should have lowered it.
    #[error("`{node}`: `{op}` has no ONNX form of its own; the target's passes must lower it")]
    NotLowered {
        /// The node.
        node: String,
        /// Its operation.
        op: &'static str,
    },
    /// A size at run time cannot be computed from the inputs.
    #[error("`{node}`: the size `{size}` cannot be computed from the graph's inputs")]
    Size {
        /// The node.
        node: String,
        /// The size.
        size: String,
    },
    /// A weight was not bound to a checkpoint.
    #[error("weight `{0}` is bound to no checkpoint")]
    Unbound(String),
}

/// The data file of one or more models. A weight that several read in the same form lies in it once.
#[derive(Clone, Debug, Default)]
pub struct DataFile {
    /// Its name, beside the models.
    pub name: String,
    /// Initializers in its order.
    pub weights: Vec<WeightPlan>,
    /// Its length.
    pub bytes: u64,
}

impl DataFile {
    /// An empty one.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }
}

/// Writes a graph as an encoded `ModelProto` whose weights join those of the data file.
pub fn emit(
    graph: &Verified,
    dialect: &Dialect,
    data: &mut DataFile,
    scales: Scales<'_>,
) -> Result<Vec<u8>, OnnxError> {
    let mut emitter = Emitter::new(graph, dialect, data, scales);
    let folded = emitter.folded_weights();
    for id in graph.order() {
        if !folded.contains(&id) {
            emitter.node(id)?;
        }
    }
    emitter.outputs();
    Ok(emitter.finish())
}

pub(super) struct Emitter<'g> {
    pub(super) graph: &'g Graph,
    pub(super) dialect: &'g Dialect,
    pub(super) data: &'g mut DataFile,
    pub(super) scales: Scales<'g>,
    pub(super) proto: GraphProto,
    domains: BTreeSet<&'static str>,
    /// Constants and computed sizes by content, so that each exists once.
    pub(super) shared: BTreeMap<String, String>,
}

impl<'g> Emitter<'g> {
    fn new(
        graph: &'g Graph,
        dialect: &'g Dialect,
        data: &'g mut DataFile,
        scales: Scales<'g>,
    ) -> Self {
        let proto = GraphProto {
            name: graph.name.clone(),
            doc_string: graph.doc.clone(),
            ..GraphProto::default()
        };
        Self {
            graph,
            dialect,
            data,
            scales,
            proto,
            domains: BTreeSet::new(),
            shared: BTreeMap::new(),
        }
    }

    /// What only weight expressions read: weights, and all that is streamed into longer expressions.
    fn folded_weights(&self) -> BTreeSet<NodeId> {
        let mut folded = BTreeSet::new();
        for id in self.graph.order().into_iter().rev() {
            let users = self.graph.users_of(id);
            let inside = |user: &NodeId| {
                folded.contains(user) || weight_expression(self.graph, *user).is_some()
            };
            if !users.is_empty() && !self.graph.is_output(id) && users.iter().all(inside) {
                folded.insert(id);
            }
        }
        folded
    }

    fn node(&mut self, id: NodeId) -> Result<(), OnnxError> {
        let node = self.graph.node(id);
        if let Some((weight, steps)) = weight_expression(self.graph, id) {
            return self.weight(id, weight, steps);
        }
        match &node.op {
            Op::Input(_) => self.proto.input.push(value_info(&node.name, &node.fact)),
            Op::Constant(constant) => {
                let tensor = constant_tensor(&node.name, constant);
                self.proto.initializer.push(tensor);
            }
            _ => self.operation(id)?,
        }
        Ok(())
    }

    /// Adds a node of the default domain.
    pub(super) fn push(
        &mut self,
        op_type: &str,
        inputs: &[String],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) {
        self.push_in("", op_type, inputs, output, attribute);
    }

    /// Adds a node; trailing empty inputs are left out.
    pub(super) fn push_in(
        &mut self,
        domain: &'static str,
        op_type: &str,
        inputs: &[String],
        output: &str,
        attribute: Vec<AttributeProto>,
    ) {
        let used = inputs
            .iter()
            .rposition(|input| !input.is_empty())
            .map_or(0, |last| last + 1);
        self.push_all(domain, op_type, &inputs[..used], &[output], attribute);
    }

    /// Adds a node with any number of outputs, named after the first.
    pub(super) fn push_all(
        &mut self,
        domain: &'static str,
        op_type: &str,
        inputs: &[String],
        outputs: &[&str],
        attribute: Vec<AttributeProto>,
    ) {
        self.domains.insert(domain);
        self.proto.node.push(NodeProto {
            input: inputs.to_vec(),
            output: outputs.iter().map(|name| (*name).to_owned()).collect(),
            name: outputs.first().copied().unwrap_or_default().to_owned(),
            op_type: op_type.to_owned(),
            attribute,
            domain: domain.to_owned(),
        });
    }

    /// The name of an i64 vector constant.
    pub(super) fn ints(&mut self, values: &[i64]) -> String {
        let shape = vec![Size::from(values.len() as i64)];
        self.constant(Constant {
            dtype: Dtype::I64,
            shape,
            data: Literal::Ints(values.to_vec()),
        })
    }

    /// The name of an i64 scalar constant.
    pub(super) fn int(&mut self, value: i64) -> String {
        self.constant(Constant {
            dtype: Dtype::I64,
            shape: Vec::new(),
            data: Literal::Ints(vec![value]),
        })
    }

    /// The name of an f32 scalar constant.
    pub(super) fn float(&mut self, value: f32) -> String {
        self.scalar(Dtype::F32, value)
    }

    /// The name of a scalar constant of a float type.
    pub(super) fn scalar(&mut self, dtype: Dtype, value: f32) -> String {
        self.constant(Constant {
            dtype,
            shape: Vec::new(),
            data: Literal::Floats(vec![value]),
        })
    }

    /// The name of a scalar constant of any type but those of 4 bits.
    pub(super) fn whole(&mut self, dtype: Dtype, value: u8) -> String {
        self.constant(Constant {
            dtype,
            shape: Vec::new(),
            data: Literal::Ints(vec![value.into()]),
        })
    }

    /// The name of a vector of `n` times `value`.
    pub(super) fn filled(&mut self, dtype: Dtype, value: f32, n: &Size) -> String {
        self.constant(Constant {
            dtype,
            shape: vec![n.clone()],
            data: Literal::Floats(vec![value]),
        })
    }

    fn constant(&mut self, constant: Constant) -> String {
        let content = format!("{constant:?}");
        if let Some(name) = self.shared.get(&content) {
            return name.clone();
        }
        let name = format!("constant.{}", self.shared.len());
        self.proto
            .initializer
            .push(constant_tensor(&name, &constant));
        self.shared.insert(content, name.clone());
        name
    }

    /// An output whose name differs from its value's gets an `Identity`.
    fn outputs(&mut self) {
        for (name, id) in self.graph.graph_outputs() {
            let node = self.graph.node(*id);
            if *name != node.name {
                self.push(
                    "Identity",
                    std::slice::from_ref(&node.name),
                    name,
                    Vec::new(),
                );
            }
            self.proto.output.push(value_info(name, &node.fact));
        }
    }

    fn finish(mut self) -> Vec<u8> {
        let outputs = self.proto.output.iter().map(|port| port.name.as_str());
        let nodes = std::mem::take(&mut self.proto.node);
        self.proto.node = file_order(nodes, outputs);
        let version = |domain: &&str| {
            if domain.is_empty() {
                self.dialect.opset
            } else {
                1
            }
        };
        let default = BTreeSet::from([""]);
        let opset_import = self.domains.union(&default).map(|domain| OperatorSetId {
            domain: (*domain).to_owned(),
            version: version(domain),
        });
        let model = ModelProto {
            ir_version: self.dialect.ir_version,
            producer_name: "ltxc".to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
            opset_import: opset_import.collect(),
            graph: Some(self.proto),
        };
        model.encode_to_vec()
    }
}

fn value_info(name: &str, fact: &Fact) -> ValueInfoProto {
    let dimension = |size: &Size| match size.as_const() {
        Some(n) => Dimension {
            dim_value: Some(n),
            dim_param: None,
        },
        None => Dimension {
            dim_value: None,
            dim_param: Some(size.to_string()),
        },
    };
    let shape = TensorShape {
        dim: fact.shape.iter().map(dimension).collect(),
    };
    let tensor_type = TensorType {
        elem_type: element_type(fact.dtype),
        shape: Some(shape),
    };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto {
            tensor_type: Some(tensor_type),
        }),
    }
}

fn constant_tensor(name: &str, constant: &Constant) -> TensorProto {
    let dims: Vec<i64> = constant.shape.iter().filter_map(Size::as_const).collect();
    let elements = dims.iter().product::<i64>().max(0) as usize;
    let at = |i: usize| if constant.data.len() == 1 { 0 } else { i };
    let raw = (0..elements).flat_map(|i| match &constant.data {
        Literal::Floats(values) => encode(constant.dtype, f64::from(values[at(i)])),
        Literal::Ints(values) if constant.dtype == Dtype::I64 => {
            values[at(i)].to_le_bytes().to_vec()
        }
        Literal::Ints(values) => encode(constant.dtype, values[at(i)] as f64),
    });
    TensorProto {
        dims,
        data_type: element_type(constant.dtype),
        name: name.to_owned(),
        raw_data: Some(raw.collect()),
        ..TensorProto::default()
    }
}

fn encode(dtype: Dtype, value: f64) -> Vec<u8> {
    match dtype {
        Dtype::F32 => (value as f32).to_le_bytes().to_vec(),
        Dtype::F16 => half::f16::from_f64(value).to_le_bytes().to_vec(),
        Dtype::Bf16 => half::bf16::from_f64(value).to_le_bytes().to_vec(),
        Dtype::I64 => (value as i64).to_le_bytes().to_vec(),
        Dtype::I32 => (value as i32).to_le_bytes().to_vec(),
        Dtype::I8 => (value as i8).to_le_bytes().to_vec(),
        Dtype::F8e4m3 => vec![narrow::f8e4m3_bits(value as f32)],
        Dtype::U8 => vec![value as u8],
        // A constant of 4 bits would be packed; no rule makes one.
        Dtype::Bool | Dtype::I4 | Dtype::F4e2m1 => vec![u8::from(value != 0.0)],
    }
}
