//! Which block a call means: a name, or a choice by a compile-time value.

use super::{Expander, Frame};
use crate::reader::Read;
use crate::tree::{Key, Kind, Tree};

/// A resolved call: the block and everything the levels of the choice say about it.
#[derive(Debug, Default)]
pub(super) struct Target<'f> {
    pub block: String,
    pub with: Vec<&'f (Key, Tree)>,
    pub params: Vec<&'f (Key, Tree)>,
}

impl<'f> Expander<'f> {
    /// `NAME`, `{block: .., with: .., params: ..}` or `{by: EXPR, VALUE: ..}`, nested at will.
    pub(super) fn choose(
        &mut self,
        frame: &Frame,
        tree: &'f Tree,
        target: &mut Target<'f>,
    ) -> Read<()> {
        match &tree.kind {
            Kind::Text(name) => {
                target.block.clone_from(name);
                Ok(())
            }
            Kind::Map(_) if tree.get("by").is_some() => self.choose_by(frame, tree, target),
            _ => {
                let mut fields = self.reader.map(tree, "a block")?;
                let block = fields.need(&mut self.reader, "block")?;
                for (name, list) in [("with", &mut target.with), ("params", &mut target.params)] {
                    if let Some(tree) = fields.take(name) {
                        list.extend(self.reader.map(tree, name)?.rest());
                    }
                }
                self.reader.close(fields)?;
                self.choose(frame, block, target)
            }
        }
    }

    fn choose_by(&mut self, frame: &Frame, tree: &'f Tree, target: &mut Target<'f>) -> Read<()> {
        let mut fields = self.reader.map(tree, "a choice")?;
        let by = fields.need(&mut self.reader, "by")?;
        let value = frame.scope.evaluate(&mut self.reader, by)?.to_text();
        let cases = fields.rest();
        match cases.iter().find(|(key, _)| key.name == value) {
            Some((_, case)) => self.choose(frame, case, target),
            None => {
                let known: Vec<&str> = cases.iter().map(|(key, _)| key.name.as_str()).collect();
                let message = format!("no case for `{value}`; there are {}", known.join(", "));
                Err(self.reader.mistake("graph::choice", by.span, message))
            }
        }
    }
}
