//! `--timeline`: what a long video shows from when on.

use std::fs;
use std::path::Path;

use ltxc_front::{Source, TimelineFile};
use ltxc_runtime::run::{Cue, Job, RunError};

use crate::failure::{Failure, Outcome};

/// Longest file.
const LONGEST: u64 = 4 << 20;

pub fn read(path: &Path) -> Outcome<TimelineFile> {
    let name = path.display().to_string();
    let refused = |why: &str| Failure::Input(anyhow::anyhow!("{name}: {why}"));
    let meta = fs::metadata(path).map_err(|e| refused(&e.to_string()))?;
    if !meta.is_file() || meta.len() > LONGEST {
        return Err(refused("it is no text file of prompts"));
    }
    let text = fs::read_to_string(path).map_err(|e| refused(&e.to_string()))?;
    Ok(TimelineFile::parse(Source::new(name.as_str(), text))?)
}

/// The prompts, as one text.
pub fn prompt(timeline: &TimelineFile) -> String {
    let prompts = timeline.entries.iter();
    let prompts: Vec<&str> = prompts.map(|entry| entry.prompt.as_str()).collect();
    prompts.join(" | ")
}

/// The job that follows a timeline.
pub fn follow(job: Job, timeline: &TimelineFile) -> Outcome<Job> {
    let fps = job.fps();
    let cue = |entry: &ltxc_front::TimelineEntry| Cue {
        from: usize::try_from(entry.from.frame(fps)).unwrap_or(usize::MAX),
        prompt: entry.prompt.clone(),
        seed: entry.seed,
    };
    let cues = timeline.entries.iter().map(cue).collect();
    job.with_cues(cues).map_err(|error| match error {
        RunError::Cue { cue, why, help } => timeline.mistake(cue, why).help(help).into(),
        other => Failure::Input(other.into()),
    })
}
