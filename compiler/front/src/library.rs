//! The graphs, pipelines, targets, recipes and presets that come with the program.

use std::fs;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};

use crate::diagnostic::{Diagnostic, Source, Span};

static GRAPHS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../graphs");
static PRESETS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../../presets");

/// What a file is for, which decides where a bare name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shelf {
    /// `graphs/`: graphs and pipelines.
    Graphs,
    /// `presets/`.
    Presets,
    /// `presets/targets/`.
    Targets,
    /// `presets/quant/`: recipes for number formats.
    Quant,
    /// `presets/attention/`: recipes for other forms of attention.
    Attention,
}

/// Reads `reference`: a path ending in `.yaml`, relative to `base`, or the name of a file that comes with the program.
pub fn read(shelf: Shelf, reference: &str, base: &Path) -> Result<Source, Diagnostic> {
    if reference.ends_with(".yaml") {
        return read_path(&base.join(reference));
    }
    let name = format!("{reference}.yaml");
    let (dir, below) = place(shelf);
    let file = dir.get_file(Path::new(below).join(&name));
    match file.and_then(|file| file.contents_utf8()) {
        Some(text) => Ok(Source::new(format!("{}/{name}", folder(shelf)), text)),
        None => {
            let source = Source::new("", "");
            let diagnostic = Diagnostic::new(
                "library::unknown",
                &source,
                Span::default(),
                format!("there is no {} `{reference}`", what(shelf)),
            );
            let names = names(shelf);
            Err(diagnostic.suggest(reference, names.iter().map(String::as_str)))
        }
    }
}

/// Reads a file of the user's.
pub fn read_path(path: &Path) -> Result<Source, Diagnostic> {
    let name = path.display().to_string();
    let failed = |why: String| {
        Diagnostic::new(
            "file::read",
            &Source::new(name.as_str(), ""),
            Span::default(),
            why,
        )
    };
    let meta = fs::metadata(path).map_err(|e| failed(e.to_string()))?;
    if !meta.is_file() {
        return Err(failed("it is no file".to_owned()));
    }
    let size = meta.len();
    if size > crate::tree::MAX_BYTES as u64 {
        return Err(failed(format!(
            "the file has {size} bytes; at most {} are read",
            crate::tree::MAX_BYTES
        )));
    }
    let bytes = fs::read(path).map_err(|e| failed(e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|e| {
        let valid = &e.as_bytes()[..e.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|byte| **byte == b'\n').count();
        failed(format!("line {line} is not UTF-8 text"))
    })?;
    Ok(Source::new(name.as_str(), text))
}

/// Where a shelf is among the files that come with the program.
fn place(shelf: Shelf) -> (&'static Dir<'static>, &'static str) {
    match shelf {
        Shelf::Graphs => (&GRAPHS, ""),
        Shelf::Presets => (&PRESETS, ""),
        Shelf::Targets => (&PRESETS, "targets"),
        Shelf::Quant => (&PRESETS, "quant"),
        Shelf::Attention => (&PRESETS, "attention"),
    }
}

/// The names on a shelf, sorted.
pub fn names(shelf: Shelf) -> Vec<String> {
    let (dir, below) = place(shelf);
    let mut found = Vec::new();
    collect(dir, &mut found);
    let under = |path: &PathBuf| {
        if shelf == Shelf::Presets {
            path.components().count() == 1
        } else {
            path.starts_with(below)
        }
    };
    let name = |path: PathBuf| {
        path.strip_prefix(below)
            .unwrap_or(&path)
            .with_extension("")
            .display()
            .to_string()
    };
    let mut names: Vec<String> = found
        .into_iter()
        .filter(|p| p.extension().is_some_and(|e| e == "yaml"))
        .filter(under)
        .map(name)
        .collect();
    names.sort();
    names
}

fn collect(dir: &Dir<'_>, found: &mut Vec<PathBuf>) {
    found.extend(dir.files().map(|file| file.path().to_owned()));
    dir.dirs().for_each(|dir| collect(dir, found));
}

fn folder(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Graphs => "graphs",
        Shelf::Presets => "presets",
        Shelf::Targets => "presets/targets",
        Shelf::Quant => "presets/quant",
        Shelf::Attention => "presets/attention",
    }
}

fn what(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Graphs => "graph or pipeline",
        Shelf::Presets => "preset",
        Shelf::Targets => "target",
        Shelf::Quant => "recipe for number formats",
        Shelf::Attention => "recipe for attention",
    }
}
