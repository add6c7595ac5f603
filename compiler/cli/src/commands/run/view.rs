//! Progress of a run.

use indicatif::ProgressBar;
use ltxc_runtime::run::Event;

use crate::progress::bar;

/// One bar for the steps, a line for each other stage. While steps are taken, frames that are decoded beside them are a
/// word in their line.
pub struct View {
    bar: ProgressBar,
    /// The stage whose steps are taken.
    steps_of: Option<String>,
}

impl View {
    pub fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            steps_of: None,
        }
    }

    pub fn show(&mut self, event: &Event<'_>) {
        match event {
            Event::StageStarted { steps: 0, .. } if self.steps_of.is_some() => {}
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
                self.steps_of = (*steps > 0).then(|| (*stage).to_owned());
            }
            Event::Step { step, .. } => self.bar.set_position(*step as u64),
            Event::StageFinished { stage, .. } => {
                match self.steps_of.take_if(|steps_of| *steps_of == *stage) {
                    Some(_) => self
                        .bar
                        .set_style(bar(1, "{msg:18} {spinner} {elapsed}").style()),
                    None => self.bar.finish_and_clear(),
                }
            }
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
