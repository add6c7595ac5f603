//! Type expressions (`f32[B, 4*S, dim]`) and the patterns of block inputs.

use ltxc_ir::{Dtype, Fact};

use super::{Expander, Frame};
use crate::diagnostic::Span;
use crate::graph_file::is_name;
use crate::reader::Read;
use crate::scope::{Scope, Value};
use crate::tree::Tree;

impl Expander<'_> {
    /// The type a text means.
    pub(super) fn fact(&mut self, scope: &Scope, tree: &Tree) -> Read<Fact> {
        let (dtype, sizes) = self.split(tree)?;
        let mut shape = Vec::new();
        for size in sizes {
            shape.push(
                scope
                    .evaluate_size(&size)
                    .map_err(|error| scope.report(&mut self.reader, tree, &error))?,
            );
        }
        Ok(Fact { dtype, shape })
    }

    fn split(&mut self, tree: &Tree) -> Read<(Dtype, Vec<String>)> {
        let text = self.reader.text(tree, "a type")?;
        let parts = text.strip_suffix(']').and_then(|text| text.split_once('['));
        let Some((dtype, sizes)) = parts else {
            let diagnostic = self.reader.at(
                "graph::type-text",
                tree.span,
                format!("`{text}` is no type"),
            );
            return Err(self.reader.report(
                diagnostic.help("write it as \"f32[B, S, 4*dim]\", in quotes inside { }"),
            ));
        };
        let dtype = dtype
            .trim()
            .parse()
            .map_err(|why: String| self.reader.mistake("graph::type-text", tree.span, why))?;
        Ok((
            dtype,
            sizes
                .split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect(),
        ))
    }

    /// Matches a value's type against a pattern; names the scope does not know are bound to the sizes they meet.
    pub(super) fn bind(
        &mut self,
        frame: &mut Frame,
        name: &str,
        pattern: &Tree,
        fact: &Fact,
        caller: Span,
    ) -> Read<()> {
        let (dtype, sizes) = self.split(pattern)?;
        let mut fits = dtype == fact.dtype && sizes.len() == fact.rank();
        for (text, size) in sizes.iter().zip(&fact.shape) {
            if is_name(text) && !frame.scope.names.contains_key(text) {
                frame
                    .scope
                    .names
                    .insert(text.clone(), Value::Size(size.clone()));
            }
            let want = frame
                .scope
                .evaluate_size(text)
                .map_err(|error| frame.scope.report(&mut self.reader, pattern, &error))?;
            fits &= want == *size
                || self
                    .graph
                    .sizes
                    .broadcast(&want, size)
                    .is_some_and(|both| both == want);
        }
        if fits {
            Ok(())
        } else {
            Err(self.mismatch(frame, name, pattern, fact, &sizes, caller))
        }
    }

    fn mismatch(
        &mut self,
        frame: &Frame,
        name: &str,
        pattern: &Tree,
        fact: &Fact,
        sizes: &[String],
        caller: Span,
    ) -> crate::reader::Reported {
        let known: Vec<String> = sizes
            .iter()
            .filter_map(|s| {
                frame
                    .scope
                    .evaluate_size(s)
                    .ok()
                    .map(|v| v.to_string())
                    .filter(|v| v != s)
                    .map(|v| format!("{s} = {v}"))
            })
            .collect();
        let message = format!(
            "block input `{name}` wants {}, it gets {fact}",
            pattern.as_text().unwrap_or("?")
        );
        let diagnostic = self
            .reader
            .at("graph::block-type", pattern.span, message)
            .help(format!(
                "it is called in line {}; there {}",
                caller.line,
                known.join(", ")
            ));
        self.reader.report(diagnostic)
    }
}
