//! From a project to a bundle on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ltxc_bundle::{Manifest, ModelFacts, PassRecord, Plan, Source, TargetInfo, VERSION};
use ltxc_export::checkpoint::Checkpoint;
use ltxc_export::{BundleWriter, ComponentSource, Dialect, PartSource, file_name, weight_keys};
use ltxc_front::{Role, TargetFile};
use ltxc_ir::attrs::Per;
use ltxc_ir::{Graph, Verified};
use ltxc_passes::PassReport;
use serde_json::Value as Json;

use crate::compile::{Compiled, Project, section};
use crate::failure::{Failure, Outcome};
use crate::recipes::idle;
use crate::sizes::{AskedSize, latent_grid, specialize_all};
use crate::stream::CompiledStream;

/// Name of the tokenizer in a bundle.
const TOKENIZER: &str = "tokenizer.json";

/// What is said where nothing is kept for a video.
const NO_HOIST: &str = "what stays the same for a whole video is computed at every step (hoist: false), which saves the memory it takes and costs time";

/// What a compile tells while it works.
pub trait Progress {
    /// A component begins; it has this many weight bytes.
    fn component(&mut self, name: &str, weight_bytes: u64);
    /// This many more bytes are written.
    fn bytes(&mut self, bytes: u64);
    /// A choice the user should know of.
    fn note(&mut self, text: &str);
}

/// Compiles every component and writes the bundle.
pub fn write_bundle(
    project: &Project,
    out: &Path,
    progress: &mut dyn Progress,
) -> Outcome<PathBuf> {
    let checkpoints = project.open_checkpoints()?;
    if let Some((role, _)) = checkpoints
        .iter()
        .find(|(_, checkpoint)| checkpoint.is_outline())
    {
        let said = anyhow::anyhow!(
            "the {} is an outline: it says shapes and holds no weights, so it can be planned, dumped and explained, not compiled",
            role.name()
        );
        return Err(Failure::Input(said));
    }
    let said = project.preset.notes.iter();
    let inferred = checkpoints.values().flat_map(Checkpoint::notes);
    let mut notes: Vec<String> = said.chain(inferred).cloned().collect();
    if !project.hoist {
        notes.push(NO_HOIST.to_owned());
    }
    notes.iter().for_each(|note| progress.note(note));
    let graphs = expand_all(project, &checkpoints)?;
    let tokenizer = tokenizer(project)?;
    let model = model_facts(&project.plan, &graphs, &checkpoints);
    let open = graphs.clone();
    let graphs = specialize_all(project, graphs, &checkpoints)?;
    let grid = latent_grid(project, &checkpoints)?;
    let capabilities = project.capabilities()?;
    let dialect = Dialect {
        opset: project.target.opset,
        ir_version: project.target.ir_version,
        half_weights: capabilities.half_weights,
        fp8_weights: capabilities.fp8_weights,
        unsigned_int8: capabilities.unsigned_int8,
    };
    let mut writer = BundleWriter::create(out)?;
    let mut components = BTreeMap::new();
    for (name, graph) in graphs {
        let parts = project.lower(&name, graph.clone(), grid)?;
        let dense = project.lower_dense(&name, graph.clone(), grid, &parts)?;
        let (stream, refusal) = project.lower_stages(&name, &open[&name], grid)?;
        // What does not fit at once is computed in pieces, whose size is the run's choice.
        let parts_said = parts
            .iter()
            .chain(dense.iter().flatten())
            .filter(|_| stream.is_none());
        let said = parts_said.filter_map(|part| part.note.clone());
        for note in said
            .chain(refusal)
            .chain(idle(&project.recipes, &name, &parts))
        {
            progress.note(&note);
            notes.push(note);
        }
        let checkpoint = &checkpoints[&project.role_of(&name)];
        progress.component(&name, weight_bytes(&parts, checkpoint));
        let source = ComponentSource {
            name: &name,
            whole: &graph,
            parts: parts.iter().map(part_source).collect(),
            dense: dense_sources(&parts, &dense)?,
            stream: stream
                .as_ref()
                .map(|stream| stream.described(&parts, capabilities.memory)),
            stages: stream
                .as_ref()
                .map_or_else(Vec::new, CompiledStream::sources),
            checkpoint,
        };
        components.insert(
            name.clone(),
            writer.component(&source, &dialect, &mut |bytes| progress.bytes(bytes))?,
        );
    }
    if let Some((text, from)) = &tokenizer {
        writer.file(TOKENIZER, text.as_bytes(), vec![from.clone()])?;
    }
    let manifest = Manifest {
        version: VERSION,
        producer: format!("ltxc {}", env!("CARGO_PKG_VERSION")),
        name: project.preset.name.clone(),
        target: target_info(&project.target),
        model,
        components,
        tokenizer: tokenizer.map(|_| TOKENIZER.to_owned()),
        options: project.options.clone(),
        compiled_for: project.size.map(AskedSize::compiled_for),
        plan: project.plan.clone(),
        defaults: project.defaults.clone(),
        files: BTreeMap::new(),
        sources: sources(project, &checkpoints),
        notes,
    };
    Ok(writer.finish(manifest)?)
}

/// Expands and binds every component, and checks that no tensor is left over.
pub fn expand_all(
    project: &Project,
    checkpoints: &BTreeMap<Role, Checkpoint>,
) -> Outcome<BTreeMap<String, Graph>> {
    let mut graphs = BTreeMap::new();
    for name in project.graphs.keys() {
        graphs.insert(
            name.clone(),
            project.expand(name, &checkpoints[&project.role_of(name)])?,
        );
    }
    let complete = graphs.len() == project.pipeline.components.len();
    if complete {
        let keys = graphs
            .iter()
            .map(|(name, graph)| (name.clone(), weight_keys(graph)))
            .collect();
        project.check_unused(&keys, checkpoints)?;
    }
    Ok(graphs)
}

/// As the manifest says it.
pub fn target_info(target: &TargetFile) -> TargetInfo {
    TargetInfo {
        name: target.name.clone(),
        runtime: target.runtime.clone(),
        provider: target.provider.clone(),
        opset: target.opset,
    }
}

fn record(report: &PassReport) -> PassRecord {
    PassRecord {
        pass: report.pass.clone(),
        matched: report.matched,
        declined: report.declines(),
    }
}

fn part_source(part: &Compiled) -> PartSource<'_> {
    PartSource {
        name: part.name,
        per: part.per,
        reuse: part.reuse.as_deref(),
        graph: &part.graph,
        passes: part.reports.iter().map(record).collect(),
    }
}

/// The graphs of dense steps, which stand for those of the others.
fn dense_sources<'a>(
    parts: &[Compiled],
    dense: &'a [Option<Compiled>],
) -> Outcome<Vec<Option<&'a Verified>>> {
    let source = |(part, dense): (&Compiled, &'a Option<Compiled>)| {
        let Some(dense) = dense else {
            return Ok(None);
        };
        match same_ports(&part.graph, &dense.graph) && part.per == Per::Step {
            true => Ok(Some(&dense.graph)),
            false => Err(Failure::Bug(format!(
                "dense steps read or make something else in the part `{}`",
                part.name
            ))),
        }
    };
    parts.iter().zip(dense).map(source).collect()
}

/// Whether two graphs take and make values of the same names and types.
fn same_ports(a: &Graph, b: &Graph) -> bool {
    let ports = |graph: &Graph| {
        let outputs = graph.graph_outputs().iter();
        let outputs = outputs.map(|(name, id)| (name.clone(), graph.node(*id).fact.clone()));
        let inputs = graph.graph_inputs().iter().map(|id| graph.node(*id));
        let inputs = inputs.map(|node| (node.name.clone(), node.fact.clone()));
        inputs.chain(outputs).collect::<Vec<_>>()
    };
    ports(a) == ports(b)
}

fn weight_bytes(parts: &[Compiled], checkpoint: &Checkpoint) -> u64 {
    let keys = parts.iter().flat_map(|part| weight_keys(&part.graph));
    keys.collect::<BTreeSet<_>>()
        .iter()
        .filter_map(|key| checkpoint.tensor(key))
        .map(|tensor| tensor.bytes)
        .sum()
}

/// The tokenizer's text, where a component needs one, and the name it came from.
pub fn tokenizer(project: &Project) -> Outcome<Option<(String, String)>> {
    let needed = project.roles().contains(&Role::TextEncoder);
    let Some(path) = project.tokenizer.as_ref().filter(|_| needed) else {
        return Ok(None);
    };
    let text = ltxc_export::tokenizer::load(path).map_err(|e| {
        Failure::Input(anyhow::Error::new(e).context("the prompt needs a tokenizer: a folder with tokenizer.json or spiece.model (--tokenizer)"))
    })?;
    Ok(Some((text, file_name(path))))
}

/// Compression and channels as the decoder's own types say them.
pub fn model_facts(
    plan: &Plan,
    graphs: &BTreeMap<String, Graph>,
    checkpoints: &BTreeMap<Role, Checkpoint>,
) -> ModelFacts {
    let config = checkpoints
        .get(&Role::Model)
        .map_or(&Json::Null, Checkpoint::config);
    let decoder = plan.stages.iter().find_map(|stage| match &stage.op {
        ltxc_bundle::StageOp::DecodeVideo(decode) => graphs.get(&decode.component),
        _ => None,
    });
    let video = decoder
        .and_then(|graph| {
            Some(
                graph
                    .node(graph.graph_outputs().first()?.1)
                    .fact
                    .shape
                    .clone(),
            )
        })
        .unwrap_or_default();
    let at = |axis: usize, n: i64| {
        video
            .get(axis)
            .and_then(|size| size.eval(&|_| Some(n)))
            .unwrap_or(0)
    };
    ModelFacts {
        latent_channels: section(config, "transformer")
            .get("in_channels")
            .and_then(Json::as_u64)
            .unwrap_or(0) as usize,
        frames_per_latent: (at(2, 2) - at(2, 1)).unsigned_abs() as usize,
        pixels_per_latent: at(3, 1).unsigned_abs() as usize,
        causal_positions: section(config, "transformer")
            .get("causal_temporal_positioning")
            .and_then(Json::as_bool)
            .unwrap_or(false),
        scheduler: section(config, "scheduler").clone(),
        allowed_inference_steps: config
            .get("allowed_inference_steps")
            .and_then(|steps| serde_json::from_value(steps.clone()).ok()),
    }
}

fn sources(project: &Project, checkpoints: &BTreeMap<Role, Checkpoint>) -> Vec<Source> {
    let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let mut sources = Vec::new();
    for (role, checkpoint) in checkpoints {
        let of = |path: &PathBuf| Source {
            role: role.name().to_owned(),
            name: file_name(path),
            bytes: size(path),
        };
        sources.extend(checkpoint.sources().iter().map(of));
        sources.extend(checkpoint.loras().iter().map(|lora| Source {
            role: "lora".to_owned(),
            ..of(&lora.path().to_owned())
        }));
    }
    let text = |role: &str, source: &ltxc_front::Source| Source {
        role: role.to_owned(),
        name: source.short_name().to_owned(),
        bytes: source.text.len() as u64,
    };
    sources.push(text("preset", &project.preset.source));
    sources.push(text("pipeline", &project.pipeline.source));
    sources.push(text("target", &project.target.source));
    let recipes = project.recipes.iter();
    sources.extend(recipes.map(|recipe| text("recipe", &recipe.source)));
    sources.extend(
        project
            .graphs
            .values()
            .map(|graph| text("graph", &graph.source)),
    );
    sources
}
