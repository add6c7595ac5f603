//! A component that is computed some frames of the video at a time.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::manifest::Component;

/// Most stages of a stream; a released decoder has some twenty.
const MOST: usize = 256;

/// How a component is computed some frames at a time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// Its inputs that come in pieces, in units of the slowest.
    pub frames: Vec<Flow>,
    /// Bytes that it needs beside its weights where it is computed at once, in its sizes; the largest counts.
    pub whole: Vec<String>,
    /// Its stages, in order.
    pub stages: Vec<StreamStage>,
}

/// A share of a component that is a stream of its own: it takes frames, keeps what later ones need, and makes frames.
/// Each stage reads what the one before makes; the last one makes the component's outputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamStage {
    /// The ONNX files.
    pub models: StepModels,
    /// Inputs of the component that have no frames; every step reads them.
    pub inputs: Vec<String>,
    /// What comes in pieces, all for the same units of time: first what the stage before makes, then inputs of the
    /// component.
    pub frames: Vec<Flow>,
    /// What leaves in pieces.
    pub outputs: Vec<Flow>,
    /// What a step leaves for the next one.
    pub states: Vec<State>,
    /// The fewest units of a first step.
    pub least: usize,
    /// Rows and columns, if a step can be computed on tiles of its frames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sides: Option<[Side; 2]>,
    /// What it needs while it runs.
    pub memory: StageMemory,
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

/// Rows or columns of a stage, counted in units of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Side {
    /// Their name in the stage's sizes.
    pub size: String,
    /// Units around a tile that its result depends on, on each side.
    pub halo: usize,
    /// The inputs and outputs that have them.
    pub along: BTreeMap<String, Along>,
}

/// Where the rows or columns of a value are: `rate` of them a unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Along {
    /// The axis.
    pub axis: usize,
    /// Rows or columns a unit.
    pub rate: usize,
}

/// Bytes that a stage needs, in the sizes of one of its steps; of several, the largest counts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageMemory {
    /// The size that counts units of time.
    pub unit: String,
    /// Weights of a model.
    pub weights: u64,
    /// What is handed from step to step.
    pub states: String,
    /// What a step between makes for the next stage.
    pub results: String,
    /// A first step: its inputs and values at their most, but not what it reads of the step before.
    pub first: Vec<String>,
    /// One between.
    pub next: Vec<String>,
    /// The last one.
    pub last: Vec<String>,
    /// One that takes the whole video.
    pub only: Vec<String>,
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

/// The stages are a way from the inputs to all outputs.
pub fn check_stream(component: &Component) -> Result<(), String> {
    let Some(stream) = &component.stream else {
        return Ok(());
    };
    let (stages, inputs) = (&stream.stages, &component.inputs);
    if stages.len() > MOST {
        let found = stages.len();
        return Err(format!(
            "it streams in {found} stages, at most {MOST} are possible"
        ));
    }
    let Some((first, last)) = stages.first().zip(stages.last()) else {
        return Err("its stream has no stages".to_owned());
    };
    let is_input = |name: &String| inputs.iter().any(|port| port.name == *name);
    let given = stages.iter().flat_map(|stage| &stage.inputs);
    let given = given.chain(first.frames.iter().map(|flow| &flow.name));
    let later = stages[1..]
        .iter()
        .flat_map(|stage| stage.frames.iter().skip(1));
    let given = given.chain(later.chain(&stream.frames).map(|flow| &flow.name));
    if let Some(unknown) = given.into_iter().find(|name| !is_input(name)) {
        return Err(format!("its stream reads `{unknown}`, which is no input"));
    }
    let made: BTreeSet<_> = last.outputs.iter().map(|flow| &flow.name).collect();
    let wanted: BTreeSet<_> = component.outputs.iter().map(|port| &port.name).collect();
    if made != wanted {
        let names: Vec<_> = made.iter().map(|name| format!("`{name}`")).collect();
        return Err(format!("its stream makes {} only", names.join(", ")));
    }
    for (stage, next) in stages.iter().zip(&stages[1..]) {
        let ([output], [frames, ..]) = (&stage.outputs[..], &next.frames[..]) else {
            return Err("a stage of its stream makes more than one value for the next".to_owned());
        };
        if output.name != frames.name || output.axis != frames.axis {
            let name = &frames.name;
            return Err(format!("its stream reads `{name}`, which no stage makes"));
        }
    }
    if stream.frames.is_empty() || stream.frames.iter().any(|flow| flow.rate == 0) {
        return Err("its stream would never end".to_owned());
    }
    stages.iter().try_for_each(check_stage)
}

fn check_stage(stage: &StreamStage) -> Result<(), String> {
    let flows = || stage.frames.iter().chain(&stage.outputs);
    let mut names = BTreeSet::new();
    let named = flows().map(|flow| &flow.name).chain(&stage.inputs);
    let states = stage.states.iter();
    let named = named.chain(states.flat_map(|state| [&state.input, &state.output]));
    for name in named {
        if !names.insert(name) {
            return Err(format!("its stream has `{name}` twice"));
        }
    }
    let sides = stage
        .sides
        .iter()
        .flatten()
        .flat_map(|side| side.along.values());
    if sides.into_iter().any(|along| along.rate == 0) {
        return Err("its stream has tiles without rows or columns".to_owned());
    }
    let still = flows().any(|flow| flow.rate == 0) || stage.least == 0;
    match still || stage.frames.is_empty() {
        true => Err("its stream would never end".to_owned()),
        false => Ok(()),
    }
}
