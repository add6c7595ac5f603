//! Copying a block in: its scope, its inputs, its statements, its outputs.

use std::collections::BTreeMap;

use super::block::Values;
use super::choice::Target;
use super::{Expander, Frame, MAX_COPIES, MAX_DEPTH};
use crate::graph_file::Block;
use crate::reader::Read;
use crate::scope::Scope;
use crate::tree::{Key, Kind};

impl<'f> Expander<'f> {
    /// Copies a block in. `given` are inputs by port that come from a carry; returns its outputs by port.
    pub(super) fn instance(
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
