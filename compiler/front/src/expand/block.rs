//! `call`, `repeat` and `sequence`: copying blocks into the graph.

use std::collections::BTreeMap;

use ltxc_ir::NodeId;
use serde_json::Value as Json;

use super::choice::Target;
use super::{Expander, Frame, MAX_COPIES, MAX_DEPTH};
use crate::diagnostic::Span;
use crate::graph_file::Block;
use crate::reader::{Fields, Read};
use crate::scope::{Scope, Value, split_item};
use crate::tree::{Key, Kind, Tree};

/// Most turns of a `repeat` or items of a `sequence`.
const MAX_TURNS: i64 = 1024;

/// Values by port name.
type Values = BTreeMap<String, Option<NodeId>>;

impl<'f> Expander<'f> {
    /// `{block: .., with: {port: value}, params: {..}, prefix: ".."}`.
    pub(super) fn call(&mut self, frame: &mut Frame, key: &'f Key, body: &'f Tree) -> Read<()> {
        let mut fields = self.reader.map(body, "`call`")?;
        let prefix = self.prefix(&mut fields, frame)?;
        let mut target = Target::default();
        let block = fields.need(&mut self.reader, "block")?;
        self.take_arguments(&mut fields, &mut target)?;
        self.reader.close(fields)?;
        self.choose(frame, block, &mut target)?;
        let outputs = self.instance(
            frame,
            key,
            &format!("{}.", key.name),
            &prefix,
            &target,
            Values::new(),
        )?;
        bind_results(frame, key, outputs);
        Ok(())
    }

    /// `{block: .., times: N, index: i, prefix: "..{i}.", carry: {port: first}, with: ..}`.
    pub(super) fn repeat(&mut self, frame: &mut Frame, key: &'f Key, body: &'f Tree) -> Read<()> {
        let mut fields = self.reader.map(body, "`repeat`")?;
        let times = fields
            .need(&mut self.reader, "times")
            .and_then(|t| Ok((t, frame.scope.need_size(&mut self.reader, t)?)));
        let block = fields.need(&mut self.reader, "block")?;
        let turn = self.turn(frame, &mut fields)?;
        let mut target = Target::default();
        self.take_arguments(&mut fields, &mut target)?;
        self.reader.close(fields)?;
        let (tree, times) = times?;
        let Some(times) = times.as_const().filter(|n| (0..=MAX_TURNS).contains(n)) else {
            return Err(self.reader.mistake(
                "graph::repeat",
                tree.span,
                format!("{times} turns are not possible; `times` must be known when the graph is compiled, 0 to {MAX_TURNS}"),
            ));
        };
        let mut carried = turn.carry;
        for index in 0..times {
            let mut inner = frame.clone();
            inner
                .scope
                .names
                .insert(turn.index.clone(), Value::Size(index.into()));
            let mut target = Target {
                with: target.with.clone(),
                params: target.params.clone(),
                ..Target::default()
            };
            self.choose(&inner, block, &mut target)?;
            let label = self.interpolate(&inner, &turn.prefix, turn.span)?;
            carried = self.instance(
                &inner,
                key,
                &label,
                &format!("{}{label}", frame.prefix),
                &target,
                carried,
            )?;
        }
        bind_results(frame, key, carried);
        Ok(())
    }

    /// `{items: LIST, order: reversed, index: i, prefix: .., carry: .., case: {NAME: block}}`.
    pub(super) fn sequence(&mut self, frame: &mut Frame, key: &'f Key, body: &'f Tree) -> Read<()> {
        let mut fields = self.reader.map(body, "`sequence`")?;
        let items = fields
            .need(&mut self.reader, "items")
            .and_then(|t| Ok((t, frame.scope.evaluate(&mut self.reader, t)?)));
        let order = fields
            .take("order")
            .map_or(Ok("forward".to_owned()), |t| self.reader.text(t, "`order`"))?;
        let cases = fields.need(&mut self.reader, "case")?;
        let turn = self.turn(frame, &mut fields)?;
        let mut common = Target::default();
        self.take_arguments(&mut fields, &mut common)?;
        self.reader.close(fields)?;
        let (at, items) = items?;
        let Some(mut items) = items.as_list().cloned() else {
            let message = format!("`items` must be a list; the config has {}", items.to_text());
            return Err(self.reader.mistake("graph::sequence", at.span, message));
        };
        if items.len() as i64 > MAX_TURNS {
            let message = format!(
                "{} items are too many; 0 to {MAX_TURNS} are possible",
                items.len()
            );
            return Err(self.reader.mistake("graph::sequence", at.span, message));
        }
        match order.as_str() {
            "forward" => {}
            "reversed" => items.reverse(),
            _ => {
                return Err(self.reader.mistake(
                    "graph::sequence",
                    body.span,
                    format!("`order: {order}` must be forward or reversed"),
                ));
            }
        }
        let mut carried = turn.carry;
        for (index, item) in items.iter().enumerate() {
            let (name, settings) = split_item(item);
            let mut inner = frame.clone();
            inner
                .scope
                .names
                .insert(turn.index.clone(), Value::Size((index as i64).into()));
            let Some(case) = cases.get(&name) else {
                return Err(self.no_case(at, cases, &name));
            };
            inner.scope.item = self.item_settings(case, settings).into();
            let mut target = Target {
                with: common.with.clone(),
                params: common.params.clone(),
                ..Target::default()
            };
            self.choose(&inner, case.get("then").unwrap_or(case), &mut target)?;
            let label = self.interpolate(&inner, &turn.prefix, turn.span)?;
            carried = self.instance(
                &inner,
                key,
                &label,
                &format!("{}{label}", frame.prefix),
                &target,
                carried,
            )?;
        }
        bind_results(frame, key, carried);
        Ok(())
    }

    fn no_case(&mut self, at: &Tree, cases: &Tree, name: &str) -> crate::reader::Reported {
        let known: Vec<String> = match &cases.kind {
            Kind::Map(fields) => fields.iter().map(|(key, _)| key.name.clone()).collect(),
            _ => Vec::new(),
        };
        let diagnostic = self.reader.at(
            "graph::sequence",
            at.span,
            format!("the config lists a block `{name}` that this sequence has no case for"),
        );
        self.reader
            .report(diagnostic.help(format!("cases: {}", known.join(", "))))
    }

    /// `{scalar: FIELD, then: ..}` gives a bare number of an item (`[res_x, 4]`) the name FIELD.
    fn item_settings(&mut self, case: &Tree, settings: Json) -> Json {
        let scalar = case.get("scalar").and_then(Tree::as_text);
        match (settings, scalar) {
            (settings @ Json::Object(_), _) => settings,
            (Json::Null, _) | (_, None) => Json::Object(serde_json::Map::new()),
            (value, Some(field)) => Json::Object([(field.to_owned(), value)].into_iter().collect()),
        }
    }

    fn take_arguments(&mut self, fields: &mut Fields<'f>, target: &mut Target<'f>) -> Read<()> {
        for (name, list) in [("with", &mut target.with), ("params", &mut target.params)] {
            if let Some(tree) = fields.take(name) {
                list.extend(self.reader.map(tree, name)?.rest());
            }
        }
        Ok(())
    }

    fn prefix(&mut self, fields: &mut Fields<'f>, frame: &Frame) -> Read<String> {
        let Some(tree) = fields.take("prefix") else {
            return Ok(frame.prefix.clone());
        };
        let text = self.reader.text(tree, "`prefix`")?;
        let text = self.interpolate(frame, &text, tree.span)?;
        Ok(format!("{}{text}", frame.prefix))
    }

    fn turn(&mut self, frame: &Frame, fields: &mut Fields<'f>) -> Read<Turn> {
        let index = fields
            .take("index")
            .map_or(Ok("i".to_owned()), |t| self.reader.text(t, "`index`"))?;
        let text = fields.need(&mut self.reader, "prefix")?;
        let prefix = self.reader.text(text, "`prefix`")?;
        let mut carry = Values::new();
        let tree = fields.need(&mut self.reader, "carry")?;
        for (port, tree) in self.reader.map(tree, "`carry`")?.rest() {
            let value = self.value(frame, tree, &port.name)?;
            carry.insert(port.name.clone(), Some(value));
        }
        Ok(Turn {
            index,
            prefix,
            span: text.span,
            carry,
        })
    }

    /// Copies a block in. `given` are inputs by port that come from a carry; returns its outputs by port.
    fn instance(
        &mut self,
        frame: &Frame,
        key: &Key,
        label: &str,
        prefix: &str,
        target: &Target<'f>,
        given: Values,
    ) -> Read<Values> {
        let file = self.file;
        let Some(block) = file.blocks.get(&target.block) else {
            let diagnostic = self.reader.at(
                "graph::unknown-block",
                key.span,
                format!("there is no block `{}`", target.block),
            );
            return Err(self.reader.report(
                diagnostic.suggest(&target.block, file.blocks.keys().map(String::as_str)),
            ));
        };
        if self.depth >= MAX_DEPTH {
            return Err(self.reader.mistake(
                "graph::depth",
                block.span,
                format!("blocks call each other more than {MAX_DEPTH} deep"),
            ));
        }
        self.copies += 1;
        if self.copies > MAX_COPIES {
            let message = format!("blocks are copied more than {MAX_COPIES} times");
            return Err(self.reader.mistake("graph::size", key.span, message));
        }
        let mut inner = Frame {
            path: frame.full(label),
            prefix: prefix.to_owned(),
            scope: self.block_scope(frame, block, target, key)?,
            locals: Values::new(),
            lines: BTreeMap::new(),
        };
        self.bind_inputs(frame, &mut inner, block, target, given, key)?;
        self.declared_weights(&mut inner, &block.weights)?;
        self.depth += 1;
        self.statements(&mut inner, &block.body);
        self.depth -= 1;
        self.outputs(&inner, block)
    }

    fn outputs(&mut self, inner: &Frame, block: &'f Block) -> Read<Values> {
        let mut outputs = Values::new();
        for (port, tree) in &block.outputs {
            outputs.insert(
                port.name.clone(),
                Some(self.value(inner, tree, &port.name)?),
            );
        }
        Ok(outputs)
    }

    /// Graph-level names plus the block's own parameters; nothing of the caller leaks in.
    fn block_scope(
        &mut self,
        frame: &Frame,
        block: &'f Block,
        target: &Target<'f>,
        key: &Key,
    ) -> Read<Scope> {
        let mut scope = Scope {
            item: frame.scope.item.clone(),
            config: frame.scope.config.clone(),
            ..Scope::default()
        };
        let graph_names = self
            .file
            .params
            .iter()
            .map(|(k, _)| k)
            .chain(self.file.dims.iter().map(|(k, _)| k));
        for name in graph_names {
            if let Some(value) = frame.scope.names.get(&name.name) {
                scope.names.insert(name.name.clone(), value.clone());
            }
        }
        for (name, default) in &block.params {
            let given = target.params.iter().find(|(key, _)| key.name == name.name);
            let value = match given {
                Some((_, tree)) => frame.scope.evaluate(&mut self.reader, tree)?,
                None if matches!(default.kind, Kind::Null) => {
                    return Err(self.reader.mistake(
                        "graph::params",
                        key.span,
                        format!(
                            "block `{}` needs the parameter `{}`",
                            target.block, name.name
                        ),
                    ));
                }
                None => scope.evaluate(&mut self.reader, default)?,
            };
            scope.names.insert(name.name.clone(), value);
        }
        for (key, _) in &target.params {
            if !block.params.iter().any(|(name, _)| name.name == key.name) {
                let diagnostic = self.reader.at(
                    "graph::params",
                    key.span,
                    format!("block `{}` has no parameter `{}`", target.block, key.name),
                );
                return Err(self.reader.report(
                    diagnostic
                        .suggest(&key.name, block.params.iter().map(|(k, _)| k.name.as_str())),
                ));
            }
        }
        Ok(scope)
    }

    fn bind_inputs(
        &mut self,
        frame: &Frame,
        inner: &mut Frame,
        block: &'f Block,
        target: &Target<'f>,
        mut given: Values,
        key: &Key,
    ) -> Read<()> {
        for (port, tree) in &target.with {
            let value = self.value(frame, tree, &format!("{}.{}", key.name, port.name))?;
            if !block.inputs.iter().any(|(name, _)| name.name == port.name) {
                let diagnostic = self.reader.at(
                    "graph::port",
                    port.span,
                    format!("block `{}` has no input `{}`", target.block, port.name),
                );
                return Err(self.reader.report(diagnostic.suggest(
                    &port.name,
                    block.inputs.iter().map(|(k, _)| k.name.as_str()),
                )));
            }
            given.insert(port.name.clone(), Some(value));
        }
        for (name, pattern) in &block.inputs {
            let Some(value) = given.get(&name.name).copied() else {
                return Err(self.reader.mistake(
                    "graph::port",
                    key.span,
                    format!(
                        "block `{}` needs the input `{}`: give it under `with` or `carry`",
                        target.block, name.name
                    ),
                ));
            };
            let id = value.ok_or(crate::reader::Reported)?;
            let fact = self.graph.node(id).fact.clone();
            self.bind(inner, &name.name, pattern, &fact, key.span)?;
            inner.locals.insert(name.name.clone(), Some(id));
        }
        Ok(())
    }
}

struct Turn {
    index: String,
    prefix: String,
    span: Span,
    carry: Values,
}

/// A single output goes by the statement's name, each also by `name.port`.
fn bind_results(frame: &mut Frame, key: &Key, outputs: Values) {
    if let (1, Some((_, value))) = (outputs.len(), outputs.first_key_value()) {
        frame.locals.insert(key.name.clone(), *value);
    }
    for (port, value) in outputs {
        frame.locals.insert(format!("{}.{port}", key.name), value);
    }
}
