//! One module per command.

mod bench;
mod calibrate;
mod check;
mod compile;
mod decode;
mod diff;
mod dump;
mod exec;
mod explain;
mod fmt;
mod inspect;
mod plan;
mod run;

use std::path::{Path, PathBuf};

use ltxc_export::checkpoint::Fp8;
use ltxc_runtime::backend::Package;

use crate::args::{Command, ProjectArgs};
use crate::compile::CompileOptions;
use crate::failure::{Failure, Outcome};
use crate::output::{note, say};

/// Does what the command line says.
pub fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Compile(args) => compile::command(&args),
        Command::Run(args) => run::command(&args),
        Command::Decode(args) => decode::command(&args),
        Command::Exec(args) => exec::command(&args),
        Command::Calibrate(args) => calibrate::command(&args),
        Command::Check(args) => check::command(&args),
        Command::Fmt(args) => fmt::command(&args),
        Command::Dump(args) => dump::command(&args),
        Command::Explain(args) => explain::command(&args),
        Command::Plan(args) => plan::command(&args),
        Command::Diff(args) => diff::command(&args),
        Command::Inspect(args) => inspect::command(&args),
        Command::Bench { what } => bench::command(&what),
        Command::Setup { webgpu } => setup(webgpu),
        Command::Completions { shell } => completions(shell),
    }
}

fn setup(webgpu: bool) -> Outcome {
    let packages = [Package::ONNX_RUNTIME]
        .into_iter()
        .chain(webgpu.then_some(Package::WEBGPU));
    for package in packages {
        let path = ltxc_runtime::backend::setup(package, &|text| note!("{text}"))
            .map_err(|e| Failure::Input(e.into()))?;
        say!("{}", path.display());
    }
    Ok(())
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    use clap::CommandFactory;
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut crate::args::Cli::command(), "ltxc", &mut script);
    crate::output::print(format_args!("{}", String::from_utf8_lossy(&script)))
}

fn fp8(text: &str) -> Outcome<Fp8> {
    text.parse()
        .map_err(|said| Failure::Misuse(format!("--fp8: {said}")))
}

/// `FILE` or `FILE:WEIGHT`; a colon that no number follows belongs to the name, as does one of a file that exists.
fn lora(text: &str) -> Outcome<(PathBuf, f64)> {
    let whole = PathBuf::from(text);
    if whole.exists() {
        return Ok((whole, 1.0));
    }
    let Some((file, weight)) = text.rsplit_once(':') else {
        return Ok((whole, 1.0));
    };
    match weight.trim().parse::<f64>() {
        Ok(weight) if weight.is_finite() => Ok((PathBuf::from(file), weight)),
        Err(_) if !Path::new(file).exists() => Ok((whole, 1.0)),
        _ => Err(Failure::Misuse(format!(
            "`--lora {text}`: the weight behind the last colon must be a number, such as {file}:0.8"
        ))),
    }
}

/// The `--set`s of the command line.
pub(crate) fn overrides(args: &ProjectArgs) -> Outcome<Vec<(String, String)>> {
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
    args.overrides.iter().map(pair).collect()
}

/// The options of a compile from the command line.
pub(crate) fn options(preset: &str, args: &ProjectArgs) -> Outcome<CompileOptions> {
    if args.memory_budget.is_some() && args.size.is_none() {
        let why = "--memory-budget needs --size: what a component works with follows from the size of the video";
        return Err(Failure::Misuse(why.to_owned()));
    }
    Ok(CompileOptions {
        preset: preset.to_owned(),
        checkpoints: args.checkpoints(),
        tokenizer: args.tokenizer.clone(),
        target: args.target.clone(),
        loras: args
            .loras
            .iter()
            .map(|text| lora(text))
            .collect::<Outcome<_>>()?,
        fp8: args.fp8.as_deref().map(fp8).transpose()?,
        quant: args.quant.clone(),
        attention: args.attention.clone(),
        scales: args.scales.clone(),
        overrides: overrides(args)?,
        only: args.only.clone(),
        size: args.size,
        rows: args.rows.map(i64::from),
        budget: args
            .memory_budget
            .filter(|_| args.size.is_some())
            .map(|budget| budget.0),
        no_hoist: args.no_hoist,
    })
}
