//! Pipelines and targets, checked against the stages, graphs and passes there are.

use std::collections::BTreeMap;

use ltxc_bundle::{Plan, Stage, StageOp};
use ltxc_front::library::Shelf;
use ltxc_front::{Diagnostic, GraphFile, PipelineFile, Placed, PresetFile, TargetFile};
use ltxc_ir::Dtype;
use ltxc_passes::{AttentionForm, Capabilities, Int4Form};

use crate::compile::{base_of, find};
use crate::failure::{Failure, Outcome};
use crate::recipes::{check_exact, check_passes};

/// The first opset with RMSNormalization and Attention.
const OPSET_OF_ATTENTION: i64 = 23;
/// The first opset whose DequantizeLinear takes 8-bit floats.
const OPSET_OF_FP8: i64 = 19;
/// The first opset whose DequantizeLinear takes 4 bits, in blocks.
const OPSET_OF_BLOCKS: i64 = 21;

/// What stages make.
const TEXT: &str = "hidden states of the text";
const TOKENS: &str = "tokens to start from";
const LATENTS: &str = "latents";
const PIXELS: &str = "pixels";

/// Reads everything that a pipeline names.
pub fn check_pipeline(pipeline: &PipelineFile) -> Outcome {
    read_graphs(pipeline, &[])?;
    read_plan(pipeline, &[])?;
    Ok(())
}

/// Checks what a target says against the passes and operators there are.
pub fn check_target(target: &TargetFile) -> Outcome {
    check_passes(&target.source, &target.passes)?;
    check_exact(target)?;
    let can: Capabilities = target.capabilities.read()?;
    let claims = [
        (claims_fp8(&can), OPSET_OF_FP8, "8-bit weights exist"),
        (
            can.int4_weights == Some(Int4Form::Dequantize),
            OPSET_OF_BLOCKS,
            "DequantizeLinear in blocks exists",
        ),
        (
            claims_newest(&can),
            OPSET_OF_ATTENTION,
            "RMSNormalization, RotaryEmbedding and Attention exist",
        ),
    ];
    let too_early = |(claimed, first, _): &&(bool, i64, &str)| *claimed && target.opset < *first;
    match claims.iter().find(too_early) {
        None => Ok(()),
        Some((_, first, what)) => {
            let message = format!(
                "{what} from opset {first}; this target says {}",
                target.opset
            );
            let mistake = target.capabilities.mistake("target::capabilities", message);
            Err(mistake.into())
        }
    }
}

fn claims_fp8(can: &Capabilities) -> bool {
    let of_fp8 = [&can.quantized_products, &can.quantized_attention];
    can.fp8_weights || of_fp8.iter().any(|types| types.contains(&Dtype::F8e4m3))
}

fn claims_newest(can: &Capabilities) -> bool {
    let attention = can.attention == AttentionForm::OnnxAttention;
    can.rms_normalization || can.rotary_embedding || attention
}

/// The graph files of the components that are wanted.
pub fn read_graphs(
    pipeline: &PipelineFile,
    only: &[String],
) -> Outcome<BTreeMap<String, GraphFile>> {
    if let Some(wrong) = only
        .iter()
        .find(|name| !pipeline.components.contains_key(*name))
    {
        let known: Vec<&str> = pipeline.components.keys().map(String::as_str).collect();
        return Err(Failure::Misuse(format!(
            "the pipeline has no component `{wrong}`; it has {}",
            known.join(", ")
        )));
    }
    let base = base_of(&pipeline.source);
    let wanted = pipeline
        .components
        .iter()
        .filter(|(name, _)| only.is_empty() || only.contains(name));
    wanted
        .map(|(name, entry)| {
            let graph = Placed {
                text: entry.graph.clone(),
                span: entry.span,
            };
            let file = find(&pipeline.source, Shelf::Graphs, &graph, &base)?;
            Ok((name.clone(), GraphFile::read(&file)?))
        })
        .collect()
}

/// What the graphs let a preset choose, as the preset chose it.
pub fn read_options(
    preset: &PresetFile,
    pipeline: &PipelineFile,
) -> Outcome<BTreeMap<String, String>> {
    let graphs = read_graphs(pipeline, &[])?;
    let mut options: BTreeMap<String, String> =
        graphs.values().flat_map(GraphFile::options).collect();
    for (name, chosen) in &preset.options {
        let known: Vec<&str> = options.keys().map(String::as_str).collect();
        if !options.contains_key(name) {
            let message = format!("no graph of the pipeline has the option `{name}`");
            let mistake = Diagnostic::new("preset::option", &preset.source, chosen.span, message);
            return Err(mistake.suggest(name, known).into());
        }
        options.insert(name.clone(), chosen.text.clone());
    }
    Ok(options)
}

/// The stages whose components are compiled.
pub fn read_plan(pipeline: &PipelineFile, only: &[String]) -> Outcome<Plan> {
    let (mut stages, mut known) = (Vec::new(), Vec::<(&str, &str)>::new());
    for (name, section) in &pipeline.stages {
        let op: StageOp = section.read()?;
        let parts = parts_of(&op);
        let wrong = |message| Failure::from(section.mistake("pipeline::stage", message));
        for component in &parts.components {
            if !pipeline.components.contains_key(*component) {
                let components: Vec<&str> =
                    pipeline.components.keys().map(String::as_str).collect();
                return Err(wrong(format!(
                    "the pipeline has no component `{component}`; it has {}",
                    components.join(", ")
                )));
            }
        }
        if let Some((stage, needs)) = parts.reads.iter().find(|read| !known.contains(read)) {
            return Err(wrong(format!(
                "no stage before this one makes {needs} under the name `{stage}`"
            )));
        }
        known.push((name, parts.makes));
        if only.is_empty()
            || parts
                .components
                .iter()
                .all(|name| only.iter().any(|o| o == name))
        {
            stages.push(Stage {
                name: name.clone(),
                op,
            });
        }
    }
    if !known.contains(&(pipeline.video.as_str(), PIXELS)) {
        let message = format!("no stage `{}` makes {PIXELS}", pipeline.video);
        return Err(Diagnostic::new(
            "pipeline::video",
            &pipeline.source,
            pipeline.video_span,
            message,
        )
        .into());
    }
    Ok(Plan {
        name: pipeline.name.clone(),
        stages,
        video: pipeline.video.clone(),
    })
}

/// What a stage makes, its components, and the stages it reads with what they must make.
struct Parts<'a> {
    makes: &'static str,
    components: Vec<&'a str>,
    reads: Vec<(&'a str, &'static str)>,
}

fn parts_of(op: &StageOp) -> Parts<'_> {
    let parts = |makes, components, reads| Parts {
        makes,
        components,
        reads,
    };
    match op {
        StageOp::EncodeText(stage) => parts(TEXT, vec![&stage.component], vec![]),
        StageOp::PrepareLatents(stage) => {
            let reads = stage.latents.iter().map(|name| (name.as_str(), LATENTS));
            parts(TOKENS, vec![&stage.component], reads.collect())
        }
        StageOp::Denoise(stage) => parts(
            LATENTS,
            vec![&stage.component],
            vec![(&stage.text, TEXT), (&stage.start, TOKENS)],
        ),
        StageOp::UpscaleLatents(stage) => parts(
            LATENTS,
            vec![&stage.component, &stage.statistics],
            vec![(&stage.latents, LATENTS)],
        ),
        StageOp::DecodeVideo(stage) => parts(
            PIXELS,
            vec![&stage.component],
            vec![(&stage.latents, LATENTS)],
        ),
    }
}
