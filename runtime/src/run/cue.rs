//! What a long video shows from when on.
//!
//! A window shows what holds at the first frame that it adds to the video. A cue that no window begins with would not
//! be seen, so that is a mistake. A cue with a seed draws the noise of the latent frames that its windows add; the
//! noise of all others is what it would be without, so what lies before a cue does not change with its seed.

use std::ops::Range;

use super::passes::PassJob;
use super::{Job, RunError};

/// From a frame on, a prompt.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    /// The frame of the video.
    pub from: usize,
    /// What it shows from there on.
    pub prompt: String,
    /// Seed of the noise of what it shows; the run's noise where left out. It is for a video with the job's seed: of
    /// several videos each has one as far from it as its own seed is from the job's.
    pub seed: Option<u64>,
}

impl Job {
    /// Tells the windows what to show by the frame; the prompts of takes do not count then. The first cue is at frame
    /// 0, each later one after the one before, and in every pass some window begins with it.
    pub fn with_cues(mut self, cues: Vec<Cue>) -> Result<Self, RunError> {
        check_order(&cues, self.geometry.asked.frames)?;
        self.cues = cues;
        for pass in &self.passes {
            self.check_seen(pass)?;
        }
        Ok(self)
    }

    /// The first frame that each window of the last pass adds to the video; the first adds from frame 0 on.
    pub fn window_starts(&self) -> Vec<usize> {
        let starts = |pass| {
            (0..PassJob::windows(pass))
                .map(|window| self.first_frame(pass, window))
                .collect()
        };
        self.passes.last().map_or_else(Vec::new, starts)
    }

    /// Every cue must be what some window begins with.
    fn check_seen(&self, pass: &PassJob) -> Result<(), RunError> {
        let seen: Vec<usize> = (0..pass.windows())
            .map(|window| self.cue(pass, window))
            .collect();
        let unseen = (0..self.cues.len()).find(|cue| !seen.contains(cue));
        unseen.map_or(Ok(()), |cue| {
            let starts: Vec<String> = (0..pass.windows())
                .map(|window| self.first_frame(pass, window).to_string())
                .collect();
            Err(RunError::Cue {
                cue,
                why: "no window begins with this prompt, so it would not be seen".to_owned(),
                help: format!(
                    "windows begin to show something new at the frames {}; move it, or give shorter windows (`window`)",
                    starts.join(", ")
                ),
            })
        })
    }

    /// The first frame of the video that a window adds to it.
    fn first_frame(&self, pass: &PassJob, window: usize) -> usize {
        let latent = pass.windows.first_new(window);
        match latent {
            0 => 0,
            latent => ((latent - 1) * self.geometry.compression.frames() + 1) * pass.frame_step,
        }
    }

    /// Which cue a window begins with; 0 where there are none.
    fn cue(&self, pass: &PassJob, window: usize) -> usize {
        let frame = self.first_frame(pass, window);
        let begun = self.cues.iter().take_while(|cue| cue.from <= frame);
        begun.count().saturating_sub(1)
    }

    /// What a window of a take shows.
    pub(super) fn prompt_of(
        &self,
        prompt: &str,
        pass: &PassJob,
        window: usize,
    ) -> Result<String, RunError> {
        match self.cues.get(self.cue(pass, window)) {
            Some(cue) => Ok(cue.prompt.clone()),
            None if self.has_windows() => super::window::segment(prompt, window, pass.windows()),
            None => Ok(prompt.to_owned()),
        }
    }

    /// Latent frames of a pass whose noise has a seed of its own.
    pub(super) fn seeded(&self, pass: &PassJob) -> Vec<(Range<usize>, u64)> {
        let mut seeded = Vec::new();
        for (index, cue) in self.cues.iter().enumerate() {
            let Some(seed) = cue.seed else { continue };
            let mut windows = (0..pass.windows()).filter(|window| self.cue(pass, *window) == index);
            let first = windows.next();
            let last = windows.next_back().or(first);
            if let (Some(first), Some(last)) = (first, last) {
                let end = pass.windows.spans[last].end;
                seeded.push((pass.windows.first_new(first)..end, seed));
            }
        }
        seeded
    }
}

fn check_order(cues: &[Cue], frames: usize) -> Result<(), RunError> {
    let wrong = |cue: usize, why: String, help: &str| {
        Err(RunError::Cue {
            cue,
            why,
            help: help.to_owned(),
        })
    };
    for (index, cue) in cues.iter().enumerate() {
        let before = index.checked_sub(1).map(|index| cues[index].from);
        let from = cue.from;
        match before {
            None if from > 0 => {
                let help = "let the first prompt begin at frame 0";
                return wrong(index, format!("nothing is said before frame {from}"), help);
            }
            Some(before) if from <= before => {
                let why = format!("frame {from} is not after frame {before} of the prompt before");
                return wrong(index, why, "put the prompts in the order of time");
            }
            _ if from >= frames => {
                let why = format!("frame {from} is beyond the video, which has {frames} frames");
                return wrong(index, why, "let it begin earlier, or make the video longer");
            }
            _ => {}
        }
    }
    Ok(())
}
