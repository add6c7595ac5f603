//! Finished videos to files.

use std::collections::BTreeMap;
use std::path::Path;

use ltxc_runtime::media::{self, MediaError, VideoSpec};
use ltxc_runtime::run::{Generated, Job};
use ltxc_runtime::tensor::file;

use super::takes::Planned;
use crate::failure::{Failure, Outcome};

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

/// Writes a video, and its latents where they are wanted.
pub fn write(take: &Planned, generated: &Generated) -> anyhow::Result<()> {
    if let Some(path) = &take.latents {
        let latents = BTreeMap::from([("latents".to_owned(), generated.latents.clone())]);
        file::write(path, &latents)?;
    }
    Ok(write_video(&take.output, generated)?)
}

fn write_video(path: &Path, generated: &Generated) -> Result<(), MediaError> {
    let pattern = path.to_string_lossy().contains('%');
    if path.extension().is_some_and(|e| e == "png") && !pattern && generated.frames > 1 {
        return write_strip(path, generated);
    }
    let spec = VideoSpec {
        width: generated.width as u32,
        height: generated.height as u32,
        fps: generated.fps,
    };
    let mut writer = media::create(path, spec)?;
    for frame in 0..generated.frames {
        writer.write(&generated.rgb8(frame))?;
    }
    writer.finish()
}

/// A single PNG of a video shows frames from first to last side by side.
fn write_strip(path: &Path, generated: &Generated) -> Result<(), MediaError> {
    let shown = generated.frames.min(STRIP);
    let at = |i: usize| i * (generated.frames - 1) / (shown - 1);
    let frames: Vec<Vec<u8>> = (0..shown).map(|i| generated.rgb8(at(i))).collect();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let (rgb, width, height) = media::strip(&frames, generated.width, generated.height, 2);
    media::write_png(path, &rgb, width as u32, height as u32)
}
