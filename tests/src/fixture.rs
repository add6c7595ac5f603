//! Fixtures of rewrites: `rewrites/<rule>/<case>.ltxir`, a graph in the text form.
//!
//! A case is named after what it shows: `fires..`, `declines..` or `numbers..`. A first line
//! `; capabilities: {attention: decomposed}` says what the target can do where that differs from [`capable`], a line
//! `; with: {keep: 3}` gives the rule its parameters. A lossy rule may compute another thing on purpose: a graph in
//! `<case>.expected` says which. Or it may move the numbers: a line `; bound: 1e-3` says how far, as a part of the
//! largest of them.

use std::fs;
use std::path::{Path, PathBuf};

use ltxc_ir::attrs::parse_attributes;
use ltxc_ir::{Dtype, Graph, parse};
use ltxc_passes::{AttentionForm, Capabilities, Int4Form, PassSpec};
use serde_json::Value;

/// A graph to rewrite with one rule.
pub struct Fixture {
    /// Id of the rule.
    pub rule: String,
    /// File name without extension.
    pub case: String,
    /// The folder of the file.
    pub folder: PathBuf,
    /// The graph.
    pub graph: Graph,
    /// What the target can do.
    pub capabilities: Capabilities,
    /// The rule's parameters.
    pub with: Value,
    /// The graph whose numbers the result has, where those are not the fixture's own.
    pub expected: Option<Graph>,
    /// How far from the old numbers a lossy rule's may lie, as a part of the largest.
    pub bound: Option<f32>,
}

impl Fixture {
    /// The rule with its parameters as a list of passes.
    pub fn passes(&self) -> Vec<PassSpec> {
        vec![PassSpec {
            with: self.with.clone(),
            ..spec(&self.rule)
        }]
    }
}

/// The folder of all fixtures.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("rewrites")
}

/// Every fixture, sorted.
pub fn all() -> Vec<Fixture> {
    let mut fixtures: Vec<Fixture> = entries(&root())
        .iter()
        .flat_map(|folder| entries(folder))
        .filter(|path| path.extension().is_some_and(|end| end == "ltxir"))
        .map(|path| read(&path))
        .collect();
    fixtures.sort_by_key(|fixture| (fixture.rule.clone(), fixture.case.clone()));
    fixtures
}

/// A target that can do everything.
pub fn capable() -> Capabilities {
    Capabilities {
        attention: AttentionForm::OrtMultiHeadAttention,
        broadcast_masks: false,
        scaled_queries: false,
        rms_normalization: true,
        rotary_embedding: true,
        half_weights: true,
        bf16: true,
        fp8_weights: true,
        memory: ltxc_passes::memory::MemoryModel::default(),
        dynamic_int8: true,
        quantized_products: vec![Dtype::I8, Dtype::F8e4m3, Dtype::F4e2m1],
        quantized_attention: vec![Dtype::F8e4m3],
        unsigned_int8: false,
        int4_weights: Some(Int4Form::OrtMatmulNbits),
        floats: vec![Dtype::F32, Dtype::F16, Dtype::Bf16],
    }
}

/// A list of passes.
pub fn passes(ids: &[&str]) -> Vec<PassSpec> {
    ids.iter().map(|id| spec(id)).collect()
}

fn spec(id: &str) -> PassSpec {
    PassSpec {
        pass: id.to_owned(),
        with: Value::Null,
        because: "a test asks for it".to_owned(),
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect()
}

fn read(path: &Path) -> Fixture {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let name =
        |path: Option<&std::ffi::OsStr>| path.unwrap_or_default().to_string_lossy().into_owned();
    let folder = path.parent().unwrap_or(path).to_path_buf();
    Fixture {
        rule: name(folder.file_name()),
        case: name(path.file_stem()),
        graph: parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        capabilities: capabilities(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        expected: expected(path),
        bound: bound(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        with: said(&text, "with").unwrap_or_else(|e| panic!("{}: {e}", path.display())),
        folder,
    }
}

fn capabilities(text: &str) -> Result<Capabilities, String> {
    let mut all = serde_json::to_value(capable()).map_err(|e| e.to_string())?;
    let changed = said(text, "capabilities")?;
    if let (Value::Object(all), Value::Object(changed)) = (&mut all, changed) {
        all.extend(changed);
    }
    serde_json::from_value(all).map_err(|e| e.to_string())
}

fn expected(path: &Path) -> Option<Graph> {
    let text = fs::read_to_string(path.with_extension("expected")).ok()?;
    Some(parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

fn bound(text: &str) -> Result<Option<f32>, String> {
    Ok(said(text, "bound")?.as_f64().map(|bound| bound as f32))
}

/// What a line `; key: {..}` says; null where there is none.
fn said(text: &str, key: &str) -> Result<Value, String> {
    let start = format!("; {key}:");
    let line = text.lines().find_map(|line| line.strip_prefix(&start));
    line.map_or(Ok(Value::Null), parse_attributes)
}
