//! A backend that watches the calls of another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::range::Ranges;
use crate::backend::{Backend, BackendError, Calls, Port, Session, Values};
use crate::tensor::Tensor;

/// A value that a model gives out magnitudes of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Names of what reads it.
    pub readers: Vec<String>,
    /// The output with its largest magnitude.
    pub largest: String,
    /// The output with magnitudes of some of its rows.
    pub sample: Option<String>,
    /// The outputs with the largest magnitudes of its columns, and of the columns of the weights.
    pub columns: Option<[String; 2]>,
}

/// A model that also gives out magnitudes, in place of one that does not.
#[derive(Clone, Debug)]
pub struct WatchedModel {
    /// The component that it belongs to.
    pub component: String,
    /// Its file.
    pub model: PathBuf,
    /// What it gives out more.
    pub values: Vec<Watched>,
}

/// Ranges by component, filled while models run.
type Shared = Arc<Mutex<BTreeMap<String, Ranges>>>;

/// A backend around another, which puts watched models in the place of others.
pub struct Watching {
    inner: Box<dyn Backend>,
    models: BTreeMap<PathBuf, WatchedModel>,
    ranges: Shared,
}

impl Watching {
    /// Wraps a backend; `models` are by the files that they stand for. The ranges fill while it is used.
    pub fn new(
        inner: Box<dyn Backend>,
        models: BTreeMap<PathBuf, WatchedModel>,
        ranges: Arc<Mutex<BTreeMap<String, Ranges>>>,
    ) -> Self {
        Self {
            inner,
            models,
            ranges,
        }
    }
}

impl Backend for Watching {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn rest(&self) {
        self.inner.rest();
    }

    fn load_for(&self, model: &Path, calls: Calls) -> Result<Box<dyn Session>, BackendError> {
        let Some(watched) = self.models.get(model) else {
            return self.inner.load_for(model, calls);
        };
        let inner = self.inner.load_for(&watched.model, calls)?;
        let more = |port: &&Port| !watched.values.iter().any(|value| value.gives(&port.name));
        Ok(Box::new(WatchingSession {
            outputs: inner.outputs().iter().filter(more).cloned().collect(),
            inner,
            watched: watched.clone(),
            ranges: Arc::clone(&self.ranges),
        }))
    }
}

impl Watched {
    fn gives(&self, output: &str) -> bool {
        let columns = self.columns.iter().flatten();
        let all = [&self.largest]
            .into_iter()
            .chain(&self.sample)
            .chain(columns);
        all.into_iter().any(|name| name == output)
    }
}

struct WatchingSession {
    inner: Box<dyn Session>,
    outputs: Vec<Port>,
    watched: WatchedModel,
    ranges: Shared,
}

impl Session for WatchingSession {
    fn inputs(&self) -> &[Port] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn call(
        &mut self,
        inputs: BTreeMap<String, Tensor>,
        held: &Values,
        keep: bool,
    ) -> Result<Values, BackendError> {
        let mut results = self.inner.call(inputs, held, keep)?;
        let mut ranges = self.ranges.lock().unwrap_or_else(PoisonError::into_inner);
        let ranges = ranges.entry(self.watched.component.clone()).or_default();
        for value in &self.watched.values {
            let mut take = |output: &str| match results.remove(output) {
                None => Ok(Vec::new()),
                Some(held) => numbers(&held.tensor()?),
            };
            let largest = take(&value.largest)?;
            let sample = value.sample.as_deref().map(&mut take).transpose()?;
            let columns = value.columns.iter().flatten();
            let columns = columns
                .map(|name| take(name))
                .collect::<Result<Vec<_>, _>>()?;
            for reader in &value.readers {
                let range = ranges.entry(reader.clone()).or_default();
                largest.iter().for_each(|most| range.reach(*most));
                range.sample(sample.as_deref().unwrap_or_default());
                if let [columns, weights] = columns.as_slice() {
                    range.reach_columns(columns, weights);
                }
            }
        }
        Ok(results)
    }
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>, BackendError> {
    let values = tensor.to_f32();
    values.map_err(|error| BackendError::PortType {
        name: "magnitudes".to_owned(),
        found: error.to_string(),
    })
}
