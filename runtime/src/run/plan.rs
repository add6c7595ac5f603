//! What a bundle's plan needs: checked before a run, so that a stage finds what it asks for.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_bundle::{Component, Manifest, Port, Stage, StageOp};

use super::RunError;
use super::geometry::VideoSize;
use super::job::Job;
use super::ports::{Given, InputFault, Spec};
use crate::tensor::DType;

/// Names that a stage exchanges with a component.
struct Needs<'a> {
    component: &'a str,
    inputs: &'static [&'static str],
    /// Inputs given where the component has them.
    may: &'static [&'static str],
    outputs: &'static [&'static str],
}

/// The main component of a stage.
pub(super) fn component(op: &StageOp) -> &str {
    match op {
        StageOp::EncodeText(stage) => &stage.component,
        StageOp::PrepareLatents(stage) => &stage.component,
        StageOp::Denoise(stage) => &stage.component,
        StageOp::UpscaleLatents(stage) => &stage.component,
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
        for needs in needs(&stage.op) {
            check_component(manifest, &needs).map_err(|why| in_stage(stage, &why))?;
        }
        check_sources(&before, &stage.op).map_err(|why| in_stage(stage, &why))?;
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

fn needs(op: &StageOp) -> Vec<Needs<'_>> {
    let main = |inputs, may, outputs| Needs {
        component: component(op),
        inputs,
        may,
        outputs,
    };
    match op {
        StageOp::EncodeText(_) => vec![main(&["ids", "mask"], &[], &["hidden"])],
        StageOp::PrepareLatents(_) => vec![main(&["video", "noise"], &[], &["latents"])],
        StageOp::Denoise(_) => vec![main(
            &[
                "latents",
                "coords",
                "text",
                "text_mask",
                "timestep",
                "timestep_of",
            ],
            &["keep"],
            &["velocity"],
        )],
        StageOp::UpscaleLatents(stage) => vec![
            main(&["latents"], &[], &["upscaled"]),
            Needs {
                component: &stage.statistics,
                inputs: &["latents"],
                may: &[],
                outputs: &["normalized", "un_normalized"],
            },
        ],
        StageOp::DecodeVideo(_) => vec![main(&["latents"], &["timestep"], &["video"])],
    }
}

/// Blocks that a transformer can perturb; the largest has 48.
const MOST_BLOCKS: usize = 4096;

/// The blocks of the input `keep` are a plain number of them.
fn check_blocks(name: &str, component: &Component) -> Result<(), String> {
    let keep = component.inputs.iter().find(|port| port.name == "keep");
    let Some(keep) = keep else { return Ok(()) };
    match keep.shape.first().map(|size| size.parse::<usize>()) {
        Some(Ok(blocks)) if blocks <= MOST_BLOCKS => Ok(()),
        _ => Err(format!(
            "`{name}` takes `keep` of {:?}, not of up to {MOST_BLOCKS} blocks",
            keep.shape
        )),
    }
}

fn check_component(manifest: &Manifest, needs: &Needs<'_>) -> Result<(), String> {
    let name = needs.component;
    let found = manifest.components.get(name);
    let found = found.ok_or_else(|| format!("there is no component `{name}`"))?;
    if needs.may.contains(&"keep") {
        check_blocks(name, found)?;
    }
    let has = |ports: &[Port], wanted: &str| ports.iter().any(|port| port.name == wanted);
    if let Some(input) = needs.inputs.iter().find(|input| !has(&found.inputs, input)) {
        return Err(format!("`{name}` has no input `{input}`"));
    }
    let lacking = needs
        .outputs
        .iter()
        .find(|output| !has(&found.outputs, output));
    if let Some(output) = lacking {
        return Err(format!("`{name}` has no output `{output}`"));
    }
    match strange_input(found, needs) {
        Some(input) => Err(format!(
            "`{name}` has the input `{input}`, which the stage does not give"
        )),
        None => Ok(()),
    }
}

fn strange_input<'a>(component: &'a Component, needs: &Needs<'_>) -> Option<&'a str> {
    let given = |port: &Port| {
        let name = port.name.as_str();
        needs.inputs.contains(&name) || needs.may.contains(&name) || port.source.is_some()
    };
    let mut strange = component.inputs.iter().filter(|port| !given(port));
    strange.next().map(|port| port.name.as_str())
}

fn check_sources(before: &BTreeMap<&str, &StageOp>, op: &StageOp) -> Result<(), String> {
    let text = |name: &str| match before.get(name) {
        Some(StageOp::EncodeText(_)) => Ok(()),
        _ => Err(format!("no stage before it encodes `{name}`")),
    };
    let start = |name: &str| match before.get(name) {
        Some(StageOp::PrepareLatents(_)) => Ok(()),
        _ => Err(format!("no stage before it prepares `{name}`")),
    };
    let latents = |name: &str| match before.get(name) {
        Some(StageOp::Denoise(_) | StageOp::UpscaleLatents(_)) => Ok(()),
        _ => Err(format!("no stage before it makes latents `{name}`")),
    };
    match op {
        StageOp::EncodeText(_) => Ok(()),
        StageOp::PrepareLatents(stage) => stage.latents.as_deref().map_or(Ok(()), latents),
        StageOp::Denoise(stage) => text(&stage.text).and_then(|()| start(&stage.start)),
        StageOp::UpscaleLatents(stage) => latents(&stage.latents),
        StageOp::DecodeVideo(stage) => latents(&stage.latents),
    }
}

/// A call of a component, as far as it follows from a job alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The stage that makes it.
    pub stage: String,
    /// The component.
    pub component: String,
    /// The component's named sizes; one that does not follow is left out.
    pub sizes: BTreeMap<String, i64>,
}

/// Checks that the components were compiled for the sizes of a job, with so many takes denoised at once.
pub(super) fn check_sizes(manifest: &Manifest, job: &Job, together: usize) -> Result<(), RunError> {
    sized_calls(manifest, job, together).map(drop)
}

/// The calls that a job makes, in order; several takes are denoised at once.
pub(super) fn sized_calls(
    manifest: &Manifest,
    job: &Job,
    together: usize,
) -> Result<Vec<Call>, RunError> {
    let mut sized = Vec::new();
    for stage in &manifest.plan.stages {
        let name = component(&stage.op);
        let Some(component) = manifest.components.get(name) else {
            continue;
        };
        let spec = Spec::new(name, component)?;
        for shapes in calls(manifest, stage, job, together)? {
            let given: Given<'_> = shapes
                .iter()
                .filter(|(input, _, _)| spec.input(input).is_some())
                .map(|(input, dtype, shape)| (*input, (*dtype, shape.as_slice())))
                .collect();
            let sizes = spec.sizes(&given);
            sized.push(Call {
                stage: stage.name.clone(),
                component: name.to_owned(),
                sizes: sizes.map_err(|faults| refused(manifest, name, faults))?,
            });
        }
    }
    Ok(sized)
}

fn refused(manifest: &Manifest, component: &str, faults: Vec<InputFault>) -> RunError {
    let component = component.to_owned();
    match manifest.compiled_for.clone() {
        Some(size) => RunError::CompiledFor {
            size,
            component,
            faults,
        },
        None => RunError::Inputs { component, faults },
    }
}

type Shapes = Vec<(&'static str, DType, Vec<usize>)>;

/// The inputs of a stage's calls whose shapes follow from the job alone.
fn calls(
    manifest: &Manifest,
    stage: &Stage,
    job: &Job,
    together: usize,
) -> Result<Vec<Shapes>, RunError> {
    let five =
        |channels: usize, size: VideoSize| vec![1, channels, size.frames, size.height, size.width];
    Ok(match &stage.op {
        StageOp::EncodeText(_) => vec![vec![
            ("ids", DType::I64, vec![1, job.max_tokens]),
            ("mask", DType::I64, vec![1, job.max_tokens]),
        ]],
        StageOp::PrepareLatents(_) => {
            let media = job.encoded_sizes(job.pass(&stage.name)?)?;
            let call = |size| vec![("video", DType::F32, five(3, size))];
            media.into_iter().map(call).collect()
        }
        StageOp::Denoise(op) => {
            let pass = job.pass(&op.start)?;
            let most = pass.window().count() + job.extra_tokens(pass)?;
            let call = |(rows, tokens): (usize, usize)| {
                vec![
                    ("latents", DType::F32, vec![rows, tokens, job.channels]),
                    ("coords", DType::F32, vec![1, 3, tokens]),
                    ("text_mask", DType::I64, vec![rows, job.max_tokens]),
                    ("timestep", DType::F32, vec![rows, 1]),
                    ("timestep_of", DType::I64, vec![1]),
                ]
            };
            let rows = pass.rows().into_iter().map(|rows| together * rows);
            let (first, later) = (most - pass.anchors(), most);
            let sizes = BTreeSet::from([first, later]);
            let calls = rows.flat_map(|rows| sizes.iter().map(move |tokens| (rows, *tokens)));
            calls.map(call).collect()
        }
        StageOp::UpscaleLatents(op) => match job.pass_of(manifest, &op.latents) {
            Ok(pass) => vec![vec![(
                "latents",
                DType::F32,
                five(job.channels, pass.latents),
            )]],
            Err(_) => vec![], // its latents come from another upscaler
        },
        StageOp::DecodeVideo(_) => match job.passes.last() {
            Some(pass) => vec![vec![
                ("latents", DType::F32, five(job.channels, pass.latents)),
                ("timestep", DType::F32, vec![1]),
            ]],
            None => vec![],
        },
    })
}
