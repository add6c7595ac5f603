//! `ltxc`: see `ltxc --help`.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    ltxc_runtime::heap::settle();
    let cli = ltxc::args::Cli::parse();
    match ltxc::dispatch(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.render(std::io::stderr().is_terminal());
            // Nobody is left to tell when standard error is closed too.
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(failure.exit_code())
        }
    }
}
