//! `ltxc fmt`

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use ltxc_front::{Source, kind_of, library, plain_value};
use pretty_yaml::config::{FormatOptions, LanguageOptions, LayoutOptions};
use tempfile::NamedTempFile;

use crate::args::FmtArgs;
use crate::failure::{Failure, Outcome};

/// Column of comments behind values.
const COMMENTS: usize = 34;
/// Longest line before a flow map is broken.
const WIDTH: usize = 160;

pub fn command(args: &FmtArgs) -> Outcome {
    let source = library::read_path(&args.file)?;
    kind_of(&source)?;
    let formatted = format(&source.text)
        .map_err(|e| Failure::Input(anyhow::anyhow!("{}: {e}", args.file.display())))?;
    match (formatted == *source.text, args.check) {
        (true, _) => Ok(()),
        (false, true) => Err(Failure::Input(anyhow::anyhow!(
            "{} is not formatted; run `ltxc fmt {0}`",
            args.file.display()
        ))),
        (false, false) if same_meaning(&source, &formatted)? => replace(&args.file, &formatted),
        (false, false) => Err(Failure::Bug(format!(
            "the formatter would change what {} says",
            args.file.display()
        ))),
    }
}

/// The text with standard indentation and spacing; comments stay, those behind values in one column.
pub fn format(text: &str) -> Result<String, String> {
    let layout = LayoutOptions {
        print_width: WIDTH,
        ..LayoutOptions::default()
    };
    let language = LanguageOptions {
        brace_spacing: false,
        ..LanguageOptions::default()
    };
    let options = FormatOptions { layout, language };
    let formatted = pretty_yaml::format_text(text, &options).map_err(|e| e.to_string())?;
    // A `#` inside of a block of text is no comment.
    let has_text_block = formatted
        .lines()
        .any(|line| line.trim_end_matches(['-', '+']).ends_with(['|', '>']));
    match has_text_block {
        true => Ok(formatted),
        false => Ok(formatted.lines().map(align_comment).collect()),
    }
}

/// The line with its break; a comment behind a value moves to the common column, or two spaces behind a longer line.
fn align_comment(line: &str) -> String {
    let start = comment_start(line);
    let (value, comment) = line.split_at(start.unwrap_or(line.len()));
    let value = value.trim_end();
    match start {
        Some(_) if !value.is_empty() => {
            let width = COMMENTS.max(value.chars().count() + 2);
            format!("{value:width$}{comment}\n")
        }
        _ => format!("{line}\n"),
    }
}

/// Where a comment starts: a `#` after a space, outside of quotes.
fn comment_start(line: &str) -> Option<usize> {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some('"'), '"') if before != '\\' => quote = None,
            (Some('\''), '\'') => quote = None,
            (None, '"' | '\'') if matches!(before, ' ' | '{' | '[' | ',') => quote = Some(c),
            (None, '#') if before == ' ' => return Some(at),
            _ => {}
        }
        before = c;
    }
    None
}

fn same_meaning(source: &Source, formatted: &str) -> Outcome<bool> {
    let after = Source::new(source.name.clone(), formatted);
    Ok(plain_value(source)? == plain_value(&after)?)
}

/// Writes beside the file and renames, so that nothing is lost if this is interrupted. A link stays a link.
fn replace(path: &Path, text: &str) -> Outcome {
    let failed = |e: io::Error| Failure::Input(anyhow::anyhow!("{}: {e}", path.display()));
    let path = path.canonicalize().map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut partial = NamedTempFile::new_in(folder).map_err(failed)?;
    partial.write_all(text.as_bytes()).map_err(failed)?;
    let permissions = fs::metadata(&path).map_err(failed)?.permissions();
    fs::set_permissions(partial.path(), permissions).map_err(failed)?;
    partial.persist(&path).map_err(|e| failed(e.error))?;
    Ok(())
}
