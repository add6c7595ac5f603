//! What is told about a mistake in a file: where, what, and what to write instead.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use miette::{LabeledSpan, MietteSpanContents, SourceCode, SourceSpan};

/// Most known names that a message lists in full.
const LISTED: usize = 60;
/// Names it lists of more.
const NEAREST: usize = 10;

/// A file as it was read.
#[derive(Clone, Debug)]
pub struct Source {
    /// Name as the user gave it.
    pub name: Arc<str>,
    /// Whole text.
    pub text: Arc<str>,
}

impl Source {
    /// A file's name and text.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            text: text.into(),
        }
    }

    /// The name without folders.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// A place in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
    /// Line, from 1; 0 for a place that is in no file.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// Stable identity, such as `graph::unknown-op`.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
    /// The file.
    pub source: Source,
    /// The place.
    pub span: Span,
    /// What to write.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake at a place.
    pub fn new(
        code: &'static str,
        source: &Source,
        span: Span,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            message: message.into(),
            source: source.clone(),
            span,
            help: None,
        }
    }

    /// Adds what to write.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the known name that is nearest to a wrong one, or the list of all; of a long one the nearest.
    pub fn suggest<'a>(self, wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let mut seen = BTreeSet::new();
        let known: Vec<&str> = known
            .into_iter()
            .filter(|name| seen.insert(*name))
            .collect();
        let distance = |name: &&str| strsim::damerau_levenshtein(wrong, name);
        match known.iter().min_by_key(|name| distance(name)) {
            Some(name) if distance(name) <= (wrong.chars().count() + 1) / 3 => {
                let help = format!("did you mean `{name}`?");
                self.help(help)
            }
            Some(_) if known.len() <= LISTED => {
                self.help(format!("known here: {}", known.join(", ")))
            }
            Some(_) => {
                let (rest, mut near) = (known.len() - NEAREST, known);
                near.sort_by_key(distance);
                near.truncate(NEAREST);
                self.help(format!("known here: {} and {rest} more", near.join(", ")))
            }
            None => self,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source.name.as_ref(), self.span.line) {
            ("", _) => f.write_str(&self.message),
            (name, 0) => write!(f, "{name}: {}", self.message),
            (name, line) => write!(f, "{name}:{line}:{}: {}", self.span.column, self.message),
        }
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help
            .as_ref()
            .map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = SourceSpan::new(self.span.offset.into(), self.span.length);
        Some(Box::new(std::iter::once(
            LabeledSpan::new_primary_with_span(None, span),
        )))
    }
}

impl SourceCode for Source {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn miette::SpanContents<'a> + 'a>, miette::MietteError> {
        let inner = self.text.as_bytes().read_span(span, before, after)?;
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.to_string(),
            inner.data(),
            *inner.span(),
            inner.line(),
            inner.column(),
            inner.line_count(),
        )))
    }
}
