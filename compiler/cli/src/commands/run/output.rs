//! Videos to files, frame by frame.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ltxc_runtime::media::{self, FrameWriter, MediaError, VideoSpec};
use ltxc_runtime::run::{Decoded, Frames, Job, RunError, Sink, Stop};
use ltxc_runtime::tensor::file::Pieces;

use super::left::Left;
use super::takes::Planned;
use crate::failure::{Failure, Outcome};

/// The axis of frames in latents, (1, C, F, H, W).
const FRAMES: usize = 2;
/// Most frames of a strip.
const STRIP: usize = 9;

/// Tries the named files before hours of work go into them; nothing is left behind.
pub fn check(planned: &[Planned], job: &Job) -> Outcome {
    let asked = job.geometry().asked;
    let spec = VideoSpec {
        width: asked.width as u32,
        height: asked.height as u32,
        fps: job.fps(),
    };
    for take in planned {
        media::create(&take.output, spec).map_err(|e| Failure::Input(e.into()))?;
        let Some(path) = &take.latents else { continue };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        tempfile::tempfile_in(folder.unwrap_or(Path::new("."))).map_err(|e| {
            Failure::Input(anyhow::anyhow!("{} cannot be written: {e}", path.display()))
        })?;
    }
    Ok(())
}

/// The files of a run, written while frames come.
pub struct Files<'a> {
    planned: &'a [Planned],
    /// Frames of a video.
    frames: usize,
    open: Option<File>,
    /// That of `--save-latents`.
    latents: Option<Pieces>,
    left: Left,
    /// When the first frames came.
    pub first: Option<Instant>,
}

/// A file that frames go into.
enum File {
    Video(Box<dyn FrameWriter + Send>),
    Strip(Strip),
}

impl<'a> Files<'a> {
    pub fn new(planned: &'a [Planned], job: &Job, left: Left) -> Self {
        Self {
            planned,
            frames: job.geometry().asked.frames,
            open: None,
            latents: None,
            left,
            first: None,
        }
    }

    /// Why a run failed, and where the frames are that it made.
    pub fn failed(&self, error: RunError) -> Failure {
        let kept = self.left.frames().map(|kept| format!("{error}; {kept}"));
        let error = anyhow::Error::new(error);
        Failure::Input(match kept {
            Some(kept) => error.context(kept),
            None => error,
        })
    }
}

impl Sink for Files<'_> {
    fn latents(&mut self, take: usize, decoded: Decoded, whole: usize) -> Result<(), Stop> {
        let Some(path) = &self.planned[take].latents else {
            return Ok(());
        };
        let latents = decoded.latents;
        let file = match self.latents.take() {
            Some(file) => file,
            None => {
                let mut shape = latents.shape().to_vec();
                shape[FRAMES] = whole;
                Pieces::create(path, "latents", latents.dtype(), &shape, FRAMES)?
            }
        };
        self.latents.insert(file).append(&latents)?;
        Ok(())
    }

    fn frames(&mut self, take: usize, frames: Frames) -> Result<(), Stop> {
        self.first.get_or_insert_with(Instant::now);
        let file = match self.open.take() {
            Some(file) => file,
            None => File::create(&self.planned[take].output, &frames, self.frames)?,
        };
        let file = self.open.insert(file);
        for frame in 0..frames.frames {
            file.write(frames.rgb8(frame))?;
        }
        self.left.set_part(file.part());
        Ok(())
    }

    fn finished(&mut self, take: usize) -> Result<(), Stop> {
        if let Some(latents) = self.latents.take() {
            latents.finish()?;
        }
        if let Some(file) = self.open.take() {
            file.finish(&self.planned[take].output)?;
        }
        self.left.set_part(None);
        Ok(())
    }
}

impl File {
    fn create(path: &Path, like: &Frames, frames: usize) -> Result<Self, MediaError> {
        let pattern = path.to_string_lossy().contains('%');
        if path.extension().is_some_and(|e| e == "png") && !pattern && frames > 1 {
            return Ok(Self::Strip(Strip::new(like, frames)));
        }
        let spec = VideoSpec {
            width: like.width as u32,
            height: like.height as u32,
            fps: like.fps,
        };
        Ok(Self::Video(media::create(path, spec)?))
    }

    fn write(&mut self, rgb: Vec<u8>) -> Result<(), MediaError> {
        match self {
            Self::Video(writer) => writer.write(&rgb),
            Self::Strip(strip) => {
                strip.write(rgb);
                Ok(())
            }
        }
    }

    /// What stays of it if it is not finished.
    fn part(&self) -> Option<PathBuf> {
        match self {
            Self::Video(writer) => writer.part().map(Path::to_path_buf),
            Self::Strip(_) => None,
        }
    }

    fn finish(self, path: &Path) -> Result<(), MediaError> {
        match self {
            Self::Video(writer) => writer.finish(),
            Self::Strip(strip) => strip.finish(path),
        }
    }
}

/// Frames from first to last, side by side in one picture.
struct Strip {
    width: usize,
    height: usize,
    /// Which frames are shown, and those that came.
    shown: Vec<usize>,
    come: usize,
    frames: Vec<Vec<u8>>,
}

impl Strip {
    fn new(like: &Frames, frames: usize) -> Self {
        let shown = frames.min(STRIP);
        Self {
            width: like.width,
            height: like.height,
            shown: (0..shown).map(|i| i * (frames - 1) / (shown - 1)).collect(),
            come: 0,
            frames: Vec::new(),
        }
    }

    fn write(&mut self, rgb: Vec<u8>) {
        if self.shown.contains(&self.come) {
            self.frames.push(rgb);
        }
        self.come += 1;
    }

    fn finish(self, path: &Path) -> Result<(), MediaError> {
        let frames: Vec<&[u8]> = self.frames.iter().map(Vec::as_slice).collect();
        let (rgb, width, height) = media::strip(&frames, self.width, self.height, 2);
        media::write_png(path, &rgb, width as u32, height as u32)
    }
}
