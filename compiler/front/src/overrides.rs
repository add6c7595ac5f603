//! `--set`: values from the command line in place of those in a file.

use crate::diagnostic::{Diagnostic, Source, Span};
use crate::section::Section;
use crate::tree::{Key, Kind, Tree, parse};

/// What has no place in the file came from the command line.
pub fn blame_override(mistakes: Vec<Diagnostic>) -> Vec<Diagnostic> {
    let blame = |mistake: Diagnostic| match mistake.span.line {
        0 => Diagnostic {
            source: Source::new("--set", ""),
            ..mistake
        },
        _ => mistake,
    };
    mistakes.into_iter().map(blame).collect()
}

/// `--set a.b=VALUE`: puts a value, read as YAML, at a dotted path.
pub fn set(tree: &mut Tree, path: &str, value: &str) -> Result<(), Diagnostic> {
    let source = Source::new("--set", format!("{path}={value}"));
    let mut at = tree;
    for part in path.split('.') {
        at = field(at, part);
    }
    *at = Tree {
        kind: parse(&Source::new(source.name.clone(), value))?.kind,
        span: Span::default(),
    };
    Ok(())
}

/// What `--set` says under one key, where there is no file to say it; anything else is refused.
pub fn section_of(
    key: &'static str,
    overrides: &[(String, String)],
) -> Result<Section, Diagnostic> {
    let mut tree = Tree {
        kind: Kind::Map(Vec::new()),
        span: Span::default(),
    };
    for (path, value) in overrides {
        if path.split('.').next() != Some(key) {
            let source = Source::new("--set", "");
            let message = format!("`{path}` was decided when the bundle was compiled");
            let mistake = Diagnostic::new("set::compiled", &source, Span::default(), message);
            return Err(mistake.help(format!(
                "only `{key}.NAME` can be set for a bundle; compile the preset again for the rest"
            )));
        }
        set(&mut tree, path, value)?;
    }
    let empty = Tree {
        kind: Kind::Map(Vec::new()),
        span: Span::default(),
    };
    Ok(Section {
        what: format!("`{key}`"),
        tree: tree.get(key).cloned().unwrap_or(empty),
        source: Source::new("--set", ""),
    })
}

/// The field of a map, made where it is missing; anything else than a map is replaced by one. Its key loses its
/// place, as the file does not say what it holds.
fn field<'t>(tree: &'t mut Tree, name: &str) -> &'t mut Tree {
    let mut fields = match std::mem::replace(&mut tree.kind, Kind::Null) {
        Kind::Map(fields) => fields,
        _ => Vec::new(),
    };
    let index = fields
        .iter()
        .position(|(key, _)| key.name == name)
        .unwrap_or(fields.len());
    let span = Span::default();
    if index == fields.len() {
        let name = name.to_owned();
        let kind = Kind::Null;
        fields.push((Key { name, span }, Tree { kind, span }));
    }
    fields[index].0.span = span;
    tree.kind = Kind::Map(fields);
    match &mut tree.kind {
        Kind::Map(fields) => &mut fields[index].1,
        _ => unreachable!("it was made a map on the line above"),
    }
}
