//! Parts of a file that are read later, by those who know what they mean.

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::overrides::blame_override;
use crate::reader::Reader;
use crate::tree::Tree;

/// A part of a file whose meaning another crate knows.
#[derive(Clone, Debug)]
pub struct Section {
    pub(crate) what: String,
    pub(crate) tree: Tree,
    pub(crate) source: Source,
}

impl Section {
    /// The part as anything serde can read; a mistake is placed at the part of it that is wrong.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Vec<Diagnostic>> {
        let mut reader = Reader::new(self.source.clone());
        let value = reader.plain(&self.tree, &self.what);
        reader.finish(value).map_err(blame_override)
    }

    /// A mistake in this part.
    pub fn mistake(&self, code: &'static str, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, &self.source, self.tree.span, message)
    }

    /// The plain value.
    pub fn to_json(&self) -> Json {
        self.tree.to_json()
    }
}

/// A text, and where it stands.
#[derive(Clone, Debug, Default)]
pub struct Placed {
    /// The text.
    pub text: String,
    /// Its place.
    pub span: Span,
}
