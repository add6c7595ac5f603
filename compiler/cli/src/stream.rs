//! The stages in which a component is computed some frames at a time.

use ltxc_bundle::{Flow, StageOp, State, StepModels, StreamStage};
use ltxc_export::StageSource;
use ltxc_ir::attrs::Per;
use ltxc_ir::{Graph, Verified};
use ltxc_passes::transforms::hand_over::Link;
use ltxc_passes::transforms::split::Part;
use ltxc_passes::transforms::stream::{self, Kind, Stage, StreamError};

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

impl Project {
    /// The lowered stages of a component, and why there are none where its graph does not allow it.
    pub fn lower_stages(
        &self,
        component: &str,
        graph: &Graph,
        grid: Option<LatentGrid>,
    ) -> Outcome<(Vec<CompiledStage>, Option<String>)> {
        let (stages, refusal) = self.stages(component, graph)?;
        let stages = stages.into_iter();
        let lowered = stages.map(|stage| self.lower_stage(component, stage, grid));
        Ok((narrowed(lowered.collect::<Outcome<_>>()?)?, refusal))
    }

    /// The stages of a component that decodes a video.
    pub fn stages(&self, component: &str, graph: &Graph) -> Outcome<(Vec<Stage>, Option<String>)> {
        let decodes = |stage: &ltxc_bundle::Stage| matches!(&stage.op, StageOp::DecodeVideo(op) if op.component == component);
        if !self.plan.stages.iter().any(decodes) {
            return Ok((Vec::new(), None));
        }
        match stream::stream(graph) {
            Ok(stages) => Ok((stages, None)),
            Err(StreamError::Timeless(_)) => Ok((Vec::new(), None)),
            Err(why @ StreamError::Node { .. }) => {
                let refusal = format!("`{component}` takes a whole video at once: {why}");
                Ok((Vec::new(), Some(refusal)))
            }
            Err(bug @ StreamError::Graph(_)) => Err(Failure::Bug(bug.to_string())),
        }
    }

    fn lower_stage(
        &self,
        component: &str,
        stage: Stage,
        grid: Option<LatentGrid>,
    ) -> Outcome<CompiledStage> {
        let passes = self.passes(component, stage.step(Kind::Only), grid)?;
        let lowered = Kind::ALL.map(|kind| {
            let part = Part {
                name: kind.name(),
                per: Per::Step,
                graph: stage.step(kind).clone(),
                reuse: None,
            };
            self.lower_part(ltxc_passes::run, &passes, part, None)
        });
        Ok(CompiledStage {
            steps: lowered.into_iter().collect::<Outcome<_>>()?,
            stage,
        })
    }
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

/// What a bundle is written from.
pub fn sources<'a>(component: &str, stages: &'a [CompiledStage]) -> Vec<StageSource<'a>> {
    let source = |(at, compiled): (usize, &'a CompiledStage)| {
        let graphs: Vec<&Verified> = compiled.steps.iter().map(|step| &step.graph).collect();
        Some(StageSource {
            described: describe(component, at, &compiled.stage)?,
            steps: graphs.try_into().ok()?,
        })
    };
    stages.iter().enumerate().filter_map(source).collect()
}

/// A stage with one way in and one way out, as those of a decoder are.
fn describe(component: &str, at: usize, stage: &Stage) -> Option<StreamStage> {
    let ([frames], [output]) = (&stage.inputs[..], &stage.outputs[..]) else {
        return None;
    };
    let file = |kind: Kind| format!("{component}.{at}.{}.onnx", kind.name());
    let graph = stage.step(Kind::Only);
    let inputs = graph
        .graph_inputs()
        .iter()
        .map(|id| graph.node(*id).name.clone());
    let states = stage.states.iter().map(|state| State {
        input: state.input.clone(),
        output: state.output.clone(),
    });
    Some(StreamStage {
        models: StepModels {
            first: file(Kind::First),
            next: file(Kind::Next),
            last: file(Kind::Last),
            only: file(Kind::Only),
        },
        inputs: inputs.filter(|name| *name != frames.name).collect(),
        frames: flow(frames),
        output: flow(output),
        states: states.collect(),
        least: stage.least as usize,
    })
}

fn flow(flow: &stream::Flow) -> Flow {
    Flow {
        name: flow.name.clone(),
        axis: flow.frames.axis,
        rate: flow.frames.rate as usize,
        offset: flow.frames.offset,
    }
}
