//! `ltxc bench`

mod adherence;
mod quality;
mod sample;
mod seams;

use crate::args::BenchCommand;
use crate::failure::Outcome;

pub fn command(what: &BenchCommand) -> Outcome {
    match what {
        BenchCommand::Adherence(args) => adherence::command(args),
        BenchCommand::Quality(args) => quality::command(args),
        BenchCommand::Seams(args) => seams::command(args),
    }
}

/// A row of a table: a name and right-aligned cells.
fn row<S: AsRef<str>>(name: &str, cells: &[S]) -> String {
    let cells: String = cells
        .iter()
        .map(|cell| format!("{:>18}", cell.as_ref()))
        .collect();
    format!("{name:<14}{cells}")
}

/// A share as people read it.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}
