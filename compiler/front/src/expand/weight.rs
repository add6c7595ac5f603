//! Weights: declared ones, and those an operation implies by its `w`.

use ltxc_ir::op::Weight;
use ltxc_ir::{Dtype, NodeId, Size};

use super::{Expander, Frame};
use crate::diagnostic::Span;
use crate::reader::Read;
use crate::tree::{Key, Tree};

impl Expander<'_> {
    /// The weight of a name under the frame's prefix; a leading `/` means the whole key. One node per key.
    pub(super) fn weight(
        &mut self,
        frame: &Frame,
        name: &str,
        shape: Vec<Size>,
        span: Span,
    ) -> Read<NodeId> {
        let name = self.interpolate(frame, name, span)?;
        let key = name
            .strip_prefix('/')
            .map_or_else(|| format!("{}{name}", frame.prefix), str::to_owned);
        if let Some(id) = self.weights.get(&key) {
            let known = &self.graph.node(*id).fact;
            if known.shape != shape {
                let message = format!(
                    "weight `{key}` is used as {known} and as {}",
                    known.with_shape(shape)
                );
                return Err(self.reader.mistake("graph::weight", span, message));
            }
            return Ok(*id);
        }
        let root = Frame {
            path: String::new(),
            ..frame.clone()
        };
        let short = key
            .strip_prefix(&self.file.prefix)
            .unwrap_or(&key)
            .to_owned();
        let op = Weight {
            key: key.clone(),
            dtype: Dtype::F32,
            shape,
            stored: None,
        };
        let id = self.add(&root, &short, op.into(), &[], span)?;
        self.weights.insert(key, id);
        Ok(id)
    }

    /// `weights:` of a block or graph: `local: {name: KEY, type: TYPE}`.
    pub(super) fn declared_weights(
        &mut self,
        frame: &mut Frame,
        weights: &[(Key, Tree)],
    ) -> Read<()> {
        for (key, tree) in weights {
            let mut fields = self.reader.map(tree, "a weight")?;
            let name = fields
                .need(&mut self.reader, "name")
                .and_then(|t| self.reader.text(t, "`name`"));
            let fact = fields
                .need(&mut self.reader, "type")
                .and_then(|t| self.fact(&frame.scope, t));
            self.reader.close(fields)?;
            let id = self.weight(frame, &name?, fact?.shape, key.span)?;
            frame.locals.insert(key.name.clone(), Some(id));
        }
        Ok(())
    }
}
