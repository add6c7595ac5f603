//! What a bundle's plan needs: checked before a run, so that a stage finds what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_bundle::{Component, Manifest, Port, Stage, StageOp};

use super::RunError;
use super::job::Job;
use super::ports::{Given, Spec};
use crate::tensor::DType;

/// Names that a stage exchanges with its component.
struct Needs {
    inputs: &'static [&'static str],
    /// Inputs given where the component has them.
    may: &'static [&'static str],
    output: &'static str,
}

/// The component of a stage.
pub(super) fn component(op: &StageOp) -> &str {
    match op {
        StageOp::EncodeText(stage) => &stage.component,
        StageOp::Denoise(stage) => &stage.component,
        StageOp::DecodeVideo(stage) => &stage.component,
    }
}

/// Whether a prompt is used at all.
pub(super) fn encodes_text(manifest: &Manifest) -> bool {
    let encodes = |stage: &Stage| matches!(stage.op, StageOp::EncodeText(_));
    manifest.plan.stages.iter().any(encodes)
}

/// Checks that stages use results of earlier stages and components with the right ports.
pub(super) fn check(manifest: &Manifest) -> Result<(), RunError> {
    if manifest.plan.stages.is_empty() {
        let why = "it holds single components without a pipeline (`--only`): use `ltxc exec`";
        return Err(RunError::Manifest(why.to_owned()));
    }
    let mut before: BTreeMap<&str, &StageOp> = BTreeMap::new();
    for stage in &manifest.plan.stages {
        check_component(manifest, stage).map_err(|why| in_stage(stage, &why))?;
        check_source(&before, &stage.op).map_err(|why| in_stage(stage, &why))?;
        if before.insert(&stage.name, &stage.op).is_some() {
            return Err(in_stage(stage, "its name is used twice"));
        }
    }
    if encodes_text(manifest) && manifest.tokenizer.is_none() {
        return Err(RunError::Manifest(
            "it encodes text without a tokenizer".to_owned(),
        ));
    }
    let video = before.get(manifest.plan.video.as_str());
    if matches!(video, Some(StageOp::DecodeVideo(_))) {
        return Ok(());
    }
    let why = format!("`{}` is no stage that decodes a video", manifest.plan.video);
    Err(RunError::Manifest(why))
}

fn in_stage(stage: &Stage, why: &str) -> RunError {
    RunError::Manifest(format!("stage `{}`: {why}", stage.name))
}

fn needs(op: &StageOp) -> Needs {
    match op {
        StageOp::EncodeText(_) => Needs {
            inputs: &["ids", "mask"],
            may: &[],
            output: "hidden",
        },
        StageOp::Denoise(_) => Needs {
            inputs: &["latents", "coords", "text", "text_mask", "timestep"],
            may: &[],
            output: "velocity",
        },
        StageOp::DecodeVideo(_) => Needs {
            inputs: &["latents"],
            may: &["timestep"],
            output: "video",
        },
    }
}

fn check_component(manifest: &Manifest, stage: &Stage) -> Result<(), String> {
    let name = component(&stage.op);
    let found = manifest.components.get(name);
    let found = found.ok_or_else(|| format!("there is no component `{name}`"))?;
    let needs = needs(&stage.op);
    let has = |ports: &[Port], wanted: &str| ports.iter().any(|port| port.name == wanted);
    if let Some(input) = needs.inputs.iter().find(|input| !has(&found.inputs, input)) {
        return Err(format!("`{name}` has no input `{input}`"));
    }
    if !has(&found.outputs, needs.output) {
        return Err(format!("`{name}` has no output `{}`", needs.output));
    }
    match strange_input(found, &needs) {
        Some(input) => Err(format!(
            "`{name}` has the input `{input}`, which the stage does not give"
        )),
        None => Ok(()),
    }
}

fn strange_input<'a>(component: &'a Component, needs: &Needs) -> Option<&'a str> {
    let given = |port: &Port| {
        let name = port.name.as_str();
        needs.inputs.contains(&name) || needs.may.contains(&name) || port.source.is_some()
    };
    let mut strange = component.inputs.iter().filter(|port| !given(port));
    strange.next().map(|port| port.name.as_str())
}

fn check_source(before: &BTreeMap<&str, &StageOp>, op: &StageOp) -> Result<(), String> {
    match op {
        StageOp::EncodeText(_) => Ok(()),
        StageOp::Denoise(stage) => match before.get(stage.text.as_str()) {
            Some(StageOp::EncodeText(_)) => Ok(()),
            _ => Err(format!("no stage before it encodes `{}`", stage.text)),
        },
        StageOp::DecodeVideo(stage) => match before.get(stage.latents.as_str()) {
            Some(StageOp::Denoise(_)) => Ok(()),
            _ => Err(format!("no stage before it denoises `{}`", stage.latents)),
        },
    }
}

/// Checks that the components were compiled for the sizes of a job.
pub(super) fn check_sizes(manifest: &Manifest, job: &Job) -> Result<(), RunError> {
    let mut checked = BTreeSet::new();
    for stage in &manifest.plan.stages {
        let name = component(&stage.op);
        let Some(component) = manifest
            .components
            .get(name)
            .filter(|_| checked.insert(name))
        else {
            continue;
        };
        let spec = Spec::new(name, component)?;
        let shapes = shapes(&stage.op, job);
        let given: Given<'_> = shapes
            .iter()
            .filter(|(input, _, _)| spec.input(input).is_some())
            .map(|(input, dtype, shape)| (*input, (*dtype, shape.as_slice())))
            .collect();
        spec.sizes(&given).map_err(|faults| RunError::Inputs {
            component: name.to_owned(),
            faults,
        })?;
    }
    Ok(())
}

/// The inputs of a stage whose shapes follow from the job alone.
fn shapes(op: &StageOp, job: &Job) -> Vec<(&'static str, DType, Vec<usize>)> {
    let (rows, tokens) = (job.rows().len(), job.geometry.latents.count());
    match op {
        StageOp::EncodeText(_) => vec![
            ("ids", DType::I64, vec![rows, job.max_tokens]),
            ("mask", DType::I64, vec![rows, job.max_tokens]),
        ],
        StageOp::Denoise(_) => vec![
            ("latents", DType::F32, vec![rows, tokens, job.channels]),
            ("coords", DType::F32, vec![1, 3, tokens]),
            ("text_mask", DType::I64, vec![rows, job.max_tokens]),
            ("timestep", DType::F32, vec![rows, 1]),
        ],
        StageOp::DecodeVideo(_) => vec![
            ("latents", DType::F32, job.latent_shape().to_vec()),
            ("timestep", DType::F32, vec![1]),
        ],
    }
}
