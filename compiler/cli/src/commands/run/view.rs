//! Progress of a run: one bar for all of it, and events for programs.

use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use ltxc_runtime::run::{Event, StageCost};

use crate::progress::bar;
use crate::progress::events::Events;
use crate::progress::left::Left;

/// The bar's length.
const WHOLE: u64 = 1000;

/// A run as it is seen from outside.
pub struct View {
    bar: ProgressBar,
    began: Instant,
    left: Left,
    /// What each stage at work is doing, in words.
    doing: Vec<(String, String)>,
    events: Events,
}

impl View {
    /// A run of which nothing is known yet.
    pub fn new() -> Self {
        Self {
            bar: ProgressBar::hidden(),
            began: Instant::now(),
            left: Left::default(),
            doing: Vec::new(),
            events: Events::none(),
        }
    }

    /// Tells events to others, too.
    pub fn with_events(mut self, events: Events) -> Self {
        self.events = events;
        self
    }

    pub fn events(&mut self) -> &mut Events {
        &mut self.events
    }

    /// How long the run has been going.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// A run of such stages begins.
    pub fn begin(&mut self, costs: Vec<StageCost>) {
        self.finish();
        self.left = Left::new(costs);
        self.began = Instant::now();
        self.bar = bar(WHOLE, "[{bar:30}] {percent:>3} % {msg}");
    }

    pub fn show(&mut self, event: &Event<'_>) {
        let now = self.began.elapsed();
        self.left.hear(event, now);
        let (share, left) = self.left.tell(now);
        self.events.tell(event, now, (share, left));
        self.note(event);
        let doing: Vec<&str> = self.doing.iter().map(|(_, words)| words.as_str()).collect();
        let known = left.map_or_else(String::new, |left| time(left) + " left");
        let words = doing.into_iter().chain([known.as_str()]);
        let words: Vec<&str> = words.filter(|words| !words.is_empty()).collect();
        self.bar.set_position((share * WHOLE as f64) as u64);
        self.bar.set_message(words.join("; "));
    }

    fn note(&mut self, event: &Event<'_>) {
        let (stage, words) = match event {
            Event::StageStarted { stage, .. } => (stage, (*stage).to_owned()),
            Event::ComponentLoaded { .. } => return,
            Event::StageFinished { stage, .. } => {
                self.doing.retain(|(of, _)| of != stage);
                return;
            }
            Event::Step {
                stage,
                step,
                steps,
                window,
                windows,
                ..
            } => (stage, of_step(stage, *step, *steps, *window, *windows)),
            Event::FramesDecoded {
                stage,
                frames,
                total,
            } => (stage, format!("{stage}: frame {frames} of {total}")),
        };
        match self.doing.iter_mut().find(|(of, _)| of == stage) {
            Some((_, doing)) => *doing = words,
            None => self.doing.push(((*stage).to_owned(), words)),
        }
    }

    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
        self.doing.clear();
    }
}

fn of_step(stage: &str, step: usize, steps: usize, window: usize, windows: usize) -> String {
    let window = match windows {
        1 => String::new(),
        _ => format!("window {window} of {windows}, "),
    };
    format!("{stage}: {window}step {step} of {steps}")
}

/// `5 s`, `3:05`, `1:02:07`
fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64().ceil() as u64;
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (hours, minutes) {
        (0, 0) => format!("{rest} s"),
        (0, _) => format!("{minutes}:{rest:02}"),
        _ => format!("{hours}:{minutes:02}:{rest:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_every_stage_at_work_does() {
        let mut view = View::new();
        let step = |step| Event::Step {
            stage: "denoise",
            step,
            steps: 8,
            window: step.div_ceil(4),
            windows: 2,
            sigma: 1.0,
            elapsed: Duration::from_secs(1),
        };
        view.show(&step(5));
        view.show(&Event::FramesDecoded {
            stage: "decode",
            frames: 9,
            total: 57,
        });
        view.show(&step(6));
        let doing: Vec<_> = view.doing.iter().map(|(_, words)| words.as_str()).collect();
        assert_eq!(
            doing,
            [
                "denoise: window 2 of 2, step 6 of 8",
                "decode: frame 9 of 57"
            ]
        );
        view.show(&Event::StageFinished {
            stage: "denoise",
            elapsed: Duration::from_secs(6),
        });
        assert_eq!(view.doing.len(), 1);
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        let said = |seconds| time(Duration::from_secs_f64(seconds));
        assert_eq!(
            [said(0.2), said(61.0), said(3727.0)],
            ["1 s", "1:01", "1:02:07"]
        );
    }
}
