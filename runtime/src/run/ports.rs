//! The inputs a component takes, and the check of what it is given.
//!
//! Names and element types are compared here, sizes in [`super::solve`]. The runtimes check less, and say less about
//! it.

use std::collections::BTreeMap;

use ltxc_bundle::{Component, SizeLimits};
use thiserror::Error;

use super::RunError;
use super::size::Size;
use super::solve::{Sizes, Solving};
use crate::tensor::{DType, Tensor};

/// One way in which inputs do not fit a component.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InputFault {
    /// It was not given.
    #[error("input `{input}` is missing: expected {expected}")]
    Missing {
        /// The input.
        input: String,
        /// Type and shape in words.
        expected: String,
    },
    /// The component has no such input.
    #[error("input `{input}` is unknown: the component takes {known}")]
    Unknown {
        /// The name given.
        input: String,
        /// The component's inputs.
        known: String,
    },
    /// Element type or number of axes differ.
    #[error("input `{input}`: expected {expected}, found {found}")]
    Kind {
        /// The input.
        input: String,
        /// Type and shape in words.
        expected: String,
        /// Type and shape given.
        found: String,
    },
    /// An axis has another size.
    #[error("input `{input}`, axis {axis}: expected {expected}, found {found}")]
    Axis {
        /// The input.
        input: String,
        /// The axis, from zero.
        axis: usize,
        /// The size in words.
        expected: String,
        /// The size given.
        found: usize,
    },
}

/// Type and shape of each input of a call.
pub(super) type Given<'a> = BTreeMap<&'a str, (DType, &'a [usize])>;

/// Type and shape of some tensors.
pub(super) fn given_by(tensors: &BTreeMap<String, Tensor>) -> Given<'_> {
    let tensors = tensors.iter();
    tensors
        .map(|(name, tensor)| (name.as_str(), (tensor.dtype(), tensor.shape())))
        .collect()
}

/// An input in the manifest's words, parsed.
#[derive(Clone, Debug)]
pub(super) struct PortSpec {
    pub name: String,
    pub dtype: DType,
    pub shape: Vec<Size>,
    /// Whether the run fills it with normal noise.
    pub drawn: bool,
}

/// What a component's call has to look like.
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub inputs: Vec<PortSpec>,
    limits: BTreeMap<String, Limits>,
}

/// Values that a named size may take.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub min: i64,
    pub max: i64,
    /// If not empty, it is one of these.
    pub one_of: Vec<Size>,
}

impl Spec {
    /// Parses a component of the manifest.
    pub fn new(name: &str, component: &Component) -> Result<Self, RunError> {
        let wrong = |why| RunError::Manifest(format!("component `{name}`: {why}"));
        let inputs = component.inputs.iter().map(PortSpec::new);
        let limits = component
            .sizes
            .iter()
            .map(|(symbol, limits)| Ok((symbol.clone(), Limits::new(limits)?)));
        Ok(Self {
            inputs: inputs.collect::<Result<_, _>>().map_err(wrong)?,
            limits: limits.collect::<Result<_, _>>().map_err(wrong)?,
        })
    }

    /// The input of a name.
    pub fn input(&self, name: &str) -> Option<&PortSpec> {
        self.inputs.iter().find(|port| port.name == name)
    }

    /// Every way in which the inputs of a whole call do not fit.
    pub fn check(&self, tensors: &BTreeMap<String, Tensor>) -> Vec<InputFault> {
        let given = given_by(tensors);
        let mut faults = self.unknown(&given);
        faults.extend(self.missing(&given));
        faults.extend(self.sizes(&given).err().unwrap_or_default());
        faults
    }

    /// The named sizes that follow from some of the inputs; names that do not follow are left out.
    pub fn sizes(&self, given: &Given<'_>) -> Result<Sizes, Vec<InputFault>> {
        let mut solving = Solving::default();
        for port in &self.inputs {
            if let Some((dtype, shape)) = given.get(port.name.as_str()) {
                solving.add(port, *dtype, shape);
            }
        }
        solving.finish(&self.limits)
    }

    /// As [`Self::sizes`], whatever the component was compiled for.
    pub fn unlimited_sizes(&self, given: &Given<'_>) -> Result<Sizes, Vec<InputFault>> {
        let free = Self {
            limits: BTreeMap::new(),
            ..self.clone()
        };
        free.sizes(given)
    }

    fn unknown(&self, given: &Given<'_>) -> Vec<InputFault> {
        let names: Vec<_> = self
            .inputs
            .iter()
            .map(|port| format!("`{}`", port.name))
            .collect();
        let strange = given.keys().filter(|name| self.input(name).is_none());
        strange
            .map(|name| InputFault::Unknown {
                input: (*name).to_owned(),
                known: names.join(", "),
            })
            .collect()
    }

    fn missing(&self, given: &Given<'_>) -> Vec<InputFault> {
        self.inputs
            .iter()
            .filter(|port| !given.contains_key(port.name.as_str()))
            .map(|port| InputFault::Missing {
                input: port.name.clone(),
                expected: port.words(),
            })
            .collect()
    }
}

impl PortSpec {
    pub fn new(port: &ltxc_bundle::Port) -> Result<Self, String> {
        let shape = port.shape.iter().map(|size| size.parse());
        let drawn = match port.source.as_deref() {
            None => false,
            Some("normal") => true,
            Some(other) => {
                return Err(format!(
                    "input `{}` has the unknown source `{other}`",
                    port.name
                ));
            }
        };
        Ok(Self {
            name: port.name.clone(),
            dtype: dtype(&port.dtype)?,
            shape: shape.collect::<Result<_, _>>()?,
            drawn,
        })
    }

    /// Type and shape in words.
    pub fn words(&self) -> String {
        let sizes: Vec<_> = self.shape.iter().map(Size::to_string).collect();
        format!("{}[{}]", self.dtype, sizes.join(", "))
    }
}

impl Limits {
    fn new(limits: &SizeLimits) -> Result<Self, String> {
        let one_of = limits.one_of.iter().map(|size| size.parse());
        Ok(Self {
            min: limits.min,
            max: limits.max,
            one_of: one_of.collect::<Result<_, _>>()?,
        })
    }
}

fn dtype(name: &str) -> Result<DType, String> {
    let same = |dtype: &&DType| dtype.name().eq_ignore_ascii_case(name);
    let found = DType::ALL.iter().find(same).copied();
    found.ok_or_else(|| format!("the element type `{name}` is not supported"))
}
