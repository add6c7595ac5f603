//! `ltxc fmt`

use std::fs;

use ltxc_front::{kind_of, library};
use pretty_yaml::config::{FormatOptions, LanguageOptions, LayoutOptions};

use crate::args::FmtArgs;
use crate::failure::{Failure, Outcome};

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
        (false, false) => replace(&args.file, &formatted),
    }
}

/// The text with standard indentation and spacing; comments stay.
pub fn format(text: &str) -> Result<String, String> {
    let layout = LayoutOptions {
        print_width: WIDTH,
        ..LayoutOptions::default()
    };
    let language = LanguageOptions {
        brace_spacing: false,
        ..LanguageOptions::default()
    };
    pretty_yaml::format_text(text, &FormatOptions { layout, language }).map_err(|e| e.to_string())
}

/// Writes beside the file and renames, so that nothing is lost if this is interrupted.
fn replace(path: &std::path::Path, text: &str) -> Outcome {
    let partial = path.with_extension("yaml.partial");
    fs::write(&partial, text)?;
    fs::rename(&partial, path)?;
    Ok(())
}
