//! A graph file as it is written, before anything is expanded.

use std::collections::BTreeMap;

use ltxc_ir::{Size, SizeRange};

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::kind::{FileKind, parse_as};
use crate::reader::{Fields, Read, Reader, check_version};
use crate::tree::{Key, Kind, Tree};

/// A component's description.
#[derive(Clone, Debug)]
pub struct GraphFile {
    /// The file.
    pub source: Source,
    /// Name of the graph.
    pub name: String,
    /// What it computes.
    pub doc: String,
    /// Which section of the checkpoint's config it reads.
    pub config: String,
    /// What every weight's key starts with.
    pub prefix: String,
    /// Config values the graph is right for, by path.
    pub require: Vec<(Key, Tree)>,
    /// Compile-time values, in order.
    pub params: Vec<(Key, Tree)>,
    /// Run-time sizes.
    pub dims: Vec<(Key, SizeRange)>,
    /// Inputs with their type expressions.
    pub inputs: Vec<(Key, Tree)>,
    /// Output names and the values they name.
    pub outputs: Vec<(Key, Tree)>,
    /// Reusable blocks by name.
    pub blocks: BTreeMap<String, Block>,
    /// Weights of the graph's own body.
    pub weights: Vec<(Key, Tree)>,
    /// The statements.
    pub body: Vec<(Key, Tree)>,
    /// The values between which a step's work may be used again, by `start`, `first` and `last`.
    pub reuse: Option<[Tree; 3]>,
}

/// A reusable piece of a graph.
#[derive(Clone, Debug)]
pub struct Block {
    /// Where it starts.
    pub span: Span,
    /// Inputs with their type patterns.
    pub inputs: Vec<(Key, Tree)>,
    /// Output ports and the values they name.
    pub outputs: Vec<(Key, Tree)>,
    /// Declared parameters with defaults (`~` where one must be given).
    pub params: Vec<(Key, Tree)>,
    /// Weights that no operation implies.
    pub weights: Vec<(Key, Tree)>,
    /// The statements.
    pub body: Vec<(Key, Tree)>,
}

impl GraphFile {
    /// Reads a graph file.
    pub fn read(source: &Source) -> Result<Self, Vec<Diagnostic>> {
        let tree = parse_as(source, FileKind::Graph).map_err(|e| vec![e])?;
        let mut reader = Reader::new(source.clone());
        let file = read_file(&mut reader, &tree, source);
        reader.finish(file)
    }

    /// The options it reads, each with the first of its values, which is the default.
    pub fn options(&self) -> BTreeMap<String, String> {
        let option = |(_, tree): &(Key, Tree)| {
            let name = tree.get("option")?.as_text()?.to_owned();
            let Kind::List(values) = &tree.get("one_of")?.kind else {
                return None;
            };
            Some((name, values.first()?.as_text()?.to_owned()))
        };
        self.params.iter().filter_map(option).collect()
    }
}

fn read_file(reader: &mut Reader, tree: &Tree, source: &Source) -> Read<GraphFile> {
    let mut fields = reader.map(tree, "a graph file")?;
    check_version(reader, &mut fields)?;
    let name = fields
        .need(reader, "graph")
        .and_then(|t| reader.text(t, "`graph`"));
    let doc = optional_text(reader, &mut fields, "doc")?;
    let config = optional_text(reader, &mut fields, "config")?;
    let prefix = optional_text(reader, &mut fields, "prefix")?;
    let require = pairs(reader, &mut fields, "require")?;
    let params = pairs(reader, &mut fields, "params")?;
    let dims = read_dims(reader, &mut fields)?;
    let inputs = pairs(reader, &mut fields, "inputs")?;
    let outputs = some_pairs(reader, &mut fields, "outputs");
    let blocks = read_blocks(reader, &mut fields)?;
    let weights = pairs(reader, &mut fields, "weights")?;
    let body = fields
        .need(reader, "body")
        .and_then(|tree| map_pairs(reader, tree, "`body`"));
    let reuse = fields.take("reuse").map(|tree| read_reuse(reader, tree));
    let reuse = reuse.transpose();
    reader.close(fields)?;
    let (outputs, body) = (outputs?, body?);
    let named = [
        (&params, "a parameter"),
        (&inputs, "an input"),
        (&outputs, "an output"),
        (&weights, "a weight"),
        (&body, "a value"),
    ];
    for (pairs, what) in named {
        check_names(reader, pairs, what)?;
    }
    for (key, _) in &params {
        if dims.iter().any(|(dim, _)| dim.name == key.name) {
            let message = format!("`{}` is a parameter and a size", key.name);
            return Err(reader.mistake("graph::duplicate", key.span, message));
        }
    }
    Ok(GraphFile {
        source: source.clone(),
        name: name?,
        doc,
        config,
        prefix,
        require,
        params,
        dims,
        inputs,
        outputs,
        blocks,
        weights,
        body,
        reuse: reuse?,
    })
}

fn read_reuse(reader: &mut Reader, tree: &Tree) -> Read<[Tree; 3]> {
    let mut fields = reader.map(tree, "`reuse`")?;
    let values = ["start", "first", "last"].map(|name| fields.need(reader, name).cloned());
    reader.close(fields)?;
    let [start, first, last] = values;
    Ok([start?, first?, last?])
}

fn optional_text(reader: &mut Reader, fields: &mut Fields<'_>, name: &'static str) -> Read<String> {
    fields.take(name).map_or(Ok(String::new()), |tree| {
        reader.text(tree, &format!("`{name}`"))
    })
}

/// Names of values, sizes and parameters: they stand in expressions, in the text form and in ONNX.
pub fn check_names(reader: &mut Reader, pairs: &[(Key, Tree)], what: &str) -> Read<()> {
    let mut result = Ok(());
    for (key, _) in pairs {
        if !is_name(&key.name) {
            let message = format!("{what} cannot be named `{}`", key.name);
            let diagnostic = reader.at("graph::name", key.span, message);
            let help = "write letters a to z, digits and `_`, and no digit first";
            result = Err(reader.report(diagnostic.help(help)));
        }
    }
    result
}

/// Whether a text can be the name of something.
pub fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The fields of a map in order.
pub fn map_pairs(reader: &mut Reader, tree: &Tree, what: &str) -> Read<Vec<(Key, Tree)>> {
    Ok(reader
        .map(tree, what)?
        .rest()
        .into_iter()
        .cloned()
        .collect())
}

fn pairs(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Read<Vec<(Key, Tree)>> {
    fields.take(name).map_or(Ok(Vec::new()), |tree| {
        map_pairs(reader, tree, &format!("`{name}`"))
    })
}

/// Pairs of which there must be at least one.
fn some_pairs(
    reader: &mut Reader,
    fields: &mut Fields<'_>,
    name: &'static str,
) -> Read<Vec<(Key, Tree)>> {
    let tree = fields.need(reader, name)?;
    let pairs = map_pairs(reader, tree, &format!("`{name}`"))?;
    if pairs.is_empty() {
        let message = format!("`{name}` must name at least one value");
        return Err(reader.mistake("graph::outputs", tree.span, message));
    }
    Ok(pairs)
}

fn read_dims(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<Vec<(Key, SizeRange)>> {
    let mut dims = Vec::new();
    let pairs = pairs(reader, fields, "dims")?;
    check_names(reader, &pairs, "a size")?;
    for (key, tree) in &pairs {
        let range: SizeRange = reader.plain(tree, &format!("size `{}`", key.name))?;
        if range.min < 1 || range.max < range.min {
            let message = format!(
                "size `{}` cannot be {} to {}; `min` is at least 1 and at most `max`",
                key.name, range.min, range.max
            );
            return Err(reader.mistake("graph::dims", key.span, message));
        }
        let names = |name: &str| pairs.iter().any(|(key, _)| key.name == name);
        if let Some(wrong) = range
            .one_of
            .iter()
            .flat_map(Size::symbols)
            .find(|n| !names(n))
        {
            let message = format!("size `{}`: there is no size `{wrong}`", key.name);
            let diagnostic = reader.at("graph::dims", tree.span, message);
            return Err(reader
                .report(diagnostic.suggest(wrong, pairs.iter().map(|(k, _)| k.name.as_str()))));
        }
        dims.push((key.clone(), range));
    }
    Ok(dims)
}

fn read_blocks(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<BTreeMap<String, Block>> {
    let mut blocks = BTreeMap::new();
    for (key, tree) in pairs(reader, fields, "blocks")? {
        if let Ok(block) = read_block(reader, &key, &tree) {
            blocks.insert(key.name, block);
        }
    }
    Ok(blocks)
}

fn read_block(reader: &mut Reader, key: &Key, tree: &Tree) -> Read<Block> {
    let mut fields = reader.map(tree, &format!("block `{}`", key.name))?;
    optional_text(reader, &mut fields, "doc")?;
    let block = Block {
        span: key.span,
        inputs: pairs(reader, &mut fields, "in")?,
        outputs: some_pairs(reader, &mut fields, "out")?,
        params: pairs(reader, &mut fields, "params")?,
        weights: pairs(reader, &mut fields, "weights")?,
        body: pairs(reader, &mut fields, "body")?,
    };
    reader.close(fields)?;
    check_names(reader, &block.inputs, "an input")?;
    check_names(reader, &block.outputs, "an output")?;
    check_names(reader, &block.params, "a parameter")?;
    check_names(reader, &block.weights, "a weight")?;
    check_names(reader, &block.body, "a value")?;
    Ok(block)
}
