//! Expansion: a graph file and a checkpoint's config become a typed [`Graph`].
//!
//! Blocks are copied in at every call; values get the path of the call as prefix, weights the prefix the source
//! gives. Types are inferred as nodes are added, so a mistake is reported at the line that makes it.

mod block;
mod choice;
mod instance;
mod operation;
mod types;
mod weight;

use std::collections::BTreeMap;

use ltxc_ir::attrs::Per;
use ltxc_ir::{Graph, NodeId, Op, Origin, Reuse, Size};
use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Span};
use crate::graph_file::GraphFile;
use crate::reader::{Read, Reader};
use crate::scope::{Scope, Value, lookup};
use crate::tree::{Key, Kind, Tree};

/// Most nodes a graph may have; a 48-layer transformer has some 3,000.
const MAX_NODES: usize = 200_000;
/// Deepest nesting of calls.
const MAX_DEPTH: usize = 24;
/// Most copies of blocks; the largest checkpoint makes a few hundred.
const MAX_COPIES: usize = 20_000;
/// Longest name of a value or weight.
const MAX_NAME: usize = 1000;

/// Expands a graph for a checkpoint whose config is given, with what a preset chose by option.
pub fn expand(
    file: &GraphFile,
    config: &Json,
    options: &BTreeMap<String, String>,
) -> Result<Graph, Vec<Diagnostic>> {
    let mut expander = Expander {
        file,
        reader: Reader::new(file.source.clone()),
        graph: Graph::new(file.name.clone()),
        weights: BTreeMap::new(),
        depth: 0,
        copies: 0,
    };
    expander.graph.doc.clone_from(&file.doc);
    let done = expander.run(config, options);
    let graph = expander.graph;
    expander.reader.finish(done).map(|()| graph)
}

struct Expander<'f> {
    file: &'f GraphFile,
    reader: Reader,
    graph: Graph,
    weights: BTreeMap<String, NodeId>,
    depth: usize,
    copies: usize,
}

/// Where statements are being expanded.
#[derive(Clone, Debug)]
struct Frame {
    /// What value names start with: empty, or a path with its dot.
    path: String,
    /// What weight keys start with.
    prefix: String,
    /// Compile-time values.
    scope: Scope,
    /// Values by local name; `None` where making one failed and was reported.
    locals: BTreeMap<String, Option<NodeId>>,
    /// Lines of the statements by name, those to come included.
    lines: BTreeMap<String, usize>,
}

impl Frame {
    fn full(&self, name: &str) -> String {
        format!("{}{name}", self.path)
    }
}

impl<'f> Expander<'f> {
    fn run(&mut self, config: &Json, options: &BTreeMap<String, String>) -> Read<()> {
        let section = if self.file.config.is_empty() {
            config.clone()
        } else {
            lookup(config, &self.file.config)
                .cloned()
                .unwrap_or_default()
        };
        let mut frame = Frame {
            path: String::new(),
            prefix: self.file.prefix.clone(),
            scope: Scope {
                config: section.into(),
                options: options.clone().into(),
                ..Scope::default()
            },
            locals: BTreeMap::new(),
            lines: BTreeMap::new(),
        };
        self.check_requirements(&frame.scope)?;
        for (key, range) in &self.file.dims {
            self.graph.sizes.0.insert(key.name.clone(), range.clone());
            frame.scope.names.insert(
                key.name.clone(),
                Value::Size(Size::symbol(key.name.clone())),
            );
        }
        for (key, tree) in &self.file.params {
            let value = frame.scope.evaluate(&mut self.reader, tree)?;
            frame.scope.names.insert(key.name.clone(), value);
        }
        for (key, tree) in &self.file.inputs {
            self.graph_input(&mut frame, key, tree)?;
        }
        self.declared_weights(&mut frame, &self.file.weights)?;
        self.statements(&mut frame, &self.file.body);
        for (key, tree) in &self.file.outputs {
            let value = self.value(&frame, tree, &key.name)?;
            self.graph_output(key, value)?;
        }
        if let Some(values) = &self.file.reuse {
            self.reuse(&frame, values)?;
        }
        Ok(())
    }

    fn reuse(&mut self, frame: &Frame, values: &[Tree; 3]) -> Read<()> {
        let mut name = |tree: &Tree| {
            let id = self.value(frame, tree, "reuse")?;
            Ok(self.graph.node(id).name.clone())
        };
        let [start, first, last] = [name(&values[0])?, name(&values[1])?, name(&values[2])?];
        self.graph.reuse = Some(Reuse { start, first, last });
        Ok(())
    }

    /// In a compiled graph, an output and any other value of its name would be the same value.
    fn graph_output(&mut self, key: &Key, value: NodeId) -> Read<()> {
        if self.graph.find(&key.name).is_some_and(|id| id != value) {
            let message = format!("the output `{}` has the name of another value", key.name);
            let diagnostic = self.reader.at("graph::output", key.span, message);
            return Err(self
                .reader
                .report(diagnostic.help("give one of them another name")));
        }
        self.graph.output(&key.name, value);
        Ok(())
    }

    /// Config values the graph was not written for are refused, not guessed around.
    fn check_requirements(&mut self, scope: &Scope) -> Read<()> {
        for (key, want) in &self.file.require {
            let want = want.to_json();
            let allowed = want.as_array().cloned().unwrap_or_else(|| vec![want]);
            let found = lookup(&scope.config, &key.name);
            if let Some(found) = found.filter(|found| !allowed.contains(found)) {
                let message = format!(
                    "the checkpoint's config says `{}: {found}`; this graph is written for {}",
                    key.name,
                    Json::Array(allowed)
                );
                return Err(self.reader.mistake("graph::config", key.span, message));
            }
        }
        Ok(())
    }

    /// `name: TYPE`, or `name: {type: TYPE, when: CONDITION, per: video}`.
    fn graph_input(&mut self, frame: &mut Frame, key: &Key, tree: &Tree) -> Read<()> {
        let (mut text, mut per) = (tree, Per::Step);
        if let Kind::Map(_) = tree.kind {
            let mut fields = self.reader.map(tree, "an input")?;
            text = fields.need(&mut self.reader, "type")?;
            let when = fields.take("when");
            if let Some(tree) = fields.take("per") {
                per = self.reader.plain(tree, "`per`")?;
            }
            self.reader.close(fields)?;
            if let Some(when) = when
                && frame.scope.evaluate(&mut self.reader, when)?.to_text() != "true"
            {
                return Ok(());
            }
        }
        let fact = self.fact(&frame.scope, text)?;
        let op = ltxc_ir::op::Input {
            dtype: fact.dtype,
            shape: fact.shape,
            source: None,
            per,
        };
        let id = self.add(frame, &key.name, op.into(), &[], key.span)?;
        frame.locals.insert(key.name.clone(), Some(id));
        Ok(())
    }

    /// Expands statements in order; a failed one only silences those that read it.
    fn statements(&mut self, frame: &mut Frame, body: &'f [(Key, Tree)]) {
        let line = |(key, _): &(Key, Tree)| (key.name.clone(), key.span.line);
        frame.lines = body.iter().map(line).collect();
        for (key, tree) in body {
            if frame.locals.contains_key(&key.name) {
                self.reader.mistake(
                    "graph::duplicate",
                    key.span,
                    format!("`{}` is defined twice", key.name),
                );
                continue;
            }
            if self.statement(frame, key, tree).is_err() {
                frame.locals.insert(key.name.clone(), None);
            }
        }
    }

    /// One statement: `name: {op: {..}}`.
    fn statement(&mut self, frame: &mut Frame, key: &'f Key, tree: &'f Tree) -> Read<()> {
        let fields = match &tree.kind {
            Kind::Map(fields) if fields.len() == 1 => fields,
            _ => {
                let diagnostic = self.reader.at(
                    "graph::statement",
                    tree.span,
                    format!("`{}` must hold exactly one operation", key.name),
                );
                return Err(self
                    .reader
                    .report(diagnostic.help("write `name: {op: {port: value}}`")));
            }
        };
        let (op, body) = &fields[0];
        match op.name.as_str() {
            "call" => self.call(frame, key, body),
            "repeat" => self.repeat(frame, key, body),
            "sequence" => self.sequence(frame, key, body),
            "unbind" => self.unbind(frame, key, body),
            "draw" => self.draw(frame, key, body),
            _ => {
                let id = self.operation(frame, key, op, body)?;
                frame.locals.insert(key.name.clone(), Some(id));
                Ok(())
            }
        }
    }

    /// Adds a node and reports where it cannot be.
    fn add(
        &mut self,
        frame: &Frame,
        name: &str,
        op: Op,
        inputs: &[Option<NodeId>],
        span: Span,
    ) -> Read<NodeId> {
        if self.graph.len() >= MAX_NODES {
            return Err(self.reader.mistake(
                "graph::size",
                span,
                format!("the graph grows over {MAX_NODES} operations"),
            ));
        }
        let full = frame.full(name);
        if full.len() > MAX_NAME {
            let message = format!("the name of this value grows over {MAX_NAME} characters");
            return Err(self.reader.mistake("graph::name", span, message));
        }
        let origin = Origin {
            source: Some(format!("{}:{}", self.file.source.short_name(), span.line)),
            rule: None,
        };
        let added = self.graph.add(&full, op, inputs, origin);
        added.map_err(|error| self.reader.mistake("graph::type", span, error.to_string()))
    }

    /// The value a port names: a local value, or a number that becomes a constant.
    fn value(&mut self, frame: &Frame, tree: &Tree, hint: &str) -> Read<NodeId> {
        if let Some(name) = tree.as_text() {
            // A part of a value that failed is silent like the value itself.
            let whole = name.split_once('.').map(|(whole, _)| whole);
            let failed = whole.and_then(|whole| frame.locals.get(whole));
            let failed = failed.filter(|id| id.is_none());
            if let Some(local) = frame.locals.get(name).or(failed) {
                return local.ok_or(crate::reader::Reported);
            }
        }
        match frame.scope.names.get(tree.as_text().unwrap_or_default()) {
            Some(Value::Json(json)) if json.is_number() => {
                self.literal(frame, hint, json.as_f64().unwrap_or_default(), tree.span)
            }
            Some(Value::Size(size)) if size.as_const().is_some() => self.literal(
                frame,
                hint,
                size.as_const().unwrap_or_default() as f64,
                tree.span,
            ),
            _ => match tree.kind {
                Kind::Int(number) => self.literal(frame, hint, number as f64, tree.span),
                Kind::Float(number) => self.literal(frame, hint, number, tree.span),
                _ => Err(self.unknown_value(frame, tree)),
            },
        }
    }

    fn literal(&mut self, frame: &Frame, hint: &str, number: f64, span: Span) -> Read<NodeId> {
        let data = ltxc_ir::attrs::Literal::Floats(vec![number as f32]);
        let op = ltxc_ir::op::Constant {
            dtype: ltxc_ir::Dtype::F32,
            shape: Vec::new(),
            data,
        };
        self.add(frame, hint, op.into(), &[], span)
    }

    fn unknown_value(&mut self, frame: &Frame, tree: &Tree) -> crate::reader::Reported {
        let Some(name) = tree.as_text() else {
            return self
                .reader
                .expected(tree, "a port", "the name of a value or a number");
        };
        let diagnostic = self.reader.at(
            "graph::unknown-value",
            tree.span,
            format!("no value is named `{name}` here"),
        );
        let parts: Vec<&str> = frame
            .locals
            .keys()
            .filter(|local| {
                local
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.starts_with('.'))
            })
            .map(String::as_str)
            .collect();
        let diagnostic = match frame.lines.get(name) {
            Some(_) if !parts.is_empty() => diagnostic.help(format!(
                "`{name}` has several results: {}",
                parts.join(", ")
            )),
            Some(line) if *line == tree.span.line => {
                diagnostic.help("a value cannot be made of itself")
            }
            Some(line) => diagnostic.help(format!(
                "`{name}` is made further down, in line {line}; move that line up"
            )),
            None => diagnostic.suggest(name, frame.locals.keys().map(String::as_str)),
        };
        self.reader.report(diagnostic)
    }

    /// Puts compile-time values into the `{name}`s of a prefix or weight name.
    fn interpolate(&mut self, frame: &Frame, text: &str, span: Span) -> Read<String> {
        let (mut filled, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                let message = format!("`{text}` lacks a `}}`");
                return Err(self.reader.mistake("graph::prefix", span, message));
            };
            let Some(value) = frame.scope.names.get(name) else {
                let message = format!("`{{{name}}}` in `{text}` names nothing that is known here");
                let diagnostic = self.reader.at("graph::prefix", span, message);
                let known = frame.scope.names.keys().map(String::as_str);
                return Err(self.reader.report(diagnostic.suggest(name, known)));
            };
            filled.push_str(before);
            filled.push_str(&value.to_text());
            rest = after;
        }
        filled.push_str(rest);
        if filled.len() > MAX_NAME || filled.contains(char::is_whitespace) {
            let message = format!("`{text}` becomes too long a name, or one with spaces");
            return Err(self.reader.mistake("graph::prefix", span, message));
        }
        Ok(filled)
    }
}
