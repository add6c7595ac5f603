//! One module per command.

mod check;
mod compile;
mod dump;
mod exec;
mod explain;
mod fmt;
mod inspect;
mod run;

use crate::args::{Command, ProjectArgs};
use crate::compile::CompileOptions;
use crate::failure::{Failure, Outcome};
use crate::output::{note, say};

/// Does what the command line says.
pub fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Compile(args) => compile::command(&args),
        Command::Run(args) => run::command(&args),
        Command::Exec(args) => exec::command(&args),
        Command::Check(args) => check::command(&args),
        Command::Fmt(args) => fmt::command(&args),
        Command::Dump(args) => dump::command(&args),
        Command::Explain(args) => explain::command(&args),
        Command::Inspect(args) => inspect::command(&args),
        Command::Setup => setup(),
        Command::Completions { shell } => completions(shell),
    }
}

fn setup() -> Outcome {
    let path = ltxc_runtime::backend::setup::setup(&|text| note!("{text}"))
        .map_err(|e| Failure::Input(e.into()))?;
    say!("{}", path.display());
    Ok(())
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    use clap::CommandFactory;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::Cli::command(), "ltxc", &mut script);
    crate::output::print(format_args!("{}", String::from_utf8_lossy(&script)))
}

/// The options of a compile from the command line.
fn options(preset: &str, args: &ProjectArgs) -> Outcome<CompileOptions> {
    let pair = |text: &String| {
        let split = text
            .split_once('=')
            .map(|(key, value)| (key.trim().to_owned(), value.to_owned()))
            .filter(|(key, _)| key.split('.').all(|part| !part.is_empty()));
        split.ok_or_else(|| {
            Failure::Misuse(format!(
                "`--set {text}` must be KEY=VALUE, such as defaults.steps=8"
            ))
        })
    };
    Ok(CompileOptions {
        preset: preset.to_owned(),
        checkpoint: args.checkpoint.clone(),
        text_encoder: args.text_encoder.clone(),
        tokenizer: args.tokenizer.clone(),
        target: args.target.clone(),
        overrides: args.overrides.iter().map(pair).collect::<Outcome<_>>()?,
        only: args.only.clone(),
    })
}
