//! A loaded component: a session of a runtime behind the manifest's description of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::RunError;
use super::model::Model;
use super::parts::{LoadedPart, Work};
use super::ports::{Given, Spec};
use super::solve::Sizes;
use crate::tensor::{Tensor, TensorError};

/// Named tensors, the inputs or outputs of a call.
pub type Tensors = BTreeMap<String, Tensor>;

/// A component of a bundle, ready to run. Calls from several threads wait for one another.
pub struct Component {
    pub(super) name: String,
    pub(super) spec: Spec,
    work: Mutex<Work>,
}

impl Component {
    pub(super) fn new(name: &str, spec: Spec, parts: Vec<LoadedPart>, last: Model) -> Self {
        Self {
            name: name.to_owned(),
            spec,
            work: Mutex::new(Work::new(parts, last)),
        }
    }

    /// Its name in the manifest.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs it once. [`RunError::Inputs`] lists everything in which the inputs differ from the manifest.
    pub fn run(&self, inputs: Tensors) -> Result<Tensors, RunError> {
        check_inputs(&self.name, &self.spec, &inputs)?;
        Ok(self.work().run(inputs)?)
    }

    /// Forgets the steps before. From now on work of a step is used again while less than `share` of what decides it
    /// changes; at 0 never. The next `dense` steps attend densely.
    pub(super) fn begin(&self, share: f32, dense: usize) -> Result<(), RunError> {
        Ok(self.work().begin(share, dense)?)
    }

    /// How many calls since [`Self::begin`] used work again.
    pub(super) fn reused(&self) -> usize {
        self.work().reused
    }

    fn work(&self) -> MutexGuard<'_, Work> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs it and takes one output; `shape` leaves out sizes that are not known.
    pub(super) fn run_for(
        &self,
        inputs: Tensors,
        output: &str,
        shape: &[Option<usize>],
    ) -> Result<Tensor, RunError> {
        let wrong = |found: String| RunError::Output {
            component: self.name.clone(),
            output: output.to_owned(),
            expected: words(shape),
            found,
        };
        let tensor = self.run(inputs)?.remove(output);
        let tensor = tensor.ok_or_else(|| wrong("nothing".to_owned()))?;
        let found = tensor.shape();
        let fits = found.len() == shape.len()
            && found
                .iter()
                .zip(shape)
                .all(|(found, size)| size.is_none_or(|size| size == *found));
        if !fits {
            return Err(wrong(format!("{found:?}")));
        }
        widened(tensor).map_err(|error| wrong(error.to_string()))
    }
}

/// The named sizes of a component that follow from some inputs.
pub(super) fn sizes(name: &str, spec: &Spec, given: &Given<'_>) -> Result<Sizes, RunError> {
    let refused = |faults| RunError::Inputs {
        component: name.to_owned(),
        faults,
    };
    spec.sizes(given).map_err(refused)
}

pub(super) fn check_inputs(name: &str, spec: &Spec, inputs: &Tensors) -> Result<(), RunError> {
    let faults = spec.check(inputs);
    if faults.is_empty() {
        return Ok(());
    }
    Err(RunError::Inputs {
        component: name.to_owned(),
        faults,
    })
}

fn widened(tensor: Tensor) -> Result<Tensor, TensorError> {
    if tensor.values::<f32>().is_ok() {
        return Ok(tensor);
    }
    Tensor::new(tensor.shape(), tensor.to_f32()?)
}

fn words(shape: &[Option<usize>]) -> String {
    let size = |size: &Option<usize>| size.map_or_else(|| "?".to_owned(), |size| size.to_string());
    let sizes: Vec<_> = shape.iter().map(size).collect();
    format!("F32[{}]", sizes.join(", "))
}
