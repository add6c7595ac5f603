//! What is wrong with the YAML itself, in words for the author of a graph.

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::tree::{Kind, Tree};

/// `1e-6` is a number to YAML 1.2 and a text to YAML 1.1, so that another reader would see another graph.
pub fn portable_numbers(source: &Source, tree: &Tree) -> Result<(), Diagnostic> {
    match &tree.kind {
        Kind::List(items) => items
            .iter()
            .try_for_each(|item| portable_numbers(source, item)),
        Kind::Map(fields) => fields
            .iter()
            .try_for_each(|(_, value)| portable_numbers(source, value)),
        Kind::Float(_) => {
            let end = tree.span.offset + tree.span.length;
            let text = source.text.get(tree.span.offset..end).unwrap_or_default();
            match text.split_once(['e', 'E']) {
                Some((digits, power)) if !digits.contains('.') => Err(Diagnostic::new(
                    "yaml::number",
                    source,
                    tree.span,
                    format!("`{text}` is text to many readers of YAML"),
                )
                .help(format!("write {digits}.0e{power}"))),
                _ => Ok(()),
            }
        }
        Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Text(_) => Ok(()),
    }
}

/// What the parser found wrong.
pub fn syntax_error(source: &Source, error: &serde_saphyr::Error) -> Diagnostic {
    let span = error.location().map_or_else(Span::default, |location| {
        let (line, column) = (location.line() as usize, location.column() as usize);
        Span {
            offset: byte_offset(&source.text, line, column),
            length: 1,
            line,
            column,
        }
    });
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let message = first.splitn(2, ": ").last().unwrap_or(first);
    let message = first.strip_prefix("error: ").map_or(message, strip_place);
    let (message, help) = advise(message);
    let diagnostic = Diagnostic::new("yaml::syntax", source, clamp(span, &source.text), message);
    match help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// The parser's words for a graph's author, and what to write; words without advice stay.
fn advise(said: &str) -> (String, Option<&'static str>) {
    let advice = [
        (
            "duplicate mapping key: ",
            "this key stands here twice: ",
            "give each value its own name",
        ),
        (
            "multiple YAML documents",
            "the file holds more than one document",
            "one file is one document: leave out the line `---` and what follows",
        ),
        (
            "budget breached: Depth",
            "the file is nested too deep",
            "name parts of it and refer to them",
        ),
        (
            "recursion limit",
            "the file is nested too deep",
            "name parts of it and refer to them",
        ),
        (
            "budget breached",
            "the file has too many parts once its aliases are filled in",
            "say it with a block and a `repeat`",
        ),
        (
            "alias",
            "this alias names nothing above it",
            "graphs name values without `*`",
        ),
        (
            "recursive references",
            "this alias stands inside of what it names",
            "graphs name values without `*`",
        ),
        (
            "tabs",
            "a tab stands where the line is indented",
            "indent with spaces",
        ),
        (
            "while parsing a flow mapping",
            "a `,` or a `}` is missing",
            "types and names with [ ] { } , stand in quotes here: \"f32[B, S]\"",
        ),
        (
            "while parsing a flow sequence",
            "a `,` or a `]` is missing",
            "types and names with [ ] { } , stand in quotes here: \"f32[B, S]\"",
        ),
        (
            "while parsing a block mapping",
            "this line is indented unlike the lines above it",
            "keys of one map stand below one another",
        ),
        (
            "non-finite float",
            "only finite numbers can be written",
            "write a large number, such as -3.4e38",
        ),
        (
            "YAML merge key",
            "merge keys are not part of the language",
            "write the keys out",
        ),
        (
            "unsupported tag",
            "tags are not part of the language",
            "leave out the word that starts with `!`",
        ),
    ];
    let known = |(start, _, _): &&(&str, &str, &str)| {
        said.get(..start.len())
            .is_some_and(|head| head.eq_ignore_ascii_case(start))
    };
    match advice.iter().find(known) {
        Some((start, message, help)) if message.ends_with(": ") => {
            let rest = said[start.len()..].split(',').next().unwrap_or_default();
            (format!("{message}`{rest}`"), Some(help))
        }
        Some((_, message, help)) => ((*message).to_owned(), Some(help)),
        None => (said.to_owned(), None),
    }
}

/// `line 2 column 1: what` without the place, which the diagnostic shows itself.
fn strip_place(text: &str) -> &str {
    match text.split_once(": ") {
        Some((place, what)) if place.starts_with("line ") => what,
        _ => text,
    }
}

fn byte_offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    let rest = &text[start.min(text.len())..];
    start
        + rest
            .chars()
            .take(column.saturating_sub(1))
            .map(char::len_utf8)
            .sum::<usize>()
}

fn clamp(span: Span, text: &str) -> Span {
    let offset = span.offset.min(text.len());
    Span {
        offset,
        length: span.length.min(text.len() - offset),
        ..span
    }
}
