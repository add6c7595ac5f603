//! Reading typed things out of a [`Tree`], collecting every mistake.

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::tree::{Key, Kind, Tree};

/// A mistake was reported; nothing more can be said about this value.
#[derive(Clone, Copy, Debug)]
pub struct Reported;

/// Result of reading; the mistake itself is in the [`Reader`].
pub type Read<T> = Result<T, Reported>;

/// Collects mistakes of one or more files.
#[derive(Debug)]
pub struct Reader {
    /// The file being read.
    pub source: Source,
    mistakes: Vec<Diagnostic>,
}

impl Reader {
    /// A reader of one file.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            mistakes: Vec::new(),
        }
    }

    /// Records a mistake; the same one at the same place is kept once.
    pub fn report(&mut self, diagnostic: Diagnostic) -> Reported {
        let known = |m: &Diagnostic| {
            m.span == diagnostic.span
                && m.code == diagnostic.code
                && m.source.name == diagnostic.source.name
        };
        if !self.mistakes.iter().any(known) {
            self.mistakes.push(diagnostic);
        }
        Reported
    }

    /// Records a mistake of this file.
    pub fn mistake(
        &mut self,
        code: &'static str,
        span: Span,
        message: impl Into<String>,
    ) -> Reported {
        let diagnostic = Diagnostic::new(code, &self.source, span, message);
        self.report(diagnostic)
    }

    /// A diagnostic of this file, to be completed and reported.
    pub fn at(&self, code: &'static str, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(code, &self.source, span, message)
    }

    /// The value, if nothing was wrong anywhere; else every mistake in the order of the file.
    pub fn finish<T>(mut self, value: Read<T>) -> Result<T, Vec<Diagnostic>> {
        match value {
            Ok(value) if self.mistakes.is_empty() => Ok(value),
            _ => {
                self.mistakes
                    .sort_by(|a, b| (&a.source.name, a.span).cmp(&(&b.source.name, b.span)));
                Err(self.mistakes)
            }
        }
    }

    /// The fields of a map, each to be taken by name.
    pub fn map<'t>(&mut self, tree: &'t Tree, what: &str) -> Read<Fields<'t>> {
        match &tree.kind {
            Kind::Map(fields) => Ok(Fields {
                span: tree.span,
                what: what.to_owned(),
                fields: fields.iter().map(Some).collect(),
                known: Vec::new(),
                returned: Vec::new(),
            }),
            _ => Err(self.expected(tree, what, "a map")),
        }
    }

    /// The items of a list.
    pub fn list<'t>(&mut self, tree: &'t Tree, what: &str) -> Read<&'t [Tree]> {
        match &tree.kind {
            Kind::List(items) => Ok(items),
            _ => Err(self.expected(tree, what, "a list")),
        }
    }

    /// A text.
    pub fn text(&mut self, tree: &Tree, what: &str) -> Read<String> {
        match &tree.kind {
            Kind::Text(text) => Ok(text.clone()),
            _ => Err(self.expected(tree, what, "text")),
        }
    }

    /// A whole number.
    pub fn int(&mut self, tree: &Tree, what: &str) -> Read<i64> {
        match tree.kind {
            Kind::Int(value) => Ok(value),
            _ => Err(self.expected(tree, what, "a whole number")),
        }
    }

    /// Anything serde can read, out of the plain value.
    pub fn plain<T: serde::de::DeserializeOwned>(&mut self, tree: &Tree, what: &str) -> Read<T> {
        serde_json::from_value(tree.to_json())
            .map_err(|e| self.mistake("yaml::value", tree.span, format!("{what}: {e}")))
    }

    /// Says that something else stands here than must.
    pub fn expected(&mut self, tree: &Tree, what: &str, kind: &str) -> Reported {
        self.mistake(
            "yaml::kind",
            tree.span,
            format!("{what} must be {kind}, not {}", tree.describe()),
        )
    }

    /// Reports the fields nobody took.
    pub fn close(&mut self, fields: Fields<'_>) -> Read<()> {
        let mut result = Ok(());
        for (key, _) in fields.fields.iter().flatten() {
            let known = fields.known.iter().copied();
            let diagnostic = self.at(
                "yaml::unknown-key",
                key.span,
                format!("{} has no key `{}`", fields.what, key.name),
            );
            result = Err(self.report(diagnostic.suggest(&key.name, known)));
        }
        result
    }
}

/// The fields of a map that are still to be taken.
#[derive(Debug)]
pub struct Fields<'t> {
    /// Where the map stands.
    pub span: Span,
    what: String,
    fields: Vec<Option<&'t (Key, Tree)>>,
    known: Vec<&'static str>,
    returned: Vec<(&'static str, &'t Tree)>,
}

impl<'t> Fields<'t> {
    /// Takes a field if it is there and not `~`.
    pub fn take(&mut self, name: &'static str) -> Option<&'t Tree> {
        self.known.push(name);
        if let Some(at) = self
            .returned
            .iter()
            .position(|(returned, _)| *returned == name)
        {
            return Some(self.returned.swap_remove(at).1);
        }
        let slot = self
            .fields
            .iter_mut()
            .find(|field| field.is_some_and(|(key, _)| key.name == name))?;
        slot.take()
            .map(|(_, value)| value)
            .filter(|value| !matches!(value.kind, Kind::Null))
    }

    /// Takes a field that must be there.
    pub fn need(&mut self, reader: &mut Reader, name: &'static str) -> Read<&'t Tree> {
        let found = self.take(name);
        found.ok_or_else(|| {
            reader.mistake(
                "yaml::missing-key",
                self.span,
                format!("{} needs the key `{name}`", self.what),
            )
        })
    }

    /// Undoes a `take`, for a field that is read in two steps.
    pub fn put_back(&mut self, name: &'static str, value: &'t Tree) {
        self.returned.push((name, value));
    }

    /// Takes all fields that are left.
    pub fn rest(&mut self) -> Vec<&'t (Key, Tree)> {
        self.fields.iter_mut().filter_map(Option::take).collect()
    }
}

/// Checks the `ltxc: 1` line that every file starts with, and which kind of file it is.
pub fn check_version(reader: &mut Reader, fields: &mut Fields<'_>) -> Read<()> {
    let version = fields.need(reader, "ltxc")?;
    match version.kind {
        Kind::Int(1) => Ok(()),
        _ => Err(reader.mistake(
            "yaml::version",
            version.span,
            "this program reads version 1: write `ltxc: 1`",
        )),
    }
}
