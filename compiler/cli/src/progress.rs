//! Progress on a terminal; silence elsewhere, but for programs that ask for events.

pub mod events;
pub mod left;

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::note;
use crate::write::Progress;

/// A bar on standard error, or a hidden one where that is no terminal.
pub fn bar(length: u64, template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style.progress_chars("=> "));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Progress of a compile: one bar per component.
#[derive(Debug)]
pub struct WriteBar {
    bar: ProgressBar,
}

impl WriteBar {
    /// A bar that appears with the first component.
    pub fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }
}

impl Default for WriteBar {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for WriteBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for WriteBar {
    fn component(&mut self, name: &str, weight_bytes: u64) {
        self.bar.finish_and_clear();
        self.bar = bar(
            weight_bytes,
            "compiling {msg:18} [{bar:30}] {bytes}/{total_bytes}, {eta} left",
        );
        self.bar.set_message(name.to_owned());
    }

    fn bytes(&mut self, bytes: u64) {
        self.bar.inc(bytes);
    }

    fn note(&mut self, text: &str) {
        self.bar.suspend(|| note!("note: {text}"));
    }
}
