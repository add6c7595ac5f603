//! Pipelines and presets as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::graph_file::{check_names, map_pairs};
use crate::kind::{FileKind, kind_of, parse_as};
use crate::overrides::{blame_override, set};
use crate::reader::{Fields, Read, Reader, Reported, check_version};
use crate::released;
use crate::section::{Placed, Section};
use crate::tree::{Key, Kind, Tree};

/// Longest name of a preset, pipeline or target.
pub(crate) const MAX_NAME: usize = 100;
/// Components and the stages that use them.
#[derive(Clone, Debug)]
pub struct PipelineFile {
    /// Name of the pipeline.
    pub name: String,
    /// What it makes.
    pub doc: String,
    /// Graphs by component name.
    pub components: BTreeMap<String, ComponentEntry>,
    /// Keys a checkpoint may hold that no graph reads, by checkpoint role; `*` at the end matches any rest.
    pub unused: BTreeMap<String, Vec<String>>,
    /// The stages in order, by name.
    pub stages: Vec<(String, Section)>,
    /// The stage whose result is the video.
    pub video: String,
    /// Where that is said.
    pub video_span: Span,
    /// The file.
    pub source: Source,
}

/// One component of a pipeline.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentEntry {
    /// Name or path of the graph file.
    pub graph: String,
    /// Whose weights it reads.
    pub checkpoint: Role,
    /// Where the graph is named.
    #[serde(skip)]
    pub span: Span,
}

/// A checkpoint that a pipeline can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Transformer and VAE.
    Model,
    /// The T5 encoder.
    TextEncoder,
    /// Latents to latents of twice the rows and columns.
    SpatialUpscaler,
    /// Latents to latents of twice the frames.
    TemporalUpscaler,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [
        Self::Model,
        Self::TextEncoder,
        Self::SpatialUpscaler,
        Self::TemporalUpscaler,
    ];

    /// The name in pipelines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::TextEncoder => "text_encoder",
            Self::SpatialUpscaler => "spatial_upscaler",
            Self::TemporalUpscaler => "temporal_upscaler",
        }
    }

    /// The key in presets; with dashes it is the flag of the command line.
    pub fn key(self) -> &'static str {
        match self {
            Self::Model => "checkpoint",
            other => other.name(),
        }
    }
}

/// A pipeline bound to files, a target and defaults; a preset or a released config says it.
#[derive(Clone, Debug)]
pub struct PresetFile {
    /// Name of the preset.
    pub name: String,
    /// What it is for.
    pub doc: String,
    /// Name or path of the pipeline.
    pub pipeline: Placed,
    /// Name or path of the target, if it says one.
    pub target: Option<Placed>,
    /// Paths of the checkpoints it names, relative to the preset.
    pub checkpoints: BTreeMap<Role, String>,
    /// Tokenizer, relative to the preset; beside the text encoder where left out.
    pub tokenizer: Option<String>,
    /// What to do where the preset names a file that is not here, by checkpoint role.
    pub missing: BTreeMap<Role, String>,
    /// What the caller should know of how the preset was read.
    pub notes: Vec<String>,
    /// Compile-time choices of the graphs by name, each with its place.
    pub options: BTreeMap<String, Placed>,
    /// How FP8 weights without scales are meant: `auto`, `plain` or `hadamard`.
    pub fp8: Option<Placed>,
    /// Names or paths of recipes: number formats, in order.
    pub quant: Vec<Placed>,
    /// Name or path of a recipe: another form of attention.
    pub attention: Option<Placed>,
    /// Whether what stays the same for a video is computed once.
    pub hoist: bool,
    /// What a run uses where the caller says nothing.
    pub defaults: Section,
    /// The file.
    pub source: Source,
}

pub(crate) fn open<T>(
    source: &Source,
    kind: FileKind,
    overrides: &[(String, String)],
    read: impl FnOnce(&mut Reader, &mut Fields<'_>) -> Read<T>,
) -> Result<T, Vec<Diagnostic>> {
    let mut tree = parse_as(source, kind).map_err(|e| vec![e])?;
    for (path, value) in overrides {
        set(&mut tree, path, value).map_err(|e| vec![e])?;
    }
    let mut reader = Reader::new(source.clone());
    let value = read_fields(&mut reader, &tree, kind, read);
    reader.finish(value).map_err(blame_override)
}

fn read_fields<T>(
    reader: &mut Reader,
    tree: &Tree,
    kind: FileKind,
    read: impl FnOnce(&mut Reader, &mut Fields<'_>) -> Read<T>,
) -> Read<T> {
    let mut fields = reader.map(tree, &format!("a {}", kind.name()))?;
    if kind != FileKind::Released {
        check_version(reader, &mut fields)?;
    }
    let value = read(reader, &mut fields);
    let closed = reader.close(fields);
    value.and_then(|value| closed.map(|()| value))
}

pub(crate) fn optional(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Read<Option<String>> {
    fields
        .take(name)
        .map(|tree| reader.text(tree, &format!("`{name}`")))
        .transpose()
}

/// A name that also names files, so that it cannot lead anywhere.
pub(crate) fn plain_name(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    kind: &'static str,
) -> Read<String> {
    let tree = fields.need(reader, kind)?;
    let name = reader.text(tree, &format!("`{kind}`"))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.len() <= MAX_NAME
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(fits)
    {
        return Ok(name);
    }
    let message = format!("a {kind} cannot be named `{name}`; files are named by it");
    let diagnostic = reader.at("file::name", tree.span, message);
    Err(reader.report(
        diagnostic.help("write letters, digits, `_`, `-` and `.`, and a letter or digit first"),
    ))
}

fn components(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
) -> Read<BTreeMap<String, ComponentEntry>> {
    let tree = fields.need(reader, "components")?;
    let pairs = map_pairs(reader, tree, "`components`")?;
    check_names(reader, &pairs, "a component")?;
    let mut components: BTreeMap<String, ComponentEntry> = reader.plain(tree, "`components`")?;
    for (key, tree) in &pairs {
        if let (Some(entry), Some(graph)) = (components.get_mut(&key.name), tree.get("graph")) {
            entry.span = graph.span;
        }
    }
    Ok(components)
}

pub(crate) fn placed(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Read<Option<Placed>> {
    let Some(tree) = fields.take(name) else {
        return Ok(None);
    };
    let text = reader.text(tree, &format!("`{name}`"))?;
    Ok(Some(Placed {
        text,
        span: tree.span,
    }))
}

/// One recipe of number formats, or a list of them.
fn quant(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<Vec<Placed>> {
    let Some(tree) = fields.take("quant") else {
        return Ok(Vec::new());
    };
    let mut one = |tree: &Tree| {
        let text = reader.text(tree, "a recipe of `quant`")?;
        let span = tree.span;
        Ok(Placed { text, span })
    };
    match &tree.kind {
        Kind::List(items) => items.iter().map(one).collect(),
        _ => Ok(vec![one(tree)?]),
    }
}

fn options(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<BTreeMap<String, Placed>> {
    let Some(tree) = fields.take("options") else {
        return Ok(BTreeMap::new());
    };
    let pairs = map_pairs(reader, tree, "`options`")?;
    let option = |(key, tree): &(Key, Tree)| {
        let text = reader.text(tree, &format!("the option `{}`", key.name))?;
        let span = key.span;
        Ok((key.name.clone(), Placed { text, span }))
    };
    pairs.iter().map(option).collect()
}

impl PipelineFile {
    /// Reads a pipeline file.
    pub fn read(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        open(source, FileKind::Pipeline, &[], |reader, fields| {
            let name = plain_name(reader, fields, "pipeline");
            let doc = optional(reader, fields, "doc");
            let components = components(reader, fields);
            let unused = fields
                .take("unused")
                .map_or(Ok(BTreeMap::new()), |tree| reader.plain(tree, "`unused`"));
            let stages = fields
                .need(reader, "stages")
                .and_then(|tree| stages(reader, tree));
            let video = fields.need(reader, "video");
            let video_span = video.map_or_else(|_| Span::default(), |tree| tree.span);
            let video = video.and_then(|tree| reader.text(tree, "`video`"));
            Ok(Self {
                name: name?,
                doc: doc?.unwrap_or_default(),
                components: components?,
                unused: unused?,
                stages: stages?,
                video: video?,
                video_span,
                source: source.clone(),
            })
        })
    }
}

fn stages(reader: &mut Reader, tree: &Tree) -> Read<Vec<(String, Section)>> {
    let fields = reader.map(tree, "`stages`")?.rest();
    let stage = |(key, tree): &(Key, Tree)| {
        let section = Section {
            what: format!("stage `{}`", key.name),
            tree: tree.clone(),
            source: reader.source.clone(),
        };
        (key.name.clone(), section)
    };
    Ok(fields.into_iter().map(stage).collect())
}

/// The checkpoints that a preset names.
fn checkpoints(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<BTreeMap<Role, String>> {
    let mut named = |role: Role| {
        let path = optional(reader, fields, role.key());
        path.map(|path| path.map(|path| (role, path)))
    };
    let read = Role::ALL.map(&mut named);
    read.into_iter().filter_map(Result::transpose).collect()
}

impl PresetFile {
    /// Reads a preset or a released config; `overrides` are `--set` paths and values.
    pub fn read(source: &Source, overrides: &[(String, String)]) -> Result<Self, Vec<Diagnostic>> {
        if let Ok(kind @ FileKind::Released) = kind_of(source) {
            return open(source, kind, overrides, released::read);
        }
        open(source, FileKind::Preset, overrides, |reader, fields| {
            let name = plain_name(reader, fields, "preset");
            let doc = optional(reader, fields, "doc");
            let pipeline = placed(reader, fields, "pipeline");
            if let Ok(None) = pipeline {
                let _ = fields.need(reader, "pipeline");
            }
            let target = placed(reader, fields, "target");
            let checkpoints = checkpoints(reader, fields);
            let tokenizer = optional(reader, fields, "tokenizer");
            let fp8 = placed(reader, fields, "fp8");
            let quant = quant(reader, fields);
            let attention = placed(reader, fields, "attention");
            let hoist = fields
                .take("hoist")
                .map_or(Ok(true), |tree| reader.plain(tree, "`hoist`"));
            let empty = Tree {
                kind: Kind::Map(Vec::new()),
                span: Span::default(),
            };
            let defaults = fields.take("defaults").unwrap_or(&empty);
            let options = options(reader, fields);
            let is_map = reader.map(defaults, "`defaults`").map(|_| ());
            is_map?;
            Ok(Self {
                name: name?,
                doc: doc?.unwrap_or_default(),
                pipeline: pipeline?.ok_or(Reported)?,
                target: target?,
                checkpoints: checkpoints?,
                tokenizer: tokenizer?,
                missing: BTreeMap::new(),
                notes: Vec::new(),
                options: options?,
                fp8: fp8?,
                quant: quant?,
                attention: attention?,
                hoist: hoist?,
                defaults: Section {
                    what: "`defaults`".to_owned(),
                    tree: defaults.clone(),
                    source: source.clone(),
                },
                source: source.clone(),
            })
        })
    }
}
