//! tract, a runtime in pure Rust that needs no library on the machine.
//!
//! It plans for concrete shapes: the first run with new input shapes optimises
//! the model for them, and the last few plans are kept. It runs on one thread
//! of the processor. It refuses what it cannot represent, most notably bf16 and
//! 8-bit floats, block-wise dequantisation, model-local functions, loops and
//! boolean attention masks; external weights must lie in the model's folder.

mod value;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use tract_onnx::Onnx;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::infer::InferenceModelExt;

use super::{
    Backend, BackendError, BackendOptions, Calls, Port, Provider, Runtime, Session, Values,
    guarded, port,
};
use crate::tensor::Tensor as HostTensor;

/// Each plan may hold its own arrangement of the weights.
const KEPT_PLANS: usize = 4;

type Inputs = BTreeMap<String, HostTensor>;
type Shapes = Vec<Vec<usize>>;
type Plan = Arc<RunnableModel<TypedFact, Box<dyn TypedOp>>>;

struct TractBackend {
    name: String,
}

struct TractSession {
    model: InferenceModel,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    plans: VecDeque<(Shapes, Plan)>,
}

pub(super) fn open(options: &BackendOptions) -> Result<Box<dyn Backend>, BackendError> {
    let (runtime, provider) = (Runtime::Tract, options.provider);
    if provider != Provider::Cpu {
        return Err(BackendError::NoProvider { runtime, provider });
    }
    Ok(Box::new(TractBackend {
        name: format!("{runtime} ({provider})"),
    }))
}

impl Backend for TractBackend {
    fn name(&self) -> &str {
        &self.name
    }

    fn load_for(&self, model: &Path, _: Calls) -> Result<Box<dyn Session>, BackendError> {
        if !model.is_file() {
            return Err(BackendError::NoModel {
                path: model.to_path_buf(),
            });
        }
        let load = |reason| BackendError::Load {
            runtime: Runtime::Tract,
            path: model.to_path_buf(),
            reason,
        };
        // Declared shapes are symbolic where the plans are concrete, and the
        // two do not unify.
        let reader: Onnx = tract_onnx::onnx().with_ignore_value_info(true);
        let proto = guarded(|| reader.proto_model_for_path(model).map_err(words)).map_err(load)?;
        let (inputs, outputs) = value::graph_ports(&proto)?;
        let folder = model.parent().and_then(Path::to_str);
        let parsed = guarded(|| reader.parse(&proto, folder).map_err(words)).map_err(load)?;
        if let Some(name) = parsed.unresolved_inputs.first() {
            return Err(load(format!("nothing produces `{name}`")));
        }
        Ok(Box::new(TractSession {
            model: parsed.model,
            inputs,
            outputs,
            plans: VecDeque::new(),
        }))
    }
}

impl Session for TractSession {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn call(&mut self, inputs: Inputs, held: &Values, _keep: bool) -> Result<Values, BackendError> {
        let faults = port::check(&self.inputs, &inputs, held);
        if !faults.is_empty() {
            return Err(BackendError::Inputs(faults));
        }
        guarded(|| self.execute(inputs, held).map_err(words)).map_err(|reason| BackendError::Run {
            runtime: Runtime::Tract,
            reason,
        })
    }
}

impl TractSession {
    fn execute(&mut self, mut inputs: Inputs, held: &Values) -> TractResult<Values> {
        let mut values = TVec::new();
        for name in self.input_names()? {
            let unknown = || TractError::msg(format!("`{name}` is read but is no input"));
            values.push(match (inputs.remove(&name), held.get(&name)) {
                (Some(tensor), _) => value::from_tensor(tensor)?,
                (None, Some(kept)) => value::from_held(kept.as_ref())?,
                (None, None) => return Err(unknown()),
            });
        }
        let plan = self.plan(&values)?;
        let results = plan.run(values)?;
        let named = self.outputs.iter().zip(results);
        named
            .map(|(port, value)| Ok((port.name.clone(), value::kept(value)?)))
            .collect()
    }

    fn input_names(&self) -> TractResult<Vec<String>> {
        let outlets = self.model.input_outlets()?;
        Ok(outlets
            .iter()
            .map(|outlet| self.model.node(outlet.node).name.clone())
            .collect())
    }

    fn plan(&mut self, inputs: &[TValue]) -> TractResult<Plan> {
        let shapes: Shapes = inputs.iter().map(|value| value.shape().to_vec()).collect();
        if let Some((_, plan)) = self.plans.iter().find(|(known, _)| *known == shapes) {
            return Ok(Arc::clone(plan));
        }
        let mut model = self.model.clone();
        for (index, value) in inputs.iter().enumerate() {
            let fact = InferenceFact::dt_shape(value.datum_type(), value.shape());
            model.set_input_fact(index, fact)?;
        }
        let plan = model.into_optimized()?.into_runnable()?;
        if self.plans.len() == KEPT_PLANS {
            self.plans.pop_front();
        }
        self.plans.push_back((shapes, Arc::clone(&plan)));
        Ok(plan)
    }
}

fn words(error: TractError) -> String {
    format!("{error:#}")
}
