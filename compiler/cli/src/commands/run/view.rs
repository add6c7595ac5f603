//! Progress of a run.

use indicatif::ProgressBar;
use ltxc_runtime::run::Event;

use crate::progress::bar;

/// One bar for the steps, a line for each other stage.
pub struct View {
    bar: ProgressBar,
}

impl View {
    pub fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
        }
    }

    pub fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::StageStarted { stage, steps, .. } => {
                self.bar.finish_and_clear();
                self.bar = match steps {
                    0 => bar(1, "{msg:18} {spinner} {elapsed}"),
                    steps => bar(
                        *steps as u64,
                        "{msg:18} [{bar:30}] step {pos}/{len}, {eta} left",
                    ),
                };
                self.bar.set_message((*stage).to_owned());
            }
            Event::Step { .. } => self.bar.inc(1),
            Event::StageFinished { .. } => self.bar.finish_and_clear(),
            Event::FramesDecoded {
                stage,
                frames,
                total,
            } => {
                let done = format!("{stage} {frames}/{total} frames");
                self.bar.set_message(done);
            }
            Event::ComponentLoaded { .. } => {}
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
