//! The named inputs and outputs of a model, and the check of given inputs.

use std::collections::BTreeMap;
use std::fmt;

use super::Values;
use crate::tensor::{DType, Tensor};

/// One dimension of a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always this size.
    Fixed(usize),
    /// Any size, but the same wherever the name appears in one run.
    Symbol(String),
    /// Any size.
    Any,
}

/// A named input or output of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// The name in the model.
    pub name: String,
    /// The element type.
    pub dtype: DType,
    /// The dimensions, outermost first.
    pub dims: Vec<Dim>,
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => size.fmt(f),
            Dim::Symbol(name) => f.write_str(name),
            Dim::Any => f.write_str("?"),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (index, dim) in self.dims.iter().enumerate() {
            write!(f, "{}{dim}", if index == 0 { "" } else { ", " })?;
        }
        f.write_str("]")
    }
}

/// One input that does not fit the model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InputFault {
    /// The model needs it, and it was not given.
    #[error("input `{name}` is missing: expected {expected}")]
    Missing {
        /// The input's name.
        name: String,
        /// The port in words.
        expected: String,
    },
    /// It was given, and the model has no such input.
    #[error("input `{name}` is unknown: the model takes {expected}")]
    Unknown {
        /// The name given.
        name: String,
        /// The names of the model's inputs.
        expected: String,
    },
    /// Its element type or shape is another.
    #[error("input `{name}`: expected {expected}, found {found}")]
    Mismatch {
        /// The input's name.
        name: String,
        /// The port in words.
        expected: String,
        /// The given tensor in words.
        found: String,
    },
    /// A dimension that must agree between inputs does not.
    #[error("input `{name}`: expected `{symbol}` to be {expected} as in `{first}`, found {found}")]
    Symbol {
        /// The input's name.
        name: String,
        /// The dimension's name.
        symbol: String,
        /// The input that set the size.
        first: String,
        /// The size there.
        expected: usize,
        /// The size here.
        found: usize,
    },
}

pub(super) fn sentence(faults: &[InputFault]) -> String {
    faults
        .iter()
        .map(InputFault::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Type and shape of what is given, by name.
type Given<'a> = BTreeMap<&'a str, (DType, &'a [usize])>;

/// Every way in which inputs do not fit `ports`.
pub(super) fn check(
    ports: &[Port],
    inputs: &BTreeMap<String, Tensor>,
    held: &Values,
) -> Vec<InputFault> {
    let inputs = inputs.iter();
    let tensors = inputs.map(|(name, tensor)| (name.as_str(), (tensor.dtype(), tensor.shape())));
    let kept = held.iter();
    let kept = kept.map(|(name, value)| (name.as_str(), (value.dtype(), value.shape())));
    check_given(ports, &tensors.chain(kept).collect())
}

fn check_given(ports: &[Port], inputs: &Given<'_>) -> Vec<InputFault> {
    let mut faults = unknown(ports, inputs);
    let mut symbols = BTreeMap::new();
    for port in ports {
        match inputs.get(port.name.as_str()) {
            None => faults.push(InputFault::Missing {
                name: port.name.clone(),
                expected: port.to_string(),
            }),
            Some((dtype, shape)) if !fits(port, *dtype, shape) => {
                faults.push(InputFault::Mismatch {
                    name: port.name.clone(),
                    expected: port.to_string(),
                    found: format!("{dtype}{shape:?}"),
                });
            }
            Some((_, shape)) => faults.extend(disagreements(port, shape, &mut symbols)),
        }
    }
    faults
}

fn unknown(ports: &[Port], inputs: &Given<'_>) -> Vec<InputFault> {
    let names: Vec<_> = ports
        .iter()
        .map(|port| format!("`{}`", port.name))
        .collect();
    let known = |name: &str| ports.iter().any(|port| port.name == *name);
    inputs
        .keys()
        .filter(|name| !known(name))
        .map(|name| InputFault::Unknown {
            name: (*name).to_owned(),
            expected: names.join(", "),
        })
        .collect()
}

fn fits(port: &Port, dtype: DType, shape: &[usize]) -> bool {
    port.dtype == dtype
        && port.dims.len() == shape.len()
        && port.dims.iter().zip(shape).all(|(dim, size)| match dim {
            Dim::Fixed(fixed) => fixed == size,
            Dim::Symbol(_) | Dim::Any => true,
        })
}

fn disagreements<'a>(
    port: &'a Port,
    shape: &[usize],
    symbols: &mut BTreeMap<&'a str, (&'a str, usize)>,
) -> Vec<InputFault> {
    let mut faults = Vec::new();
    for (dim, &found) in port.dims.iter().zip(shape) {
        let Dim::Symbol(symbol) = dim else { continue };
        let &mut (first, expected) = symbols.entry(symbol).or_insert((port.name.as_str(), found));
        if expected != found {
            faults.push(InputFault::Symbol {
                name: port.name.clone(),
                symbol: symbol.clone(),
                first: first.to_owned(),
                expected,
                found,
            });
        }
    }
    faults
}
