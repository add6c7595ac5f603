//! Pipelines, presets and targets as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::reader::{Fields, Read, Reader, check_version};
use crate::tree::{Key, Kind, Tree, parse};

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
    /// The stages in order, as `{name, operation}`.
    pub stages: Vec<(String, Json)>,
    /// The stage whose result is the video.
    pub video: String,
    /// The file.
    pub source: Source,
}

/// One component of a pipeline.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComponentEntry {
    /// Name or path of the graph file.
    pub graph: String,
    /// Whose weights it reads: `model` or `text_encoder`.
    pub checkpoint: String,
}

/// A pipeline bound to files, a target and defaults.
#[derive(Clone, Debug)]
pub struct PresetFile {
    /// Name of the preset.
    pub name: String,
    /// What it is for.
    pub doc: String,
    /// Name or path of the pipeline.
    pub pipeline: String,
    /// Name or path of the target.
    pub target: String,
    /// Checkpoint, relative to the preset.
    pub checkpoint: Option<String>,
    /// Text encoder, relative to the preset.
    pub text_encoder: Option<String>,
    /// Tokenizer, relative to the preset; beside the text encoder where left out.
    pub tokenizer: Option<String>,
    /// What a run uses where the caller says nothing.
    pub defaults: Json,
    /// Where the defaults stand.
    pub defaults_span: Span,
    /// The file.
    pub source: Source,
}

/// What a runtime can do and which passes make a graph fit it.
#[derive(Clone, Debug)]
pub struct TargetFile {
    /// Name of the target.
    pub name: String,
    /// What it is.
    pub doc: String,
    /// `onnxruntime` or `tract`.
    pub runtime: String,
    /// `cpu`, `cuda`, `tensorrt`.
    pub provider: String,
    /// ONNX opset.
    pub opset: i64,
    /// ONNX file format version.
    pub ir_version: i64,
    /// What rules may ask.
    pub capabilities: Json,
    /// Passes in order with the reason for their place.
    pub passes: Vec<PassEntry>,
    /// The file.
    pub source: Source,
    /// Where the capabilities stand.
    pub capabilities_span: Span,
}

/// A pass in its place.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassEntry {
    /// Id of the rule.
    pub pass: String,
    /// Why it stands here.
    pub because: String,
}

/// What kind of file a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A graph.
    Graph,
    /// A pipeline.
    Pipeline,
    /// A preset.
    Preset,
    /// A target.
    Target,
}

/// What kind of file this is, by the key after `ltxc: 1`.
pub fn kind_of(source: &Source) -> Result<FileKind, Diagnostic> {
    let tree = parse(source)?;
    let kinds = [
        ("graph", FileKind::Graph),
        ("pipeline", FileKind::Pipeline),
        ("preset", FileKind::Preset),
        ("target", FileKind::Target),
    ];
    let found = kinds.iter().find(|(key, _)| tree.get(key).is_some());
    found.filter(|_| tree.get("ltxc").is_some()).map(|(_, kind)| *kind).ok_or_else(|| {
        let diagnostic = Diagnostic::new("file::kind", source, tree.span, "this is no ltxc file");
        diagnostic.help("start it with `ltxc: 1` and one of `graph: NAME`, `pipeline: NAME`, `preset: NAME`, `target: NAME`")
    })
}

fn open<T>(
    source: &Source,
    overrides: &[(String, String)],
    read: impl FnOnce(&mut Reader, &mut Fields<'_>) -> Read<T>,
) -> Result<T, Vec<Diagnostic>> {
    let mut tree = parse(source).map_err(|e| vec![e])?;
    for (path, value) in overrides {
        set(&mut tree, path, value).map_err(|e| vec![e])?;
    }
    let mut reader = Reader::new(source.clone());
    let value = read_fields(&mut reader, &tree, read);
    reader.finish(value)
}

fn read_fields<T>(
    reader: &mut Reader,
    tree: &Tree,
    read: impl FnOnce(&mut Reader, &mut Fields<'_>) -> Read<T>,
) -> Read<T> {
    let mut fields = reader.map(tree, "the file")?;
    check_version(reader, &mut fields)?;
    let value = read(reader, &mut fields);
    let closed = reader.close(fields);
    value.and_then(|value| closed.map(|()| value))
}

/// `--set a.b=VALUE`: puts a value, read as YAML, at a dotted path.
fn set(tree: &mut Tree, path: &str, value: &str) -> Result<(), Diagnostic> {
    let source = Source::new("--set", format!("{path}={value}"));
    let mut at = tree;
    for part in path.split('.') {
        at = field(at, part);
    }
    at.kind = parse(&Source::new(source.name.clone(), value))?.kind;
    Ok(())
}

/// The field of a map, made where it is missing; anything else than a map is replaced by one.
fn field<'t>(tree: &'t mut Tree, name: &str) -> &'t mut Tree {
    let mut fields = match std::mem::replace(&mut tree.kind, Kind::Null) {
        Kind::Map(fields) => fields,
        _ => Vec::new(),
    };
    let index = fields
        .iter()
        .position(|(key, _)| key.name == name)
        .unwrap_or(fields.len());
    if index == fields.len() {
        let key = Key {
            name: name.to_owned(),
            span: Span::default(),
        };
        fields.push((
            key,
            Tree {
                kind: Kind::Null,
                span: Span::default(),
            },
        ));
    }
    tree.kind = Kind::Map(fields);
    match &mut tree.kind {
        Kind::Map(fields) => &mut fields[index].1,
        _ => unreachable!("it was made a map on the line above"),
    }
}

fn text(reader: &mut Reader, fields: &mut Fields<'_>, name: &'static str) -> Read<String> {
    let tree = fields.need(reader, name)?;
    reader.text(tree, &format!("`{name}`"))
}

fn optional(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Read<Option<String>> {
    fields
        .take(name)
        .map(|tree| reader.text(tree, &format!("`{name}`")))
        .transpose()
}

fn plain<T: serde::de::DeserializeOwned>(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Read<T> {
    let tree = fields.need(reader, name)?;
    reader.plain(tree, &format!("`{name}`"))
}

impl PipelineFile {
    /// Reads a pipeline file.
    pub fn read(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        open(source, &[], |reader, fields| {
            let name = text(reader, fields, "pipeline");
            let doc = optional(reader, fields, "doc")?.unwrap_or_default();
            let components = plain(reader, fields, "components");
            let unused = fields
                .take("unused")
                .map_or(Ok(BTreeMap::new()), |tree| reader.plain(tree, "`unused`"));
            let stages = fields
                .need(reader, "stages")
                .and_then(|tree| stages(reader, tree));
            let video = text(reader, fields, "video");
            Ok(Self {
                name: name?,
                doc,
                components: components?,
                unused: unused?,
                stages: stages?,
                video: video?,
                source: source.clone(),
            })
        })
    }
}

fn stages(reader: &mut Reader, tree: &Tree) -> Read<Vec<(String, Json)>> {
    let fields = reader.map(tree, "`stages`")?.rest();
    Ok(fields
        .into_iter()
        .map(|(key, tree)| (key.name.clone(), tree.to_json()))
        .collect())
}

impl PresetFile {
    /// Reads a preset; `overrides` are `--set` paths and values.
    pub fn read(source: &Source, overrides: &[(String, String)]) -> Result<Self, Vec<Diagnostic>> {
        open(source, overrides, |reader, fields| {
            let name = text(reader, fields, "preset");
            let doc = optional(reader, fields, "doc")?.unwrap_or_default();
            let pipeline = text(reader, fields, "pipeline");
            let target =
                optional(reader, fields, "target")?.unwrap_or_else(|| "ort-cpu".to_owned());
            let checkpoint = optional(reader, fields, "checkpoint")?;
            let text_encoder = optional(reader, fields, "text_encoder")?;
            let tokenizer = optional(reader, fields, "tokenizer")?;
            let defaults = fields.take("defaults");
            let defaults_span = defaults.map_or_else(Span::default, |tree| tree.span);
            let defaults =
                defaults.map_or_else(|| Json::Object(serde_json::Map::new()), Tree::to_json);
            Ok(Self {
                name: name?,
                doc,
                pipeline: pipeline?,
                target,
                checkpoint,
                text_encoder,
                tokenizer,
                defaults,
                defaults_span,
                source: source.clone(),
            })
        })
    }
}

impl TargetFile {
    /// Reads a target file.
    pub fn read(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        open(source, &[], |reader, fields| {
            let name = text(reader, fields, "target");
            let doc = optional(reader, fields, "doc")?.unwrap_or_default();
            let runtime = text(reader, fields, "runtime");
            let provider = text(reader, fields, "provider");
            let opset = plain(reader, fields, "opset");
            let ir_version = plain(reader, fields, "ir_version");
            let capabilities = fields.need(reader, "capabilities");
            let passes = plain(reader, fields, "passes");
            let capabilities = capabilities?;
            Ok(Self {
                name: name?,
                doc,
                runtime: runtime?,
                provider: provider?,
                opset: opset?,
                ir_version: ir_version?,
                capabilities: capabilities.to_json(),
                passes: passes?,
                source: source.clone(),
                capabilities_span: capabilities.span,
            })
        })
    }
}
