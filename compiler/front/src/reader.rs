//! Reading typed things out of a [`Tree`], collecting every mistake.

use serde_path_to_error::{Path, Segment};

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
    /// Mistakes after the first [`KEPT`].
    more: usize,
}

/// Most mistakes that are shown; nobody reads on.
const KEPT: usize = 20;

impl Reader {
    /// A reader of one file.
    pub fn new(source: Source) -> Self {
        Self {
            source,
            mistakes: Vec::new(),
            more: 0,
        }
    }

    /// Records a mistake; the same one at the same place is kept once.
    pub fn report(&mut self, diagnostic: Diagnostic) -> Reported {
        let known = |m: &Diagnostic| {
            m.span == diagnostic.span
                && m.code == diagnostic.code
                && m.source.name == diagnostic.source.name
        };
        match self.mistakes.len() {
            _ if self.mistakes.iter().any(known) => {}
            KEPT => self.more += 1,
            _ => self.mistakes.push(diagnostic),
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
                if self.more > 0 {
                    let message = format!("{} more mistakes are not shown", self.more);
                    let file = Source::new(self.source.name, "");
                    self.mistakes.push(Diagnostic::new(
                        "yaml::more",
                        &file,
                        Span::default(),
                        message,
                    ));
                }
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

    /// Anything serde can read, out of the plain value; a mistake is placed at the part of it that is wrong.
    pub fn plain<T: serde::de::DeserializeOwned>(&mut self, tree: &Tree, what: &str) -> Read<T> {
        serde_path_to_error::deserialize(tree.to_json()).map_err(|error| {
            let said = error.inner().to_string();
            let (span, what) = locate(tree, error.path(), what, said.starts_with("unknown field"));
            let words = in_words(&said);
            self.mistake("yaml::value", span, format!("{what}: {words}"))
        })
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

/// The part of a value that a path of serde leads to, and its name; an unknown key is no part.
fn locate(tree: &Tree, path: &Path, what: &str, unknown: bool) -> (Span, String) {
    let (mut at, mut span, mut what) = (tree, tree.span, what.to_owned());
    let segments: Vec<&Segment> = path.iter().collect();
    for (index, segment) in segments.iter().enumerate() {
        let found = match (segment, &at.kind) {
            (Segment::Map { key } | Segment::Enum { variant: key }, Kind::Map(fields)) => {
                let field = fields.iter().find(|(k, _)| k.name == *key);
                field.map(|(k, value)| (key.clone(), k.span, value))
            }
            (Segment::Seq { index }, Kind::List(items)) => items
                .get(*index)
                .map(|value| (index.to_string(), value.span, value)),
            _ => None,
        };
        let Some((name, place, value)) = found else {
            break;
        };
        (at, span) = (value, place);
        if unknown && index + 1 == segments.len() {
            break;
        }
        what = match what.strip_suffix('`') {
            Some(whole) => format!("{whole}.{name}`"),
            None => format!("`{name}` of {what}"),
        };
    }
    (span, what)
}

/// What serde says, in the words of the language.
pub fn in_words(error: &str) -> String {
    let known = error.starts_with("unknown ");
    let text = error
        .replace(
            ", expected ",
            if known { "; known are " } else { ", expected " },
        )
        .replace("known are one of ", "known are ")
        .replace(
            "unit variant, expected newtype variant",
            "a lone word, expected a map",
        )
        .replace("invalid type: ", "this is ")
        .replace("invalid value: ", "this is ")
        .replace(", expected ", "; it must be ")
        .replace("` or `", "`, `");
    let text = ["usize", "u64", "u32", "u8"]
        .iter()
        .fold(text, |text, kind| {
            text.replace(&format!("must be {kind}"), "must be a whole number from 0")
        })
        .replace("must be i64", "must be a whole number")
        .replace("must be f64", "must be a number")
        .replace("must be f32", "must be a number")
        .replace("a sequence", "a list")
        .replace("this is null", "this is nothing")
        .replace("this is string", "this is the text")
        .replace("this is integer", "this is the whole number")
        .replace("this is floating point", "this is the number")
        .replace("this is boolean", "this is the truth value");
    let rename = |text: &str, from: &str, to: &str| {
        text.strip_prefix(from)
            .map_or_else(|| text.to_owned(), |rest| format!("{to}{rest}"))
    };
    let text = rename(&text, "unknown field ", "there is no key ");
    let text = rename(&text, "missing field ", "it needs the key ");
    let text = rename(&text, "expected ", "it must be ");
    rename(&text, "unknown variant ", "there is no ")
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
        if let Some(at) = self
            .returned
            .iter()
            .position(|(returned, _)| *returned == name)
        {
            return Some(self.returned.swap_remove(at).1);
        }
        self.take_entry(name).map(|(_, value)| value)
    }

    /// Takes a field together with its key if it is there and not `~`.
    pub fn take_entry(&mut self, name: &'static str) -> Option<&'t (Key, Tree)> {
        self.known.push(name);
        let slot = self
            .fields
            .iter_mut()
            .find(|field| field.is_some_and(|(key, _)| key.name == name))?;
        slot.take()
            .filter(|(_, value)| !matches!(value.kind, Kind::Null))
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
