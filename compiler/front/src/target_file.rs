//! Targets and recipes as they are written: lists of passes.

use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::files::{open, optional, placed, plain_name};
use crate::kind::FileKind;
use crate::reader::{Fields, Read, Reader};
use crate::section::{Placed, Section};
use crate::tree::{Kind, Tree};

/// Opsets whose operators the exporter writes.
const OPSETS: RangeInclusive<i64> = 18..=24;
/// File format versions that hold those opsets.
const IR_VERSIONS: RangeInclusive<i64> = 8..=13;

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
    pub capabilities: Section,
    /// Passes in order with the reason for their place.
    pub passes: Vec<PassEntry>,
    /// How many of them run before the passes of recipes; none where the target takes no recipes.
    pub recipes_after: Option<usize>,
    /// The file.
    pub source: Source,
}

/// A pass in its place.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassEntry {
    /// Id of the rule.
    pub pass: String,
    /// The rule's parameters; null where it has none.
    #[serde(default)]
    pub with: Json,
    /// Why it stands here.
    pub because: String,
    /// Where it stands.
    #[serde(skip)]
    pub span: Span,
}

fn one_of(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    name: &'static str,
    known: &[&str],
) -> Read<String> {
    let tree = fields.need(reader, name)?;
    let text = reader.text(tree, &format!("`{name}`"))?;
    if known.contains(&text.as_str()) {
        return Ok(text);
    }
    let message = format!("there is no {name} `{text}`");
    let diagnostic = reader.at("target::unknown", tree.span, message);
    Err(reader.report(diagnostic.suggest(&text, known.iter().copied())))
}

fn number(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    name: &'static str,
    range: RangeInclusive<i64>,
) -> Read<i64> {
    let tree = fields.need(reader, name)?;
    let value = reader.int(tree, &format!("`{name}`"))?;
    if range.contains(&value) {
        return Ok(value);
    }
    let message = format!(
        "`{name}` is {value}; this program writes {} to {}",
        range.start(),
        range.end()
    );
    Err(reader.mistake("target::range", tree.span, message))
}

/// The place for recipes in a target's list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotEntry {
    #[serde(rename = "slot")]
    _slot: Slot,
    #[serde(rename = "because")]
    _because: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Slot {
    Recipes,
}

/// The passes of a list, and how many stand before its slot.
fn lines(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    slots: bool,
) -> Read<(Vec<PassEntry>, Option<usize>)> {
    let tree = fields.need(reader, "passes")?;
    let Kind::List(items) = &tree.kind else {
        return Err(reader.expected(tree, "`passes`", "a list"));
    };
    let (mut passes, mut slot) = (Vec::new(), None);
    for (index, tree) in items.iter().enumerate() {
        let what = format!("pass {}", index + 1);
        if !slots || tree.get("slot").is_none() {
            passes.push(pass(reader, tree, &what)?);
            continue;
        }
        reader.plain::<SlotEntry>(tree, &what)?;
        if slot.replace(passes.len()).is_some() {
            let message = "the list has a slot for recipes already";
            return Err(reader.mistake("target::slot", tree.span, message));
        }
    }
    Ok((passes, slot))
}

fn pass(reader: &mut Reader, tree: &Tree, what: &str) -> Read<PassEntry> {
    let entry: PassEntry = reader.plain(tree, what)?;
    Ok(PassEntry {
        span: tree.get("pass").map_or(tree.span, |pass| pass.span),
        ..entry
    })
}

/// The providers a target may name.
const PROVIDERS: &[&str] = &["cpu", "cuda", "tensorrt", "tensorrt_rtx", "webgpu"];

impl TargetFile {
    /// Reads a target file.
    pub fn read(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        open(source, FileKind::Target, &[], |reader, fields| {
            let name = plain_name(reader, fields, "target");
            let doc = optional(reader, fields, "doc");
            let runtime = one_of(reader, fields, "runtime", &["onnxruntime", "tract"]);
            let provider = one_of(reader, fields, "provider", PROVIDERS);
            let opset = number(reader, fields, "opset", OPSETS);
            let ir_version = number(reader, fields, "ir_version", IR_VERSIONS);
            let capabilities = fields.need(reader, "capabilities");
            let lines = lines(reader, fields, true);
            let capabilities = capabilities?;
            let (passes, recipes_after) = lines?;
            Ok(Self {
                name: name?,
                doc: doc?.unwrap_or_default(),
                runtime: runtime?,
                provider: provider?,
                opset: opset?,
                ir_version: ir_version?,
                capabilities: Section {
                    what: "`capabilities`".to_owned(),
                    tree: capabilities.clone(),
                    source: source.clone(),
                },
                passes,
                recipes_after,
                source: source.clone(),
            })
        })
    }
}

/// Passes that a preset or a caller asks for, on top of a target's: number formats, other forms of attention.
#[derive(Clone, Debug)]
pub struct RecipeFile {
    /// Name of the recipe.
    pub name: String,
    /// What it gives and what it costs.
    pub doc: String,
    /// The components it is for.
    pub components: Vec<Placed>,
    /// A file of scales, relative to this one.
    pub scales: Option<Placed>,
    /// First steps of a video that are computed without these passes, where a preset says nothing else; none where all
    /// have them.
    pub dense_steps: Option<usize>,
    /// Passes in order with the reason for their place.
    pub passes: Vec<PassEntry>,
    /// The file.
    pub source: Source,
}

impl RecipeFile {
    /// Reads a recipe file.
    pub fn read(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        open(source, FileKind::Recipe, &[], |reader, fields| {
            let name = plain_name(reader, fields, "recipe");
            let doc = optional(reader, fields, "doc");
            let components = components(reader, fields);
            let scales = placed(reader, fields, "scales");
            let dense_steps = fields.take("dense_steps");
            let dense_steps = dense_steps.map(|tree| reader.plain(tree, "`dense_steps`"));
            let lines = lines(reader, fields, false);
            Ok(Self {
                name: name?,
                doc: doc?.unwrap_or_default(),
                components: components?,
                scales: scales?,
                dense_steps: dense_steps.transpose()?,
                passes: lines?.0,
                source: source.clone(),
            })
        })
    }
}

fn components(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<Vec<Placed>> {
    let tree = fields.need(reader, "components")?;
    let Kind::List(items) = &tree.kind else {
        return Err(reader.expected(tree, "`components`", "a list"));
    };
    let one = |tree: &Tree| {
        let text = reader.text(tree, "a component")?;
        let span = tree.span;
        Ok(Placed { text, span })
    };
    items.iter().map(one).collect()
}
