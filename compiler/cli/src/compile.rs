//! From a preset to lowered graphs: the compiler's way through its crates, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ltxc_bundle::{Plan, Settings, Stage, StageOp};
use ltxc_export::checkpoint::Checkpoint;
use ltxc_front::library::{self, Shelf};
use ltxc_front::{Diagnostic, GraphFile, PipelineFile, PresetFile, Source, TargetFile, expand};
use ltxc_ir::{Graph, Verified};
use ltxc_passes::{Capabilities, PassError, PassReport, PassSpec};
use serde_json::Value as Json;

use crate::failure::{Failure, Outcome};

/// What a caller may say about a compile.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// Path or name of the preset.
    pub preset: String,
    /// Checkpoint instead of the preset's.
    pub checkpoint: Option<PathBuf>,
    /// Text encoder instead of the preset's.
    pub text_encoder: Option<PathBuf>,
    /// Tokenizer instead of the preset's.
    pub tokenizer: Option<PathBuf>,
    /// Target instead of the preset's.
    pub target: Option<String>,
    /// `--set` paths and values.
    pub overrides: Vec<(String, String)>,
    /// If not empty, only these components.
    pub only: Vec<String>,
}

/// Every file of a compile, read but not yet expanded.
#[derive(Debug)]
pub struct Project {
    /// The preset.
    pub preset: PresetFile,
    /// The pipeline.
    pub pipeline: PipelineFile,
    /// The target.
    pub target: TargetFile,
    /// Graph files by component.
    pub graphs: BTreeMap<String, GraphFile>,
    /// What a run uses where the caller says nothing.
    pub defaults: Settings,
    /// The pipeline's stages.
    pub plan: Plan,
    /// Where the checkpoint is.
    pub checkpoint: Option<PathBuf>,
    /// Where the text encoder is.
    pub text_encoder: Option<PathBuf>,
    /// Where the tokenizer is.
    pub tokenizer: Option<PathBuf>,
}

/// A component on its way to a bundle.
#[derive(Debug)]
pub struct Compiled {
    /// The lowered graph.
    pub graph: Verified,
    /// What each pass did.
    pub reports: Vec<PassReport>,
}

type Driver =
    fn(Graph, &[PassSpec], &Capabilities) -> Result<(Verified, Vec<PassReport>), PassError>;

impl Project {
    /// Reads the preset and everything it names.
    pub fn open(options: &CompileOptions) -> Outcome<Self> {
        let source = find_preset(&options.preset)?;
        let preset = PresetFile::read(&source, &options.overrides)?;
        let base = base_of(&source);
        let pipeline = PipelineFile::read(&library::read(Shelf::Graphs, &preset.pipeline, &base)?)?;
        let target_name = options.target.as_ref().unwrap_or(&preset.target);
        let target = TargetFile::read(&library::read(Shelf::Targets, target_name, &base)?)?;
        let graphs = read_graphs(&pipeline, &options.only)?;
        let at = |path: &Option<String>| path.as_ref().map(|path| base.join(path));
        let text_encoder = options
            .text_encoder
            .clone()
            .or_else(|| at(&preset.text_encoder));
        let given_tokenizer = options
            .tokenizer
            .clone()
            .or_else(|| at(&preset.tokenizer).filter(|_| options.text_encoder.is_none()));
        Ok(Self {
            defaults: read_defaults(&preset)?,
            plan: read_plan(&pipeline, &options.only)?,
            checkpoint: options
                .checkpoint
                .clone()
                .or_else(|| at(&preset.checkpoint)),
            tokenizer: given_tokenizer.or_else(|| text_encoder.clone()),
            text_encoder,
            preset,
            pipeline,
            target,
            graphs,
        })
    }

    /// The checkpoint a component reads.
    pub fn role_of(&self, component: &str) -> &str {
        self.pipeline
            .components
            .get(component)
            .map_or("model", |entry| entry.checkpoint.as_str())
    }

    /// Opens every checkpoint that the components need, by role.
    pub fn checkpoints(&self) -> Outcome<BTreeMap<String, Checkpoint>> {
        let roles: BTreeSet<&str> = self.graphs.keys().map(|name| self.role_of(name)).collect();
        roles
            .into_iter()
            .map(|role| Ok((role.to_owned(), self.open_role(role)?)))
            .collect()
    }

    fn open_role(&self, role: &str) -> Outcome<Checkpoint> {
        let (path, flag) = match role {
            "model" => (&self.checkpoint, "--checkpoint FILE or FOLDER"),
            "text_encoder" => (&self.text_encoder, "--text-encoder FILE or FOLDER"),
            other => {
                return Err(Failure::Misuse(format!(
                    "the pipeline asks for a checkpoint `{other}`; model and text_encoder exist"
                )));
            }
        };
        let path = path.as_ref().ok_or_else(|| {
            Failure::Misuse(format!(
                "the preset `{}` names no {role}: give {flag}",
                self.preset.name
            ))
        })?;
        Ok(match role {
            "model" => Checkpoint::open(path)?,
            _ => Checkpoint::open_text_encoder(path)?,
        })
    }

    /// The expanded graph of a component, tied to its checkpoint.
    pub fn expand(&self, component: &str, checkpoint: &Checkpoint) -> Outcome<Graph> {
        let mut graph = expand(&self.graphs[component], checkpoint.config())?;
        ltxc_export::bind(&mut graph, checkpoint).map_err(|errors| {
            let text: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Failure::Input(anyhow::anyhow!(
                "component `{component}` does not fit the checkpoint:\n  {}",
                text.join("\n  ")
            ))
        })?;
        Ok(graph)
    }

    /// Runs the target's passes.
    pub fn lower(&self, graph: Graph) -> Outcome<Compiled> {
        self.lower_by(ltxc_passes::run, graph)
    }

    /// As [`Project::lower`]; every report also carries what its pass changed.
    pub fn explain(&self, graph: Graph) -> Outcome<Compiled> {
        self.lower_by(ltxc_passes::explain, graph)
    }

    fn lower_by(&self, driver: Driver, graph: Graph) -> Outcome<Compiled> {
        let passes: Vec<PassSpec> = self
            .target
            .passes
            .iter()
            .map(|p| PassSpec {
                pass: p.pass.clone(),
                because: p.because.clone(),
            })
            .collect();
        let failed = |e: PassError| match e.is_bug() {
            true => Failure::Bug(e.to_string()),
            false => Failure::Input(anyhow::anyhow!("{}: {e}", self.target.source.name)),
        };
        let (graph, reports) = driver(graph, &passes, &self.capabilities()?).map_err(failed)?;
        Ok(Compiled { graph, reports })
    }

    /// What rules may ask of the target.
    pub fn capabilities(&self) -> Outcome<Capabilities> {
        let parsed = serde_json::from_value(self.target.capabilities.clone());
        parsed.map_err(|e| {
            Diagnostic::new(
                "target::capabilities",
                &self.target.source,
                self.target.capabilities_span,
                e.to_string(),
            )
            .into()
        })
    }

    /// Fails if a checkpoint holds tensors that no component of the whole pipeline reads.
    pub fn check_unused(
        &self,
        graphs: &BTreeMap<String, BTreeSet<String>>,
        checkpoints: &BTreeMap<String, Checkpoint>,
    ) -> Outcome {
        for (role, checkpoint) in checkpoints {
            let used = graphs
                .iter()
                .filter(|(name, _)| self.role_of(name) == role)
                .flat_map(|(_, keys)| keys.clone())
                .collect();
            let unused = self
                .pipeline
                .unused
                .get(role)
                .map_or(&[][..], Vec::as_slice);
            ltxc_export::check_extra(checkpoint, &used, unused)
                .map_err(|e| Failure::Input(e.into()))?;
        }
        Ok(())
    }
}

/// A preset by path, or by the name of one that comes with the program.
pub fn find_preset(reference: &str) -> Outcome<Source> {
    let path = Path::new(reference);
    Ok(if path.is_file() || reference.ends_with(".yaml") {
        library::read_path(path)?
    } else {
        library::read(Shelf::Presets, reference, Path::new("."))?
    })
}

fn base_of(source: &Source) -> PathBuf {
    Path::new(&*source.name)
        .parent()
        .map_or_else(PathBuf::new, Path::to_owned)
}

fn read_graphs(pipeline: &PipelineFile, only: &[String]) -> Outcome<BTreeMap<String, GraphFile>> {
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
            Ok((
                name.clone(),
                GraphFile::read(&library::read(Shelf::Graphs, &entry.graph, &base)?)?,
            ))
        })
        .collect()
}

fn read_defaults(preset: &PresetFile) -> Outcome<Settings> {
    serde_json::from_value(preset.defaults.clone()).map_err(|e| {
        Diagnostic::new(
            "preset::defaults",
            &preset.source,
            preset.defaults_span,
            e.to_string(),
        )
        .into()
    })
}

/// The stages; none where only some components are compiled.
fn read_plan(pipeline: &PipelineFile, only: &[String]) -> Outcome<Plan> {
    let wrong = |why: String| {
        Failure::Diagnostics(vec![Diagnostic::new(
            "pipeline::stage",
            &pipeline.source,
            ltxc_front::Span::default(),
            why,
        )])
    };
    let mut stages = Vec::new();
    for (name, op) in &pipeline.stages {
        let op: StageOp = serde_json::from_value(op.clone())
            .map_err(|e| wrong(format!("stage `{name}`: {e}")))?;
        let component = component_of(&op);
        if !pipeline.components.contains_key(component) {
            return Err(wrong(format!(
                "stage `{name}` uses the component `{component}`, which the pipeline does not have"
            )));
        }
        if only.is_empty() {
            stages.push(Stage {
                name: name.clone(),
                op,
            });
        }
    }
    if !pipeline
        .stages
        .iter()
        .any(|(name, _)| *name == pipeline.video)
    {
        return Err(wrong(format!("`video: {}` names no stage", pipeline.video)));
    }
    Ok(Plan {
        name: pipeline.name.clone(),
        stages,
        video: pipeline.video.clone(),
    })
}

fn component_of(op: &StageOp) -> &str {
    match op {
        StageOp::EncodeText(stage) => &stage.component,
        StageOp::Denoise(stage) => &stage.component,
        StageOp::DecodeVideo(stage) => &stage.component,
    }
}

/// The section of a config, or an empty map.
pub fn section<'a>(config: &'a Json, name: &str) -> &'a Json {
    config.get(name).unwrap_or(&Json::Null)
}
