//! Written models that also give out how far the inputs of their linear layers and of their attention reach.
//!
//! A protocol buffer that is continued with another of the same message is their sum, so the nodes and outputs are
//! added behind a model as it is: nothing of it is written anew, and its weights stay where they are.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::ranges::{ATTENTION_INPUTS, attention_input};
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

/// What reads one value: linear layers and attention, by the names of their inputs ([`ltxc_ir::ranges`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observed {
    /// Names of the readers.
    pub readers: Vec<String>,
    /// The output with the largest magnitude of the value, a scalar of f32.
    pub largest: String,
    /// The output with the magnitudes of some of its rows, where they are asked for.
    pub sample: Option<String>,
    /// The outputs with the largest magnitude of each column of the value, and of the weights that it meets, where they
    /// are asked for.
    pub columns: Option<[String; 2]>,
}

/// What is given out beside the largest magnitude of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Each so many-th row of the value.
    pub every: Option<i64>,
    /// The largest magnitude of each of its columns, and of its weights'.
    pub columns: bool,
}

/// What to add behind an encoded model, and what that gives out. A model without linear layers in floats gives
/// nothing.
pub fn observe(model: &[u8], wanted: Wanted) -> Result<(Vec<u8>, Vec<Observed>), ObserveError> {
    let graph = ModelProto::decode(model)?.graph.unwrap_or_default();
    let mut addition = Addition::new(wanted);
    for (index, ((value, _), readers)) in readers(&graph).into_iter().enumerate() {
        addition.observe(index, value, &readers);
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

/// What reads a value whose range is wanted.
struct Reader<'a> {
    name: String,
    /// The weight [in, out] that a layer multiplies the value by.
    weight: Option<&'a str>,
    /// Columns of the value.
    columns: i64,
}

/// Readers by the value that they read, layers and attention apart.
type Readers<'a> = BTreeMap<(&'a str, Kind), Vec<Reader<'a>>>;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Layers,
    Attention,
}

/// Products with a weight of the checkpoint, and attention with queries from one, by the values that they read.
fn readers(graph: &GraphProto) -> Readers<'_> {
    let sources = Sources::of(graph);
    let mut found = Readers::new();
    for node in &graph.node {
        match node.op_type.as_str() {
            "MatMul" => {
                if let (Some(weight), Some(value)) = (sources.weight_of(node), input(node, 0)) {
                    found
                        .entry((value, Kind::Layers))
                        .or_default()
                        .push(Reader {
                            name: weight.doc_string.clone(),
                            weight: input(node, 1),
                            columns: weight.dims[0],
                        });
                }
            }
            "MultiHeadAttention" | "Attention" => read_by_attention(node, &sources, &mut found),
            _ => {}
        }
    }
    found
}

/// Queries, keys and values of attention.
fn read_by_attention<'a>(node: &'a NodeProto, sources: &Sources<'a>, found: &mut Readers<'a>) {
    let Some(weight) = input(node, 0).and_then(|queries| sources.product(queries)) else {
        return;
    };
    for (port, name) in ATTENTION_INPUTS.into_iter().enumerate() {
        let value = match port {
            0 => sources.unscaled_queries(node),
            _ => input(node, port),
        };
        if let Some(value) = value {
            found
                .entry((value, Kind::Attention))
                .or_default()
                .push(Reader {
                    name: attention_input(&weight.doc_string, name),
                    weight: None,
                    columns: weight.dims[1],
                });
        }
    }
}

/// Where the values of a graph come from.
struct Sources<'a> {
    /// The node that makes a value.
    makers: BTreeMap<&'a str, &'a NodeProto>,
    /// Weights of the checkpoint, also behind a cast.
    weights: BTreeMap<&'a str, &'a TensorProto>,
    /// Single numbers.
    numbers: BTreeSet<&'a str>,
}

impl<'a> Sources<'a> {
    fn of(graph: &'a GraphProto) -> Self {
        let outputs =
            |node: &'a NodeProto| node.output.iter().map(move |name| (name.as_str(), node));
        let numbers = graph.initializer.iter();
        let numbers = numbers.filter(|tensor| tensor.dims.is_empty());
        Self {
            makers: graph.node.iter().flat_map(outputs).collect(),
            weights: weights(graph),
            numbers: numbers.map(|tensor| tensor.name.as_str()).collect(),
        }
    }

    fn weight_of(&self, product: &NodeProto) -> Option<&'a TensorProto> {
        self.weights.get(input(product, 1)?).copied()
    }

    /// The weight of the last product that makes a value, found along first inputs.
    fn product(&self, mut value: &'a str) -> Option<&'a TensorProto> {
        loop {
            let node = *self.makers.get(value)?;
            match node.op_type.as_str() {
                "MatMul" => return self.weight_of(node),
                _ => value = input(node, 0)?,
            }
        }
    }

    /// The queries of attention before its scale, which is a factor in front of an `Attention` with a scale of 1.
    fn unscaled_queries(&self, attention: &'a NodeProto) -> Option<&'a str> {
        let queries = input(attention, 0)?;
        let scales = attention.attribute.iter().any(|attribute| {
            attribute.name == "scale" && attribute.f.is_some_and(|scale| scale != 1.0)
        });
        let made = self.makers.get(queries);
        let factor = made.filter(|made| made.op_type == "Mul" && !scales);
        match factor {
            Some(made) if input(made, 1).is_some_and(|name| self.numbers.contains(name)) => {
                input(made, 0)
            }
            _ => Some(queries),
        }
    }
}

fn weights(graph: &GraphProto) -> BTreeMap<&str, &TensorProto> {
    let kept = |tensor: &&TensorProto| !tensor.doc_string.is_empty();
    let named = graph.initializer.iter().filter(kept);
    let mut weights: BTreeMap<_, _> = named.map(|tensor| (tensor.name.as_str(), tensor)).collect();
    // A weight that is stored narrow is still one.
    for node in graph.node.iter().filter(|node| node.op_type == "Cast") {
        let weight = input(node, 0).and_then(|name| weights.get(name).copied());
        if let (Some(weight), Some(output)) = (weight, node.output.first()) {
            weights.insert(output, weight);
        }
    }
    weights
}

fn input(node: &NodeProto, port: usize) -> Option<&str> {
    let name = node.input.get(port).map(String::as_str);
    name.filter(|name| !name.is_empty())
}

struct Addition {
    graph: GraphProto,
    observed: Vec<Observed>,
    wanted: Wanted,
}

impl Addition {
    fn new(wanted: Wanted) -> Self {
        let number = |name: &str, value: i64| TensorProto {
            dims: vec![1],
            data_type: I64,
            name: name.to_owned(),
            raw_data: Some(value.to_le_bytes().to_vec()),
            ..TensorProto::default()
        };
        let of_rows = wanted
            .every
            .map(|every| [("first", 0), ("last", i64::MAX), ("every", every)]);
        let of_columns = wanted.columns.then_some([("first", 0), ("outputs", 1)]);
        let numbers = of_rows.into_iter().flatten();
        let numbers: BTreeMap<_, _> = numbers.chain(of_columns.into_iter().flatten()).collect();
        let numbers = numbers
            .into_iter()
            .map(|(name, value)| number(&format!("observed.{name}"), value));
        Self {
            graph: GraphProto {
                initializer: numbers.collect(),
                ..GraphProto::default()
            },
            observed: Vec::new(),
            wanted,
        }
    }

    fn observe(&mut self, index: usize, value: &str, readers: &[Reader<'_>]) {
        let name = |what: &str| format!("observed.{index}.{what}");
        let (wide, largest) = (name("wide"), name("largest"));
        self.magnitudes(value, &wide);
        self.push("ReduceMax", &[&wide], &largest, Some(Self::drop_axes()));
        self.output(&largest, Vec::new());
        let inputs = readers.first().map_or(0, |reader| reader.columns);
        let rows = name("rows");
        if self.wanted != Wanted::default() {
            self.rows(&wide, inputs, &rows);
        }
        let sample = self
            .wanted
            .every
            .map(|_| self.sample(&rows, inputs, name("sample")));
        // Attention multiplies by no weight, with which its columns could be evened out.
        let weights: Vec<&str> = readers.iter().filter_map(|reader| reader.weight).collect();
        let wanted = self.wanted.columns && !weights.is_empty();
        let columns = wanted.then(|| self.columns(&rows, inputs, &weights, &name));
        self.observed.push(Observed {
            readers: readers.iter().map(|reader| reader.name.clone()).collect(),
            largest,
            sample,
            columns,
        });
    }

    fn drop_axes() -> AttributeProto {
        AttributeProto::int("keepdims", 0)
    }

    fn magnitudes(&mut self, value: &str, output: &str) {
        let size = format!("{output}.size");
        self.push("Abs", &[value], &size, None);
        let to = AttributeProto::int("to", F32.into());
        self.push("Cast", &[&size], output, Some(to));
    }

    /// The largest magnitude of each column of a value, and of the columns of all weights that it meets.
    fn columns(
        &mut self,
        rows: &str,
        inputs: i64,
        weights: &[&str],
        name: &dyn Fn(&str) -> String,
    ) -> [String; 2] {
        let [of_value, of_weights] = [name("columns"), name("weights")];
        self.push(
            "ReduceMax",
            &[rows, "observed.first"],
            &of_value,
            Some(Self::drop_axes()),
        );
        let mut largest = Vec::new();
        for (index, weight) in weights.iter().enumerate() {
            let [wide, most] =
                ["wide", "largest"].map(|what| name(&format!("weight{index}.{what}")));
            self.magnitudes(weight, &wide);
            self.push(
                "ReduceMax",
                &[&wide, "observed.outputs"],
                &most,
                Some(Self::drop_axes()),
            );
            largest.push(most);
        }
        let largest: Vec<&str> = largest.iter().map(String::as_str).collect();
        self.push("Max", &largest, &of_weights, None);
        for output in [&of_value, &of_weights] {
            self.output(output, vec![Some(inputs)]);
        }
        [of_value, of_weights]
    }

    /// A value as a matrix.
    fn rows(&mut self, value: &str, columns: i64, rows: &str) {
        let shape = format!("{rows}.shape");
        let numbers = [-1, columns].map(i64::to_le_bytes);
        self.graph.initializer.push(TensorProto {
            dims: vec![2],
            data_type: I64,
            name: shape.clone(),
            raw_data: Some(numbers.concat()),
            ..TensorProto::default()
        });
        self.push("Reshape", &[value, &shape], rows, None);
    }

    /// Each so many-th row of a matrix.
    fn sample(&mut self, rows: &str, columns: i64, sample: String) -> String {
        let [first, last, every] = ["observed.first", "observed.last", "observed.every"];
        self.push("Slice", &[rows, first, last, first, every], &sample, None);
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
                node("RMSNormalization", &["y", ""], "q"),
                node("MultiHeadAttention", &["q", "k", "x"], "a"),
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
        let wanted = Wanted {
            every: Some(4),
            columns: true,
        };
        let (more, observed) = observe(&before, wanted).expect("a model");
        let readers: Vec<_> = observed.iter().map(|value| &value.readers[..]).collect();
        assert_eq!(
            readers,
            [
                &["proj.weight/k"][..],
                &["proj.weight/q"],
                &["proj.weight"],
                &["proj.weight/v"],
            ],
            "products of two values are no layers"
        );
        let after = ModelProto::decode([before, more].concat().as_slice()).expect("a model");
        let graph = after.graph.expect("a graph");
        assert_eq!((after.ir_version, graph.name.as_str()), (11, "case"));
        let outputs: Vec<&str> = graph.output.iter().map(|port| port.name.as_str()).collect();
        let asked = |n: usize, what: &[&str]| {
            let name = |what: &&str| format!("observed.{n}.{what}");
            what.iter().map(name).collect::<Vec<_>>()
        };
        let all = ["largest", "sample", "columns", "weights"];
        let expected = [&all[..2], &all[..2], &all[..], &all[..2]];
        let expected = expected
            .iter()
            .enumerate()
            .flat_map(|(n, what)| asked(n, what));
        assert_eq!(outputs, expected.collect::<Vec<_>>());
        assert_eq!(graph.node.len(), 5 + 4 * 5 + 5);
    }

    #[test]
    fn queries_are_observed_before_their_scale() {
        let node = |op_type: &str, inputs: &[&str], output: &str, scale| NodeProto {
            input: inputs.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.to_owned()],
            op_type: op_type.to_owned(),
            attribute: vec![AttributeProto::float("scale", scale)],
            ..NodeProto::default()
        };
        let graph = GraphProto {
            initializer: vec![TensorProto {
                name: "factor".to_owned(),
                ..TensorProto::default()
            }],
            node: vec![node("Mul", &["q", "factor"], "scaled", 1.0)],
            ..GraphProto::default()
        };
        let seen = |factor, scale| {
            let attention = node("Attention", &[factor, "k", "v"], "a", scale);
            Sources::of(&graph)
                .unscaled_queries(&attention)
                .map(str::to_owned)
        };
        assert_eq!(seen("scaled", 1.0).as_deref(), Some("q"));
        assert_eq!(seen("scaled", 0.5).as_deref(), Some("scaled"));
        assert_eq!(seen("other", 1.0).as_deref(), Some("other"));
    }

    #[test]
    fn bytes_of_something_else_are_refused() {
        assert!(observe(b"no model", Wanted::default()).is_err());
    }
}
