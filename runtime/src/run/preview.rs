//! A small early version of a video, while the whole is made.
//!
//! Where there are several passes it shows what the first of them made. Else it shows the windows that are finished, of
//! latents of which four each are averaged to one: after the first, the second, the fourth window and so on, so that all
//! previews together cost less than half of the decode. Its decoder gets noise of its own, and the video is not touched.

use std::sync::Arc;

use ltxc_bundle::StageOp;

use super::component::sizes;
use super::generate::{Run, missing};
use super::geometry::{Geometry, VideoSize};
use super::latents::Latents;
use super::memory::decodes;
use super::pass::Pass;
use super::passes::PassJob;
use super::ports::Given;
use super::{Job, RunError, Runner};
use crate::tensor::{DType, Tensor};

impl Runner {
    /// The video that a preview of a run shows at last, and its frames per second.
    ///
    /// # Errors
    ///
    /// Where the decoder does not take its size, or cannot be in memory beside the transformer.
    pub fn preview(&self, job: &Job) -> Result<(VideoSize, f64), RunError> {
        let refused = |found: String, help: &str| RunError::Setting {
            name: "preview",
            found,
            help: help.to_owned(),
        };
        let pass = job.passes.first().ok_or_else(|| missing("pass"))?;
        let preview = job.previewed(pass, pass.latents.frames);
        let (op, size) = (decodes(self)?, preview.geometry.latents);
        let shape = [1, job.channels, size.frames, size.height, size.width];
        let given = Given::from([("latents", (DType::F32, shape.as_slice()))]);
        sizes(&op.component, self.spec(&op.component)?, &given).map_err(|error| {
            let help = "the decoder does not take the size of a preview; compile it without --size";
            refused(error.to_string(), help)
        })?;
        let stages = self.manifest().plan.stages.iter();
        let mut denoises = stages.filter_map(|stage| match &stage.op {
            StageOp::Denoise(denoise) if denoise.start == pass.stage => Some(denoise),
            _ => None,
        });
        if let (1, 2.., Some(denoise)) = (job.passes.len(), pass.windows(), denoises.next()) {
            let beside = self.beside([&denoise.component, &op.component], None);
            beside.map_err(|why| refused("asked for".to_owned(), &why))?;
        }
        Ok((preview.geometry.asked, preview.fps))
    }
}

impl Job {
    /// The job of a preview of the first latent frames of a pass.
    fn previewed(&self, pass: &PassJob, frames: usize) -> Self {
        let (whole, halved) = (&self.geometry, self.passes.len() == 1);
        let latents = VideoSize {
            frames,
            height: if halved {
                pass.latents.height.div_ceil(2)
            } else {
                pass.latents.height
            },
            width: if halved {
                pass.latents.width.div_ceil(2)
            } else {
                pass.latents.width
            },
        };
        let padded = whole.compression.video_of(latents);
        let scaled = |pixels: usize, of_pass: usize, of_video: usize| match halved {
            true => pixels / 2,
            false => pixels * of_pass / of_video.max(1),
        };
        let (small, large) = (pass.latents, whole.latents);
        let rows = |pixels| scaled(pixels, small.height, large.height);
        let columns = |pixels| scaled(pixels, small.width, large.width);
        let geometry = Geometry {
            asked: VideoSize {
                frames: padded.frames.min(whole.asked.frames),
                height: rows(whole.asked.height).max(1),
                width: columns(whole.asked.width).max(1),
            },
            padded,
            latents,
            top: rows(whole.top),
            left: columns(whole.left),
            compression: whole.compression,
        };
        let mut preview = self.clone();
        (preview.geometry, preview.fps) = (geometry, pass.fps);
        preview
    }
}

impl Run<'_, '_> {
    /// Shows the finished windows of the first take, now and then.
    pub(super) fn preview_window(
        &mut self,
        pass: &Pass<'_>,
        takes: &[usize],
        window: usize,
    ) -> Result<(), RunError> {
        let (windows, number) = (pass.job.windows(), window + 1);
        let due = pass.fresh && number.is_power_of_two() && number < windows;
        if takes.first() != Some(&0) || !self.shows_windows(pass) || !due {
            return Ok(());
        }
        self.show(pass.job, pass.shown.clone())
    }

    /// Keeps latents of the first take as a preview shows them, a quarter of them.
    pub(super) fn note_for_preview(
        &self,
        pass: &mut Pass<'_>,
        latents: &Tensor,
    ) -> Result<(), RunError> {
        if self.shows_windows(pass) {
            pass.shown.push_to_wait(Arc::new(halved(latents)?));
        }
        Ok(())
    }

    fn shows_windows(&self, pass: &Pass<'_>) -> bool {
        self.preview.is_some() && self.job.passes.len() == 1 && pass.job.windows() > 1
    }

    /// Shows what the first of several passes made of the first take, or the only window.
    pub(super) fn preview_pass(&mut self, stage: &str, pass: &PassJob) -> Result<(), RunError> {
        let once = self.job.passes.len() > 1 || pass.windows() == 1;
        if self.preview.is_none() || self.passes_done > 1 || !once {
            return Ok(());
        }
        let latents = self.takes.first().and_then(|take| take.latents.get(stage));
        let latents = latents.ok_or_else(|| missing(stage))?;
        let latents = match self.job.passes.len() {
            1 => halved(&*latents.whole()?)?.into(),
            _ => latents.clone(),
        };
        self.show(pass, latents)
    }

    fn show(&mut self, pass: &PassJob, latents: Latents) -> Result<(), RunError> {
        let Some(sink) = self.preview.take() else {
            return Ok(());
        };
        let job = self.job.previewed(pass, latents.frames());
        let mut noise = job.noise();
        let shown = self
            .runner
            .decode_pieces(&job, latents, &mut noise, &mut |_| {}, sink);
        self.preview = Some(sink);
        let shown = shown.map_err(|error| error.during(|| "the preview".to_owned()));
        shown.map(drop)
    }
}

/// Half the rows and columns of (1, C, F, H, W): the means of two by two, of the last with itself where it is alone.
fn halved(latents: &Tensor) -> Result<Tensor, RunError> {
    let &[one, channels, frames, height, width] = latents.shape() else {
        return Err(missing("latents"));
    };
    let (rows, columns) = (height.div_ceil(2), width.div_ceil(2));
    let mut means = Vec::with_capacity(channels * frames * rows * columns);
    for plane in latents.values::<f32>()?.chunks_exact(height * width) {
        for place in 0..rows * columns {
            let (row, column) = (place / columns * 2, place % columns * 2);
            let at = |y: usize, x: usize| plane[y.min(height - 1) * width + x.min(width - 1)];
            let sum = at(row, column)
                + at(row, column + 1)
                + at(row + 1, column)
                + at(row + 1, column + 1);
            means.push(sum / 4.0);
        }
    }
    Ok(Tensor::new([one, channels, frames, rows, columns], means)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_means_and_a_last_row_stands_for_itself() {
        let latents = Tensor::new([1, 1, 1, 3, 2], vec![1.0f32, 2.0, 3.0, 6.0, 5.0, 7.0]);
        let small = halved(&latents.expect("latents")).expect("means");
        assert_eq!(small.shape(), [1, 1, 1, 2, 1]);
        assert_eq!(small.values::<f32>().expect("numbers"), [3.0, 6.0]);
    }
}
