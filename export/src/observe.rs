//! Written models that also give out how far the inputs of their linear layers reach.
//!
//! A protocol buffer that is continued with another of the same message is their sum, so the nodes and outputs are
//! added behind a model as it is: nothing of it is written anew, and its weights stay where they are.

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;

use crate::onnx::proto::*;

/// `TensorProto.DataType` of f32 and i64.
const F32: i32 = 1;
const I64: i32 = 7;

/// The model cannot be observed.
#[derive(Debug, Error)]
#[error("it is no ONNX model: {0}")]
pub struct ObserveError(#[from] prost::DecodeError);

/// What reads one value: linear layers, by the keys of their weights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Keys of the weights.
    pub keys: Vec<String>,
    /// The output with the largest magnitude of the value, a scalar of f32.
    pub largest: String,
    /// The output with the magnitudes of some of its rows, where they are asked for.
    pub sample: Option<String>,
}

/// What to add behind an encoded model, and what that gives out. With `every`, each so many-th row of a value is given
/// out too. A model without linear layers in floats gives nothing.
pub fn observe(model: &[u8], every: Option<i64>) -> Result<(Vec<u8>, Vec<Observed>), ObserveError> {
    let graph = ModelProto::decode(model)?.graph.unwrap_or_default();
    let mut addition = Addition::new(every);
    for (index, (value, layers)) in layers(&graph).into_iter().enumerate() {
        addition.observe(index, value, &layers);
    }
    let model = ModelProto {
        graph: Some(addition.graph),
        ..ModelProto::default()
    };
    match addition.observed.is_empty() {
        true => Ok(Default::default()),
        false => Ok((model.encode_to_vec(), addition.observed)),
    }
}

/// A linear layer: the key of its weight and the number of its inputs.
#[derive(Clone, Copy)]
struct Layer<'a> {
    key: &'a str,
    inputs: i64,
}

/// Products with a weight of the checkpoint, by the value that they read.
fn layers(graph: &GraphProto) -> BTreeMap<&str, Vec<Layer<'_>>> {
    let weights = graph
        .initializer
        .iter()
        .filter(|tensor| !tensor.doc_string.is_empty());
    let mut weights: BTreeMap<&str, &TensorProto> = weights
        .map(|tensor| (tensor.name.as_str(), tensor))
        .collect();
    let mut found: BTreeMap<&str, Vec<Layer<'_>>> = BTreeMap::new();
    for node in &graph.node {
        let input = |port: usize| node.input.get(port).map(String::as_str);
        match node.op_type.as_str() {
            // A weight that is stored narrow is still one.
            "Cast" => {
                let weight = input(0).and_then(|name| weights.get(name).copied());
                if let (Some(weight), Some(output)) = (weight, node.output.first()) {
                    weights.insert(output, weight);
                }
            }
            "MatMul" => {
                let weight = input(1).and_then(|name| weights.get(name));
                if let (Some(weight), Some(value)) = (weight, input(0)) {
                    let (key, inputs) = (weight.doc_string.as_str(), weight.dims[0]);
                    found.entry(value).or_default().push(Layer { key, inputs });
                }
            }
            _ => {}
        }
    }
    found
}

struct Addition {
    graph: GraphProto,
    observed: Vec<Observed>,
    every: Option<i64>,
}

impl Addition {
    fn new(every: Option<i64>) -> Self {
        let number = |name: &str, value: i64| TensorProto {
            dims: vec![1],
            data_type: I64,
            name: name.to_owned(),
            raw_data: Some(value.to_le_bytes().to_vec()),
            ..TensorProto::default()
        };
        let numbers = every.map(|every| {
            let of = [("first", 0), ("last", i64::MAX), ("every", every)];
            of.map(|(name, value)| number(&format!("observed.{name}"), value))
        });
        Self {
            graph: GraphProto {
                initializer: numbers.into_iter().flatten().collect(),
                ..GraphProto::default()
            },
            observed: Vec::new(),
            every,
        }
    }

    fn observe(&mut self, index: usize, value: &str, layers: &[Layer<'_>]) {
        let name = |what: &str| format!("observed.{index}.{what}");
        let (size, wide, largest) = (name("size"), name("wide"), name("largest"));
        self.push("Abs", &[value], &size, None);
        let to = AttributeProto::int("to", F32.into());
        self.push("Cast", &[&size], &wide, Some(to));
        let keep = AttributeProto::int("keepdims", 0);
        self.push("ReduceMax", &[&wide], &largest, Some(keep));
        self.output(&largest, Vec::new());
        let inputs = layers.first().map_or(0, |layer| layer.inputs);
        let sample = self.every.map(|_| self.sample(&wide, inputs, &name));
        self.observed.push(Observed {
            keys: layers.iter().map(|layer| layer.key.to_owned()).collect(),
            largest,
            sample,
        });
    }

    /// Each so many-th row of a value.
    fn sample(&mut self, value: &str, columns: i64, name: &dyn Fn(&str) -> String) -> String {
        let (shape, rows, sample) = (name("shape"), name("rows"), name("sample"));
        let numbers = [-1, columns].map(i64::to_le_bytes);
        self.graph.initializer.push(TensorProto {
            dims: vec![2],
            data_type: I64,
            name: shape.clone(),
            raw_data: Some(numbers.concat()),
            ..TensorProto::default()
        });
        self.push("Reshape", &[value, &shape], &rows, None);
        let [first, last, every] = ["observed.first", "observed.last", "observed.every"];
        self.push("Slice", &[&rows, first, last, first, every], &sample, None);
        self.output(&sample, vec![None, Some(columns)]);
        sample
    }

    fn push(&mut self, op_type: &str, inputs: &[&str], output: &str, with: Option<AttributeProto>) {
        self.graph.node.push(NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: op_type.to_owned(),
            attribute: with.into_iter().collect(),
            domain: String::new(),
        });
    }

    fn output(&mut self, name: &str, shape: Vec<Option<i64>>) {
        let dimension = |dim_value: Option<i64>| Dimension {
            dim_value,
            dim_param: None,
        };
        let shape = TensorShape {
            dim: shape.into_iter().map(dimension).collect(),
        };
        let tensor_type = TensorType {
            elem_type: F32,
            shape: Some(shape),
        };
        self.graph.output.push(ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(TypeProto {
                tensor_type: Some(tensor_type),
            }),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Vec<u8> {
        let weight = TensorProto {
            dims: vec![8, 4],
            name: "w.stored".to_owned(),
            doc_string: "proj.weight".to_owned(),
            ..TensorProto::default()
        };
        let node = |op_type: &str, inputs: &[&str], output: &str| NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            op_type: op_type.to_owned(),
            ..NodeProto::default()
        };
        let graph = GraphProto {
            initializer: vec![weight],
            node: vec![
                node("Cast", &["w.stored"], "w"),
                node("MatMul", &["x", "w"], "y"),
                node("MatMul", &["y", "x"], "z"),
            ],
            name: "case".to_owned(),
            ..GraphProto::default()
        };
        let model = ModelProto {
            ir_version: 11,
            graph: Some(graph),
            ..ModelProto::default()
        };
        model.encode_to_vec()
    }

    #[test]
    fn a_model_that_is_continued_gives_out_what_its_layers_read() {
        let before = model();
        let (more, observed) = observe(&before, Some(4)).expect("a model");
        assert_eq!(observed.len(), 1, "attention is no layer: {observed:?}");
        assert_eq!(observed[0].keys, ["proj.weight"]);
        let after = ModelProto::decode([before, more].concat().as_slice()).expect("a model");
        let graph = after.graph.expect("a graph");
        assert_eq!((after.ir_version, graph.name.as_str()), (11, "case"));
        let outputs: Vec<&str> = graph.output.iter().map(|port| port.name.as_str()).collect();
        assert_eq!(outputs, ["observed.0.largest", "observed.0.sample"]);
        assert_eq!(graph.node.len(), 3 + 5);
    }

    #[test]
    fn bytes_of_something_else_are_refused() {
        assert!(observe(b"no model", None).is_err());
    }
}
