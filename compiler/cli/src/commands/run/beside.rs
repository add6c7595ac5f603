//! What a run does besides its videos: it keeps its work, shows a preview, and decodes while it denoises.

use std::path::{Path, PathBuf};

use ltxc_runtime::media::{self, FrameWriter, MediaError, VideoSpec};
use ltxc_runtime::run::{Frames, Job, Order, Runner, Sink, State, Stop};

use super::takes::Planned;
use crate::args::{ProjectArgs, RunArgs};
use crate::failure::{Failure, Outcome};
use crate::output::note;

fn input(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::Input(anyhow::Error::new(error))
}

/// The options that matter to a compile: without a size the budget is the run's alone.
pub fn compiled_with(args: &ProjectArgs) -> ProjectArgs {
    ProjectArgs {
        memory_budget: args.memory_budget.filter(|_| args.size.is_some()),
        ..args.clone()
    }
}

/// How and when videos are decoded, if that is worth a word, and what a memory budget means.
pub fn decoding(runner: &Runner, job: &Job, videos: usize) -> Outcome<String> {
    let pieces = super::pieces(runner, job)?;
    let when = match runner.order(job, videos).map_err(input)? {
        Order::Beside => "while the rest is denoised".to_owned(),
        Order::After(Some(why)) => format!("after denoising ({why})"),
        Order::After(None) => String::new(),
    };
    let mut said = match (pieces.as_str(), when.as_str()) {
        (_, "") => pieces,
        ("", when) => format!(", decoded {when}"),
        (pieces, when) => format!("{pieces} {when}"),
    };
    for words in runner.memory_words(job) {
        said += ", ";
        said += &words;
    }
    Ok(said)
}

/// The state of `--resume`, and how far it is.
pub fn state(
    args: &RunArgs,
    runner: &Runner,
    job: &Job,
    planned: &[Planned],
) -> Outcome<Option<State>> {
    let Some(folder) = &args.resume else {
        return Ok(None);
    };
    let takes: Vec<_> = planned
        .iter()
        .map(|take| (take.prompt.as_str(), take.seed))
        .collect();
    let state = State::open(folder, runner.bundle(), job, &takes).map_err(input)?;
    let windows = State::windows_in(folder).map_err(input)?;
    if windows > 0 {
        let all: usize = job.passes().iter().map(|pass| pass.windows()).sum();
        let all = all * planned.len();
        note!(
            "going on with {windows} of {all} windows of {}",
            folder.display()
        );
    }
    Ok(Some(state))
}

/// The file of `--preview`, written anew whenever there is more to show. That it cannot be written ends no run.
pub struct Preview {
    path: PathBuf,
    /// Columns and rows.
    size: [usize; 2],
    /// Frames of the whole video.
    whole: usize,
    open: Option<Box<dyn FrameWriter + Send>>,
    frames: usize,
    /// Whether it was given up.
    over: bool,
}

/// Tries the file before hours of work go into the run.
pub fn preview(args: &RunArgs, runner: &Runner, job: &Job) -> Outcome<Option<Preview>> {
    let Some(path) = &args.preview else {
        return Ok(None);
    };
    let (size, fps) = runner.preview(job).map_err(input)?;
    let spec = VideoSpec {
        width: size.width as u32,
        height: size.height as u32,
        fps,
    };
    if is_one_picture(path) {
        let why = "--preview makes videos: name a .mp4, a .gif or FOLDER/%05d.png";
        return Err(Failure::Misuse(why.to_owned()));
    }
    media::create(path, spec).map_err(input)?;
    Ok(Some(Preview {
        path: path.clone(),
        size: [size.width, size.height],
        whole: job.geometry().asked.frames,
        open: None,
        frames: 0,
        over: false,
    }))
}

fn is_one_picture(path: &Path) -> bool {
    let png = path
        .extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("png"));
    png && !path.to_string_lossy().contains('%')
}

impl Preview {
    fn write(&mut self, frames: &Frames) -> Result<(), MediaError> {
        let writer = match &mut self.open {
            Some(writer) => writer,
            None => self.open.insert(media::create(
                &self.path,
                VideoSpec {
                    width: frames.width as u32,
                    height: frames.height as u32,
                    fps: frames.fps,
                },
            )?),
        };
        self.frames += frames.frames;
        (0..frames.frames).try_for_each(|frame| writer.write(&frames.rgb8(frame)))
    }

    fn give_up(&mut self, done: Result<(), MediaError>) {
        if let Err(error) = done {
            note!("there is no preview: {error}");
            (self.open, self.over) = (None, true);
        }
    }
}

impl Sink for Preview {
    fn frames(&mut self, _: usize, frames: Frames) -> Result<(), Stop> {
        if !self.over {
            let done = self.write(&frames);
            self.give_up(done);
        }
        Ok(())
    }

    fn finished(&mut self, _: usize) -> Result<(), Stop> {
        let frames = std::mem::take(&mut self.frames);
        if let Some(writer) = self.open.take() {
            let done = writer.finish();
            if done.is_ok() {
                let (path, whole, [width, height]) = (self.path.display(), self.whole, self.size);
                note!("preview of {frames} of {whole} frames, {width}x{height}, in {path}");
            }
            self.give_up(done);
        }
        Ok(())
    }
}
