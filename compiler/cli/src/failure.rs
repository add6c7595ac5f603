//! Everything that can end a command, and the exit code it ends with.

use std::fmt::Write;

use ltxc_front::Diagnostic;
use thiserror::Error;

/// Longest line of a file that is shown with a mistake in it.
const LONGEST: usize = 400;

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// Mistakes in files.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Diagnostics(Vec<Diagnostic>),
    /// The input is wrong in another way.
    #[error(transparent)]
    Input(anyhow::Error),
    /// The command was called wrongly.
    #[error("{0}")]
    Misuse(String),
    /// Nobody reads the output any more, which is no mistake.
    #[error("the output was closed")]
    Closed,
    /// A mistake of this program.
    #[error("internal error: {0}; please report it")]
    Bug(String),
}

impl Failure {
    /// 1 where the input is wrong, 2 for misuse and bugs, 0 where only the reader went away.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Diagnostics(_) | Self::Input(_) => 1,
            Self::Misuse(_) | Self::Bug(_) => 2,
            Self::Closed => 0,
        }
    }

    /// The message as it is printed: snippets for files, causes for the rest.
    pub fn render(&self, colour: bool) -> String {
        match self {
            Self::Diagnostics(diagnostics) => diagnostics
                .iter()
                .map(|d| render_diagnostic(d, colour))
                .collect(),
            Self::Input(error) => {
                let mut text = format!("error: {error}\n");
                for cause in error.chain().skip(1).map(ToString::to_string) {
                    // Most messages already end in their cause.
                    if !text.contains(&cause) {
                        let _ = writeln!(text, "  because {cause}");
                    }
                }
                text
            }
            Self::Closed => String::new(),
            other => format!("error: {other}\n"),
        }
    }
}

fn render_diagnostic(diagnostic: &Diagnostic, colour: bool) -> String {
    let theme = if colour {
        miette::GraphicalTheme::unicode()
    } else {
        miette::GraphicalTheme::unicode_nocolor()
    };
    let mut text = String::new();
    let handler = miette::GraphicalReportHandler::new_themed(theme).with_width(120);
    match handler.render_report(&mut text, diagnostic) {
        Ok(()) if has_snippet(diagnostic) => text,
        _ => {
            let help = diagnostic
                .help
                .as_ref()
                .map_or_else(String::new, |help| format!("  help: {help}\n"));
            format!("error: {diagnostic}\n{help}")
        }
    }
}

/// A place in a file whose lines there are short enough to be shown.
fn has_snippet(diagnostic: &Diagnostic) -> bool {
    let (text, line) = (&diagnostic.source.text, diagnostic.span.line);
    let mut near = text.lines().skip(line.saturating_sub(2)).take(3);
    !text.is_empty() && line > 0 && near.all(|line| line.len() <= LONGEST)
}

impl From<Vec<Diagnostic>> for Failure {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Self::Diagnostics(diagnostics)
    }
}

impl From<Diagnostic> for Failure {
    fn from(diagnostic: Diagnostic) -> Self {
        Self::Diagnostics(vec![diagnostic])
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Input(error)
    }
}

macro_rules! input_errors {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Input(error.into())
            }
        }
    )*};
}

input_errors!(
    std::io::Error,
    ltxc_bundle::BundleError,
    ltxc_export::ExportError,
    ltxc_export::checkpoint::CheckpointError,
    ltxc_export::checkpoint::LoraError,
    ltxc_export::tokenizer::TokenizerError,
);

/// Result of a command.
pub type Outcome<T = ()> = Result<T, Failure>;
