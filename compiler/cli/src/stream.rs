//! The stages in which a component is computed some frames at a time.

use std::collections::BTreeSet;

use ltxc_bundle::{Along, Flow, Side, StageMemory, StageOp, StepModels, Stream, StreamStage};
use ltxc_export::StageSource;
use ltxc_ir::attrs::Per;
use ltxc_ir::{Dtype, Graph, Size};
use ltxc_passes::PassSpec;
use ltxc_passes::memory::{self, MemoryModel};
use ltxc_passes::transforms::hand_over::{Link, rounded_inputs, widened_from};
use ltxc_passes::transforms::split::Part;
use ltxc_passes::transforms::stream::{self, Kind, Stage, State, StreamError};

use crate::compile::{Compiled, Project, hand_over};
use crate::failure::{Failure, Outcome};
use crate::sizes::LatentGrid;

/// A stage on its way to a bundle.
#[derive(Debug)]
pub struct CompiledStage {
    /// What it takes, makes and keeps.
    pub stage: Stage,
    /// Its steps, lowered, in the order of [`Kind::ALL`].
    pub steps: Vec<Compiled>,
}

/// A component on its way to a bundle, in stages.
#[derive(Debug)]
pub struct CompiledStream {
    /// Its inputs that come in pieces.
    frames: Vec<Flow>,
    /// What the manifest says of its stages.
    described: Vec<StreamStage>,
    stages: Vec<CompiledStage>,
}

impl CompiledStream {
    /// What the manifest says; `whole` are its graphs where it is computed at once.
    pub fn described(&self, whole: &[Compiled], model: MemoryModel) -> Stream {
        let peaks = whole
            .last()
            .map(|part| peaks(&part.graph, model, &BTreeSet::new()));
        Stream {
            frames: self.frames.clone(),
            whole: peaks.unwrap_or_default(),
            stages: self.described.clone(),
        }
    }

    /// What its model files are written from.
    pub fn sources(&self) -> Vec<StageSource<'_>> {
        let stages = self.described.iter().zip(&self.stages);
        stages
            .filter_map(|(described, compiled)| source(described, compiled))
            .collect()
    }
}

fn source<'a>(described: &StreamStage, compiled: &'a CompiledStage) -> Option<StageSource<'a>> {
    let [first, next, last, only] = &compiled.steps[..] else {
        return None;
    };
    Some(StageSource {
        described: described.clone(),
        steps: [&first.graph, &next.graph, &last.graph, &only.graph],
    })
}

impl Project {
    /// A component in stages, lowered, and why there are none where its graph does not allow it. The sizes of the graph
    /// must be open, also where the component is compiled for one size: what comes in pieces has many.
    pub fn lower_stages(
        &self,
        component: &str,
        graph: &Graph,
        grid: Option<LatentGrid>,
    ) -> Outcome<(Option<CompiledStream>, Option<String>)> {
        let (stages, refusal) = self.stages(component, graph)?;
        if stages.is_empty() {
            return Ok((None, refusal));
        }
        let flows = stream::flows(graph).map_err(|bug| Failure::Bug(bug.to_string()))?;
        let (mut lowered, mut comes) = (Vec::new(), None);
        for stage in stages {
            let stage = self.lower_stage(component, stage, comes, grid)?;
            comes = stage
                .stage
                .outputs
                .first()
                .and_then(|flow| made_in(&stage.steps, &flow.name));
            lowered.push(stage);
        }
        let stages = narrowed(lowered)?;
        let frames = flows.iter().map(flow).collect();
        let model = self.capabilities()?.memory;
        let describe = |(at, stage): (usize, &CompiledStage)| describe(component, at, stage, model);
        let described = stages.iter().enumerate().map(describe).collect();
        let stream = CompiledStream {
            frames,
            described,
            stages,
        };
        Ok((Some(stream), refusal))
    }

    /// The stages of a component that decodes or encodes a video.
    pub fn stages(&self, component: &str, graph: &Graph) -> Outcome<(Vec<Stage>, Option<String>)> {
        let of_video = |stage: &ltxc_bundle::Stage| match &stage.op {
            StageOp::DecodeVideo(op) => op.component == component,
            StageOp::PrepareLatents(op) => op.component == component,
            _ => false,
        };
        if !self.plan.stages.iter().any(of_video) {
            return Ok((Vec::new(), None));
        }
        let refused = |why: &dyn std::fmt::Display| {
            let refusal = format!("`{component}` takes a whole video at once: {why}");
            Ok((Vec::new(), Some(refusal)))
        };
        match stream::stream(graph) {
            Ok(stages) if stages[1..].iter().any(|stage| stage.inputs.is_empty()) => {
                refused(&"a stage of it reads no frames")
            }
            Ok(stages) => Ok((stages, None)),
            Err(why @ (StreamError::Node { .. } | StreamError::Timeless(_))) => refused(&why),
            Err(bug @ StreamError::Graph(_)) => Err(Failure::Bug(bug.to_string())),
        }
    }

    /// What `comes` in a narrow type is computed on in that type, and so are states whose numbers have it; which ones do is
    /// found by assuming that all do.
    fn lower_stage(
        &self,
        component: &str,
        stage: Stage,
        comes: Option<Dtype>,
        grid: Option<LatentGrid>,
    ) -> Outcome<CompiledStage> {
        let passes = self.passes(component, stage.step(Kind::Only), grid)?;
        let mut steps = self.lower_steps(&passes, &stage, None)?;
        let output = stage.outputs.first();
        let Some(to) = output.and_then(|flow| made_in(&steps, &flow.name)) else {
            return Ok(CompiledStage { stage, steps });
        };
        let mut states: Vec<State> = stage.states.clone();
        let read = stage.inputs.first().filter(|_| comes == Some(to));
        let read: Option<String> = read.map(|flow| flow.name.clone());
        loop {
            let narrow = states.iter().map(|state| state.input.clone());
            let narrow = narrow.chain(read.clone()).collect();
            steps = self.lower_steps(&passes, &stage, Some((&narrow, to)))?;
            let before = states.len();
            states.retain(|state| made_in(&steps, &state.output) == Some(to));
            if states.len() == before {
                return Ok(CompiledStage { stage, steps });
            }
        }
    }

    fn lower_steps(
        &self,
        passes: &[PassSpec],
        stage: &Stage,
        narrow: Option<(&BTreeSet<String>, Dtype)>,
    ) -> Outcome<Vec<Compiled>> {
        let lowered = Kind::ALL.map(|kind| {
            let graph = match narrow {
                None => Ok(stage.step(kind).clone()),
                Some((names, to)) => rounded_inputs(stage.step(kind), names, to),
            };
            let part = Part {
                name: kind.name(),
                per: Per::Step,
                graph: graph.map_err(|bug| Failure::Bug(bug.to_string()))?,
                reuse: None,
            };
            self.lower_part(ltxc_passes::run, passes, part, None)
        });
        lowered.into_iter().collect()
    }
}

/// The narrow type that an output has the numbers of in all steps that make it.
fn made_in(steps: &[Compiled], output: &str) -> Option<Dtype> {
    let made = |step: &&Compiled| {
        step.graph
            .graph_outputs()
            .iter()
            .any(|(name, _)| name == output)
    };
    let mut types = steps
        .iter()
        .filter(made)
        .map(|step| widened_from(&step.graph, output));
    let first = types.next()??;
    types.all(|other| other == Some(first)).then_some(first)
}

/// The stages with what they hand on in the number format that they compute in.
fn narrowed(mut stages: Vec<CompiledStage>) -> Outcome<Vec<CompiledStage>> {
    let of_states = stages.iter().flat_map(|stage| &stage.stage.states);
    let of_states = of_states.map(|state| (&state.output, &state.input));
    let between = stages.iter().flat_map(|stage| &stage.stage.outputs);
    let between = between.map(|flow| (&flow.name, &flow.name));
    let link = |(output, input): (&String, &String)| Link {
        output: output.clone(),
        input: input.clone(),
    };
    let last = stages
        .last()
        .map_or(&[][..], |stage| &stage.stage.outputs[..]);
    let kept = |link: &Link| last.iter().all(|flow| flow.name != link.output);
    let links: Vec<_> = of_states.chain(between).map(link).filter(kept).collect();
    let steps = stages.iter_mut().flat_map(|stage| &mut stage.steps);
    hand_over(&mut steps.collect::<Vec<_>>(), &links)?;
    Ok(stages)
}

/// What the manifest says of a stage.
fn describe(
    component: &str,
    at: usize,
    compiled: &CompiledStage,
    model: MemoryModel,
) -> StreamStage {
    let stage = &compiled.stage;
    let file = |kind: Kind| format!("{component}.{at}.{}.onnx", kind.name());
    let graph = stage.step(Kind::Only);
    let inputs = graph
        .graph_inputs()
        .iter()
        .map(|id| graph.node(*id).name.clone());
    let comes = |name: &String| stage.inputs.iter().any(|flow| flow.name == *name);
    let states = stage.states.iter().map(|state| ltxc_bundle::State {
        input: state.input.clone(),
        output: state.output.clone(),
    });
    let sides: Option<[Side; 2]> = <[_; 2]>::try_from(stage.sides.clone())
        .ok()
        .map(|sides| sides.map(side));
    StreamStage {
        models: StepModels {
            first: file(Kind::First),
            next: file(Kind::Next),
            last: file(Kind::Last),
            only: file(Kind::Only),
        },
        inputs: inputs.filter(|name| !comes(name)).collect(),
        frames: stage.inputs.iter().map(flow).collect(),
        outputs: stage.outputs.iter().map(flow).collect(),
        states: states.collect(),
        least: stage.least as usize,
        sides,
        memory: needed(compiled, model),
    }
}

/// What a stage needs while it runs.
fn needed(compiled: &CompiledStage, model: MemoryModel) -> StageMemory {
    let stage = &compiled.stage;
    let graph = |kind: Kind| &compiled.steps[kind as usize].graph;
    let beside: BTreeSet<String> = stage
        .states
        .iter()
        .map(|state| state.input.clone())
        .collect();
    let of = |kind: Kind| peaks(graph(kind), model, &beside);
    let outputs = graph(Kind::Next).graph_outputs();
    let bytes = |kept: bool| {
        let is_state = |name: &String| stage.states.iter().any(|state| state.output == *name);
        let named = outputs.iter().filter(|(name, _)| is_state(name) == kept);
        let sizes = named.map(|(_, id)| memory::bytes(graph(Kind::Next), *id));
        sizes
            .fold(Size::from(0), |sum, size| sum + size)
            .to_string()
    };
    StageMemory {
        unit: stage.unit.clone(),
        weights: memory::plan(graph(Kind::Next), model).weights,
        states: bytes(true),
        results: bytes(false),
        first: of(Kind::First),
        next: of(Kind::Next),
        last: of(Kind::Last),
        only: of(Kind::Only),
    }
}

fn peaks(graph: &Graph, model: MemoryModel, beside: &BTreeSet<String>) -> Vec<String> {
    let peaks = memory::peaks(graph, model, beside);
    peaks.iter().map(Size::to_string).collect()
}

fn side(side: stream::Side) -> Side {
    let along = side.along.into_iter().map(|(name, along)| {
        let (axis, rate) = (along.axis, along.rate as usize);
        (name, Along { axis, rate })
    });
    Side {
        along: along.collect(),
        halo: side.halo as usize,
        size: side.size,
    }
}

fn flow(flow: &stream::Flow) -> Flow {
    Flow {
        name: flow.name.clone(),
        axis: flow.frames.axis,
        rate: flow.frames.rate as usize,
        offset: flow.frames.offset,
    }
}
