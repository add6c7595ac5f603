//! A component that is computed some frames of the video at a time.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::manifest::Component;

/// Most stages of a stream; the compiler makes five at most.
const MOST: usize = 16;

/// A share of a component that is a stream of its own: it takes frames, keeps what later ones need, and makes frames.
/// Each stage reads what the one before makes; the last one makes the component's outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamStage {
    /// The ONNX files.
    pub models: StepModels,
    /// Inputs of the component that have no frames; every step reads them.
    pub inputs: Vec<String>,
    /// What comes in pieces.
    pub frames: Flow,
    /// What leaves in pieces.
    pub output: Flow,
    /// What a step leaves for the next one.
    pub states: Vec<State>,
    /// The fewest units of a first step.
    pub least: usize,
}

/// A model for each piece of a video.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepModels {
    /// The first of several.
    pub first: String,
    /// Any between.
    pub next: String,
    /// The last of several.
    pub last: String,
    /// All of it.
    pub only: String,
}

/// A value of which a step for `n` units takes or makes `rate * n` frames; a first one takes `offset` more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// The input or output.
    pub name: String,
    /// The axis of its frames.
    pub axis: usize,
    /// Frames a unit.
    pub rate: usize,
    /// More frames at the beginning.
    pub offset: i64,
}

/// What is handed from step to step, in the runtime's memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The input that reads it.
    pub input: String,
    /// The output that gives it.
    pub output: String,
}

impl StepModels {
    /// Each once.
    pub fn all(&self) -> [&String; 4] {
        [&self.first, &self.next, &self.last, &self.only]
    }
}

/// The stages are a way from an input to the only output.
pub fn check_stream(component: &Component) -> Result<(), String> {
    let (stages, inputs) = (&component.stream, &component.inputs);
    if stages.len() > MOST {
        let found = stages.len();
        return Err(format!(
            "it streams in {found} stages, at most {MOST} are possible"
        ));
    }
    let Some((first, last)) = stages.first().zip(stages.last()) else {
        return Ok(());
    };
    let is_input = |name: &String| inputs.iter().any(|port| port.name == *name);
    let given = stages.iter().flat_map(|stage| &stage.inputs);
    if let Some(unknown) = given
        .chain([&first.frames.name])
        .find(|name| !is_input(name))
    {
        return Err(format!("its stream reads `{unknown}`, which is no input"));
    }
    if component.outputs.len() != 1 || component.outputs[0].name != last.output.name {
        return Err(format!("its stream makes `{}` only", last.output.name));
    }
    for (stage, next) in stages.iter().zip(&stages[1..]) {
        if stage.output.name != next.frames.name || stage.output.axis != next.frames.axis {
            let name = &next.frames.name;
            return Err(format!("its stream reads `{name}`, which no stage makes"));
        }
    }
    stages.iter().try_for_each(check_stage)
}

fn check_stage(stage: &StreamStage) -> Result<(), String> {
    let mut names = BTreeSet::from([&stage.output.name, &stage.frames.name]);
    names.extend(&stage.inputs);
    let states = stage.states.iter();
    for name in states.flat_map(|state| [&state.input, &state.output]) {
        if !names.insert(name) {
            return Err(format!("its stream has `{name}` twice"));
        }
    }
    let flows = [&stage.frames, &stage.output];
    match flows.iter().any(|flow| flow.rate == 0) || stage.least == 0 {
        true => Err("its stream would never end".to_owned()),
        false => Ok(()),
    }
}
