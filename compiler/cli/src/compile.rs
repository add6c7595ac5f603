//! From a preset to lowered graphs: the compiler's way through its crates, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ltxc_bundle::{Plan, Settings};
use ltxc_export::checkpoint::Checkpoint;
use ltxc_front::library::{self, Shelf};
use ltxc_front::{
    Diagnostic, GraphFile, PipelineFile, Placed, PresetFile, Role, Source, Span, TargetFile, expand,
};
use ltxc_ir::{Graph, Verified};
use ltxc_passes::{Capabilities, PassError, PassReport, PassSpec};
use serde_json::Value as Json;

use crate::failure::{Failure, Outcome};
use crate::pipeline::{check_target, read_graphs, read_plan};

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
        let pipeline = find(&source, Shelf::Graphs, &preset.pipeline, &base)?;
        let pipeline = PipelineFile::read(&pipeline)?;
        let target = TargetFile::read(&find_target(&source, options, &preset, &base)?)?;
        check_target(&target)?;
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
            defaults: preset.defaults.read()?,
            plan: read_plan(&pipeline, &options.only)?,
            checkpoint: options
                .checkpoint
                .clone()
                .or_else(|| at(&preset.checkpoint)),
            tokenizer: given_tokenizer.or_else(|| text_encoder.as_deref().map(tokenizer_near)),
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
            .map_or(Role::Model, |entry| entry.checkpoint)
            .name()
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
            _ => (&self.text_encoder, "--text-encoder FILE or FOLDER"),
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
            let listed = errors.iter().take(ltxc_export::LISTED);
            let mut text: Vec<String> = listed.map(ToString::to_string).collect();
            match errors.len() - text.len() {
                0 => {}
                more => text.push(format!("and {more} more")),
            }
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
        Ok(self.target.capabilities.read()?)
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
    Ok(if path.exists() || reference.ends_with(".yaml") {
        library::read_path(path)?
    } else {
        library::read(Shelf::Presets, reference, Path::new("."))?
    })
}

/// Reads what a line of a file names; a mistake in the name is placed at that line.
pub fn find(source: &Source, shelf: Shelf, name: &Placed, base: &Path) -> Outcome<Source> {
    let found = library::read(shelf, &name.text, base);
    Ok(found.map_err(
        |mistake| match (mistake.source.text.is_empty(), name.span.line) {
            (false, _) | (_, 0) => mistake,
            (true, _) => Diagnostic {
                message: Diagnostic {
                    span: Span::default(),
                    ..mistake.clone()
                }
                .to_string(),
                source: source.clone(),
                span: name.span,
                ..mistake
            },
        },
    )?)
}

fn find_target(
    source: &Source,
    options: &CompileOptions,
    preset: &PresetFile,
    base: &Path,
) -> Outcome<Source> {
    match (&options.target, &preset.target) {
        (Some(given), _) => Ok(library::read(Shelf::Targets, given, Path::new(""))?),
        (None, Some(target)) => find(source, Shelf::Targets, target, base),
        (None, None) => Ok(library::read(Shelf::Targets, "ort-cpu", base)?),
    }
}

/// The text encoder's folder, or the folder `tokenizer` beside it where the former holds no tokenizer.
fn tokenizer_near(text_encoder: &Path) -> PathBuf {
    let holds = |name: &str| text_encoder.join(name).exists();
    let beside = text_encoder.parent().map(|parent| parent.join("tokenizer"));
    match beside.filter(|folder| folder.is_dir()) {
        Some(folder)
            if !["tokenizer.json", "spiece.model", "tokenizer"]
                .into_iter()
                .any(holds) =>
        {
            folder
        }
        _ => text_encoder.to_owned(),
    }
}

/// The folder a file is in.
pub fn base_of(source: &Source) -> PathBuf {
    Path::new(&*source.name)
        .parent()
        .map_or_else(PathBuf::new, Path::to_owned)
}

/// The section of a config, or an empty map.
pub fn section<'a>(config: &'a Json, name: &str) -> &'a Json {
    config.get(name).unwrap_or(&Json::Null)
}
