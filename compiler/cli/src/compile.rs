//! From a preset to lowered graphs: the compiler's way through its crates, in one place.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ltxc_bundle::{Plan, Settings, Stage, StageOp};
use ltxc_export::checkpoint::{Checkpoint, Fp8, UpscalerKind};
use ltxc_front::library::{self, Shelf};
use ltxc_front::{
    Diagnostic, GraphFile, PipelineFile, Placed, PresetFile, RecipeFile, Role, Source, Span,
    TargetFile, expand,
};
use ltxc_ir::attrs::Per;
use ltxc_ir::{Graph, Verified, print, verify};
use ltxc_passes::memory;
use ltxc_passes::transforms::hand_over::{Link, hand_over_narrow, links_of_parts};
use ltxc_passes::transforms::split::Part;
use ltxc_passes::{Capabilities, PassError, PassReport, PassSpec};
use serde_json::Value as Json;

use crate::failure::{Failure, Outcome};
use crate::pipeline::{check_target, read_graphs, read_options, read_plan};
use crate::recipes::{Places, check_recipe, needs_scales, passes_for, read_recipes, recipes_for};
use crate::scales::{Scales, read_scales};
use crate::sizes::{AskedSize, LatentGrid, specialize_all};

/// What a caller may say about a compile.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// Path or name of the preset.
    pub preset: String,
    /// Checkpoints instead of the preset's.
    pub checkpoints: BTreeMap<Role, PathBuf>,
    /// Tokenizer instead of the preset's.
    pub tokenizer: Option<PathBuf>,
    /// Target instead of the preset's.
    pub target: Option<String>,
    /// LoRAs to merge, each with its weight.
    pub loras: Vec<(PathBuf, f64)>,
    /// How FP8 weights are meant, instead of what the preset says.
    pub fp8: Option<Fp8>,
    /// Recipes for number formats instead of the preset's.
    pub quant: Vec<String>,
    /// Recipe for attention instead of the preset's.
    pub attention: Option<String>,
    /// File of scales instead of the recipes'.
    pub scales: Option<PathBuf>,
    /// `--set` paths and values.
    pub overrides: Vec<(String, String)>,
    /// If not empty, only these components.
    pub only: Vec<String>,
    /// The only video it is compiled for.
    pub size: Option<AskedSize>,
    /// Rows of the transformer, instead of what the guidance of the defaults needs; with `size` only.
    pub rows: Option<i64>,
    /// Bytes that a component may need; more are saved by taking tokens in chunks.
    pub budget: Option<u64>,
    /// Compute at every step what stays the same for a video.
    pub no_hoist: bool,
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
    /// Passes on top of the target's.
    pub recipes: Vec<RecipeFile>,
    /// How far the inputs of layers reach, where a recipe needs it.
    pub scales: Option<Scales>,
    /// Graph files by component.
    pub graphs: BTreeMap<String, GraphFile>,
    /// Every compile-time choice of the graphs, defaults included.
    pub options: BTreeMap<String, String>,
    /// What a run uses where the caller says nothing.
    pub defaults: Settings,
    /// The pipeline's stages.
    pub plan: Plan,
    /// Where the checkpoints are.
    pub checkpoints: BTreeMap<Role, PathBuf>,
    /// Where the tokenizer is.
    pub tokenizer: Option<PathBuf>,
    /// LoRAs to merge into the model, each with its weight.
    pub loras: Vec<(PathBuf, f64)>,
    /// How FP8 weights without scales are meant.
    pub fp8: Fp8,
    /// The only video it is compiled for.
    pub size: Option<AskedSize>,
    /// Rows of the transformer, instead of what the guidance of the defaults needs.
    pub rows: Option<i64>,
    /// Bytes that a component may need.
    pub budget: Option<u64>,
    /// Whether what stays the same for a video is computed once.
    pub hoist: bool,
}

/// A part of a component on its way to a bundle.
#[derive(Debug)]
pub struct Compiled {
    /// Its name among the parts.
    pub name: &'static str,
    /// How often it runs.
    pub per: Per,
    /// What decides whether its results are used again at another step.
    pub reuse: Option<String>,
    /// The lowered graph.
    pub graph: Verified,
    /// What each pass did.
    pub reports: Vec<PassReport>,
    /// The passes, in order.
    pub passes: Vec<PassSpec>,
    /// What was chosen for it, in a sentence.
    pub note: Option<String>,
}

impl Compiled {
    /// Whether it computes the same in the same way.
    fn same_as(&self, other: &Self) -> bool {
        print(&self.graph) == print(&other.graph)
    }
}

pub(crate) type Driver =
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
        let recipes = read_recipes(options, &preset)?;
        recipes
            .iter()
            .try_for_each(|recipe| check_recipe(recipe, Some(&pipeline)))?;
        let graphs = read_graphs(&pipeline, &options.only)?;
        let named = preset.checkpoints.iter();
        let mut checkpoints: BTreeMap<Role, PathBuf> =
            named.map(|(role, path)| (*role, base.join(path))).collect();
        checkpoints.extend(options.checkpoints.clone());
        let own_encoder = options.checkpoints.contains_key(&Role::TextEncoder);
        let tokenizer = preset.tokenizer.as_ref().filter(|_| !own_encoder);
        let tokenizer = options
            .tokenizer
            .clone()
            .or_else(|| tokenizer.map(|path| base.join(path)))
            .or_else(|| {
                checkpoints
                    .get(&Role::TextEncoder)
                    .map(|at| tokenizer_near(at))
            });
        Ok(Self {
            options: read_options(&preset, &pipeline)?,
            defaults: defaults(&preset, &recipes, options.size)?,
            size: options.size,
            rows: options.rows,
            budget: options.budget,
            plan: read_plan(&pipeline, &options.only)?,
            loras: options.loras.clone(),
            fp8: read_fp8(options, &preset)?,
            hoist: preset.hoist && !options.no_hoist,
            checkpoints,
            tokenizer,
            preset,
            pipeline,
            target,
            scales: read_scales(options, &recipes)?,
            recipes,
            graphs,
        })
    }

    /// The checkpoint a component reads.
    pub fn role_of(&self, component: &str) -> Role {
        self.pipeline
            .components
            .get(component)
            .map_or(Role::Model, |entry| entry.checkpoint)
    }

    /// Whether a component makes latents of noise.
    pub fn denoises(&self, component: &str) -> bool {
        let denoises =
            |stage: &Stage| matches!(&stage.op, StageOp::Denoise(op) if op.component == component);
        self.plan.stages.iter().any(denoises)
    }

    /// The checkpoints that the components need.
    pub fn roles(&self) -> BTreeSet<Role> {
        self.graphs.keys().map(|name| self.role_of(name)).collect()
    }

    /// Opens every checkpoint that the components need, by role.
    pub fn open_checkpoints(&self) -> Outcome<BTreeMap<Role, Checkpoint>> {
        let open = |role| Ok((role, self.open_role(role)?));
        self.roles().into_iter().map(open).collect()
    }

    /// Opens every checkpoint that is given, by role.
    pub fn open_given(&self) -> Outcome<BTreeMap<Role, Checkpoint>> {
        let open = |role: &Role| Ok((*role, self.open_role(*role)?));
        self.checkpoints.keys().map(open).collect()
    }

    fn open_role(&self, role: Role) -> Outcome<Checkpoint> {
        let path = self.checkpoints.get(&role).ok_or_else(|| {
            Failure::Misuse(match self.preset.missing.get(&role) {
                Some(advice) => format!("{}: {advice}", self.preset.source.name),
                None => format!(
                    "the preset `{}` names no {}: give {} FILE or FOLDER",
                    self.preset.name,
                    role.name(),
                    flag_of(role)
                ),
            })
        })?;
        match role {
            Role::Model => self.open_model(path),
            Role::TextEncoder => Ok(Checkpoint::open_text_encoder(path)?),
            Role::SpatialUpscaler => Ok(Checkpoint::open_upscaler(path, UpscalerKind::Spatial)?),
            Role::TemporalUpscaler => Ok(Checkpoint::open_upscaler(path, UpscalerKind::Temporal)?),
        }
    }

    fn open_model(&self, path: &Path) -> Outcome<Checkpoint> {
        let mut model = Checkpoint::open(path)?;
        model.settle_fp8(self.fp8)?;
        for (lora, weight) in &self.loras {
            model.merge(lora, *weight)?;
        }
        Ok(model)
    }

    /// The expanded graph of a component, tied to its checkpoint.
    pub fn expand(&self, component: &str, checkpoint: &Checkpoint) -> Outcome<Graph> {
        let mut graph = expand(&self.graphs[component], checkpoint.config(), &self.options)?;
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

    /// Every graph that is compiled, as its transforms left it.
    pub fn components(
        &self,
        checkpoints: &BTreeMap<Role, Checkpoint>,
    ) -> Outcome<BTreeMap<String, Graph>> {
        let expanded = |name: &String| {
            Ok((
                name.clone(),
                self.expand(name, &checkpoints[&self.role_of(name)])?,
            ))
        };
        let graphs = self.graphs.keys().map(expanded).collect::<Outcome<_>>()?;
        specialize_all(self, graphs, checkpoints)
    }

    /// Cuts a component into its parts and runs the passes for it on each.
    pub fn lower(
        &self,
        component: &str,
        graph: Graph,
        grid: Option<LatentGrid>,
    ) -> Outcome<Vec<Compiled>> {
        self.lower_by(ltxc_passes::run, component, graph, grid)
    }

    /// For each part of a component what dense steps compute instead, if that differs; none where no recipe makes
    /// attention sparse, or it changes nothing.
    pub fn lower_dense(
        &self,
        component: &str,
        graph: Graph,
        grid: Option<LatentGrid>,
        parts: &[Compiled],
    ) -> Outcome<Vec<Option<Compiled>>> {
        let mut sparse = recipes_for(&self.recipes, component);
        if !sparse.any(|recipe| recipe.dense_steps.is_some()) {
            return Ok(Vec::new());
        }
        let others = self.recipes.iter();
        let others = others.filter(|recipe| recipe.dense_steps.is_none());
        let others: Vec<RecipeFile> = others.cloned().collect();
        let passes = self.passes_with(&others, component, &graph, grid)?;
        let dense = self.lower_with(ltxc_passes::run, component, graph, &passes)?;
        let pairs = dense.into_iter().zip(parts);
        let other = pairs.map(|(dense, part)| (!dense.same_as(part)).then_some(dense));
        let dense: Vec<_> = other.collect();
        match dense.iter().any(Option::is_some) {
            true => Ok(dense),
            false => Ok(Vec::new()),
        }
    }

    /// As [`Project::lower`]; every report also carries what its pass changed.
    pub fn explain(
        &self,
        component: &str,
        graph: Graph,
        grid: Option<LatentGrid>,
    ) -> Outcome<Vec<Compiled>> {
        self.lower_by(ltxc_passes::explain, component, graph, grid)
    }

    /// The passes for a component in order. `grid` is what [`latent_grid`](crate::latent_grid) says.
    pub fn passes(
        &self,
        component: &str,
        graph: &Graph,
        grid: Option<LatentGrid>,
    ) -> Outcome<Vec<PassSpec>> {
        self.passes_with(&self.recipes, component, graph, grid)
    }

    fn passes_with(
        &self,
        recipes: &[RecipeFile],
        component: &str,
        graph: &Graph,
        grid: Option<LatentGrid>,
    ) -> Outcome<Vec<PassSpec>> {
        let needed = self.scales.as_ref();
        let needed = needed.filter(|_| needs_scales(recipes, component));
        let scales = needed
            .map(|scales| scales.of(component, &ltxc_export::weight_keys(graph)))
            .transpose()?;
        let places = Places { grid, scales };
        passes_for(&self.target, recipes, component, places)
    }

    fn lower_by(
        &self,
        driver: Driver,
        component: &str,
        graph: Graph,
        grid: Option<LatentGrid>,
    ) -> Outcome<Vec<Compiled>> {
        let passes = self.passes(component, &graph, grid)?;
        self.lower_with(driver, component, graph, &passes)
    }

    fn lower_with(
        &self,
        driver: Driver,
        component: &str,
        graph: Graph,
        passes: &[PassSpec],
    ) -> Outcome<Vec<Compiled>> {
        let outputs = graph.graph_outputs().iter().map(|(name, _)| name.clone());
        let outputs: BTreeSet<String> = outputs.collect();
        let parts = self.parts(graph)?.into_iter();
        let lowered = parts.map(|part| self.lower_to_budget(driver, component, passes, part));
        let mut parts = lowered.collect::<Outcome<Vec<_>>>()?;
        let graphs: Vec<Graph> = parts.iter().map(|part| (*part.graph).clone()).collect();
        let links = links_of_parts(&graphs, &outputs);
        hand_over(&mut parts.iter_mut().collect::<Vec<_>>(), &links)?;
        Ok(parts)
    }

    /// Takes tokens in chunks, smaller and smaller, until the part fits the budget.
    fn lower_to_budget(
        &self,
        driver: Driver,
        component: &str,
        passes: &[PassSpec],
        part: Part,
    ) -> Outcome<Compiled> {
        let mut best = self.lower_part(driver, passes, part.clone(), None)?;
        let Some(budget) = self.budget else {
            return Ok(best);
        };
        let model = self.capabilities()?.memory;
        let needs = |compiled: &Compiled| memory::plan(&compiled.graph, model).total();
        let (before, mut chosen) = (needs(&best), None);
        for tokens in CHUNKS {
            if needs(&best) <= budget {
                break;
            }
            let next = self.lower_part(driver, passes, part.clone(), Some(tokens))?;
            if needs(&next) < needs(&best) {
                (best, chosen) = (next, Some(tokens));
            }
        }
        best.note = budget_note(component, budget, before, needs(&best), chosen);
        Ok(best)
    }

    /// Runs the passes; tokens are taken in chunks of so many where a number is given.
    pub(crate) fn lower_part(
        &self,
        driver: Driver,
        passes: &[PassSpec],
        part: Part,
        tokens: Option<i64>,
    ) -> Outcome<Compiled> {
        let failed = |e: PassError| match e.is_bug() {
            true => Failure::Bug(e.to_string()),
            false => Failure::Input(anyhow::anyhow!("{}: {e}", self.target.source.name)),
        };
        let chunks = tokens.into_iter().flat_map(chunk_passes);
        let passes: Vec<PassSpec> = chunks.chain(passes.iter().cloned()).collect();
        let (graph, reports) =
            driver(part.graph, &passes, &self.capabilities()?).map_err(failed)?;
        Ok(Compiled {
            name: part.name,
            per: part.per,
            reuse: part.reuse,
            graph,
            reports,
            passes,
            note: None,
        })
    }

    /// What rules may ask of the target.
    pub fn capabilities(&self) -> Outcome<Capabilities> {
        Ok(self.target.capabilities.read()?)
    }

    /// Fails if a checkpoint holds tensors that no component of the whole pipeline reads.
    pub fn check_unused(
        &self,
        graphs: &BTreeMap<String, BTreeSet<String>>,
        checkpoints: &BTreeMap<Role, Checkpoint>,
    ) -> Outcome {
        for (role, checkpoint) in checkpoints {
            let used = graphs
                .iter()
                .filter(|(name, _)| self.role_of(name) == *role)
                .flat_map(|(_, keys)| keys.clone())
                .collect();
            let unused = self
                .pipeline
                .unused
                .get(role.name())
                .map_or(&[][..], Vec::as_slice);
            ltxc_export::check_extra(checkpoint, &used, unused)
                .map_err(|e| Failure::Input(e.into()))?;
        }
        Ok(())
    }
}

/// Rewrites graphs that are linked so that they hand values on as narrow as they are read.
pub(crate) fn hand_over(compiled: &mut [&mut Compiled], links: &[Link]) -> Outcome {
    let graphs: Vec<Graph> = compiled.iter().map(|one| (*one.graph).clone()).collect();
    let graphs = hand_over_narrow(&graphs, links).map_err(|e| Failure::Bug(e.to_string()))?;
    for (one, graph) in compiled.iter_mut().zip(graphs) {
        one.graph = verify(graph).map_err(|errors| Failure::Bug(format!("{errors:?}")))?;
    }
    Ok(())
}

/// Numbers of tokens of a chunk that a memory budget tries, each half of the one before.
const CHUNKS: [i64; 8] = [32768, 16384, 8192, 4096, 2048, 1024, 512, 256];

/// The passes that take so many tokens at a time, before all others.
fn chunk_passes(tokens: i64) -> [PassSpec; 2] {
    ["chunk-attention", "chunk-feed-forward"].map(|pass| PassSpec {
        pass: pass.to_owned(),
        with: serde_json::json!({"tokens": tokens}),
        because: "The memory budget asks for it.".to_owned(),
    })
}

/// What a budget led to, if it led to anything.
fn budget_note(
    component: &str,
    budget: u64,
    before: u64,
    after: u64,
    tokens: Option<i64>,
) -> Option<String> {
    let gb = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
    let over = match after > budget {
        true => format!(", still over the budget of {}", gb(budget)),
        false => String::new(),
    };
    match tokens {
        Some(tokens) => Some(format!(
            "`{component}` takes {tokens} tokens at a time: {} instead of {}{over}",
            gb(after),
            gb(before)
        )),
        None if after > budget => Some(format!("`{component}` needs {}{over}", gb(after))),
        None => None,
    }
}

/// The settings of the preset, at the size that is compiled for, and what a recipe says of them.
fn defaults(
    preset: &PresetFile,
    recipes: &[RecipeFile],
    size: Option<AskedSize>,
) -> Outcome<Settings> {
    let mut said: Settings = preset.defaults.read()?;
    let dense = recipes.iter().find_map(|recipe| recipe.dense_steps);
    said.dense_steps = said.dense_steps.or(dense);
    Ok(size.map_or(said.clone(), |size| size.settings().or(&said)))
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

fn read_fp8(options: &CompileOptions, preset: &PresetFile) -> Outcome<Fp8> {
    match (options.fp8, &preset.fp8) {
        (Some(given), _) => Ok(given),
        (None, None) => Ok(Fp8::default()),
        (None, Some(said)) => Ok(said
            .text
            .parse()
            .map_err(|e: String| Diagnostic::new("preset::fp8", &preset.source, said.span, e))?),
    }
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

/// The flag of the command line that gives a checkpoint.
pub fn flag_of(role: Role) -> String {
    format!("--{}", role.key().replace('_', "-"))
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
