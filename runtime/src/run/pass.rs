//! A denoising pass over every take, window after window.
//!
//! What a window makes is kept at once where the run has a state, and what is final of it is handed on at once where the
//! decoder works beside; nothing else holds it then. The decoder's noise comes after all that denoising draws; to have it
//! earlier, the draws of the pass are made twice: once on a copy, for denoising, and once to pass them over.

use std::sync::Arc;

use ltxc_bundle::{DecodeVideo, Denoise, Stage, StageOp};

use super::decode::Mix;
use super::denoise::draws;
use super::generate::{Run, missing};
use super::latents::{Latents, frames_in};
use super::passes::PassJob;
use super::queue::{self, Feed, Ready};
use super::start::{Start, Tokens};
use super::state::At;
use super::video::{Decoded, Sink};
use super::window::Made;
use super::{Component, RunError};
use crate::tensor::Tensor;

/// Where latents go as soon as they are final.
pub(super) struct Ahead<'a> {
    pub feed: &'a Feed<'a>,
    pub op: &'a DecodeVideo,
}

/// A pass at work.
pub(super) struct Pass<'a> {
    pub stage: &'a str,
    pub op: &'a Denoise,
    pub job: &'a PassJob,
    pub ahead: Option<Ahead<'a>>,
    /// Loaded when a window is not there yet.
    component: Option<Arc<Component>>,
    /// Whether the last window was denoised now.
    pub fresh: bool,
    /// What a preview shows of the first take so far.
    pub shown: Latents,
}

/// A take whose latents go to the decoder as they become final.
struct Handing<'a> {
    feed: &'a Feed<'a>,
    mix: Mix,
    /// Latent frames that went.
    sent: usize,
}

impl Handing<'_> {
    /// Hands on the next latents that are final.
    fn hand(&mut self, latents: Arc<Tensor>) -> Result<(), RunError> {
        let decoder_latents = self.mix.of(&latents, self.sent)?;
        self.sent += frames_in(&latents);
        self.feed.send(Ready::Latents(Decoded {
            latents,
            decoder_latents,
        }))
    }
}

impl<'r> Run<'r, '_> {
    /// Denoises every take and decodes it beside that, each window as soon as it is final.
    pub(super) fn denoise_and_decode(
        &mut self,
        [denoise, decode]: [&Stage; 2],
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let (StageOp::Denoise(op), StageOp::DecodeVideo(decodes)) = (&denoise.op, &decode.op)
        else {
            return Err(missing(&decode.name));
        };
        let denoising = self.begin_stage(denoise)?;
        let decoding = self.begin_stage(decode)?;
        let decoder = self.decoder(&decode.name, decodes);
        let loading = queue::decoding(&decoder, sink, |feed| {
            let ahead = Ahead { feed, op: decodes };
            self.denoise(&denoise.name, op, Some(ahead))?;
            self.end_stage(denoise, &denoising);
            Ok(())
        })?;
        self.loading = loading;
        self.end_stage(decode, &decoding);
        Ok(())
    }

    /// Denoises every take along the whole schedule of its pass, as many takes at once as the runner allows.
    pub(super) fn denoise(
        &mut self,
        stage: &str,
        op: &Denoise,
        ahead: Option<Ahead<'_>>,
    ) -> Result<(), RunError> {
        let job = self.job.pass(&op.start)?;
        let mut pass = Pass {
            stage,
            op,
            job,
            ahead,
            component: None,
            fresh: false,
            shown: Latents::default(),
        };
        let takes: Vec<usize> = (0..self.takes.len()).collect();
        for (group, takes) in takes.chunks(self.takes_at_once(op)?).enumerate() {
            self.denoise_together(&mut pass, takes, group)?;
        }
        drop(pass);
        self.passes_done += 1;
        self.steps_done += job.windows() * job.timesteps.len();
        self.preview_pass(stage, job)
    }

    /// Whether work is used again is decided for a whole call, so that a take equals what it is alone only alone.
    pub(super) fn takes_at_once(&self, op: &Denoise) -> Result<usize, RunError> {
        match self.job.pass(&op.start)?.step_cache > 0.0 {
            true => Ok(1),
            false => Ok(self.runner.together()),
        }
    }

    fn denoise_together(
        &mut self,
        pass: &mut Pass<'_>,
        takes: &[usize],
        group: usize,
    ) -> Result<(), RunError> {
        let (windows, channels) = (&pass.job.windows, self.job.channels);
        let mut starts = Vec::new();
        for take in takes {
            let start = self.takes[*take].starts.remove(&pass.op.start);
            starts.push(start.ok_or_else(|| missing(&pass.op.start))?);
        }
        let mut handing = match (&pass.ahead, takes, starts.as_slice()) {
            (Some(ahead), [take], [start]) => Some(self.hand_on(*take, ahead, pass.job, start)?),
            _ => None,
        };
        let new = |_: &usize| (Made::new(pass.job.latents, channels), Latents::default());
        let (mut made, mut latents): (Vec<_>, Vec<_>) = takes.iter().map(new).unzip();
        for (window, span) in windows.spans.iter().enumerate() {
            let of_window = starts.iter_mut().zip(&made);
            let of_window = of_window.map(|(start, made)| made.start(start, windows, span));
            let of_window = of_window.collect::<Result<_, _>>()?;
            let done = group * pass.job.windows() + window;
            let denoised = self.window(pass, takes, window, of_window, done)?;
            for (at, denoised) in denoised.into_iter().enumerate() {
                made[at].take(&denoised, windows, span)?;
                let Some(last) = made[at].leave(windows.final_after(window))? else {
                    continue;
                };
                let last = Arc::new(last);
                if takes[at] == 0 {
                    self.note_for_preview(pass, &last)?;
                }
                if handing.is_none() || self.is_read(pass) {
                    latents[at].push_to_wait(Arc::clone(&last));
                }
                handing
                    .as_mut()
                    .map_or(Ok(()), |handing| handing.hand(last))?;
            }
            self.preview_window(pass, takes, window)?;
        }
        for (take, latents) in takes.iter().zip(latents) {
            let take = &mut self.takes[*take];
            take.latents.insert(pass.stage.to_owned(), latents);
            take.own = None;
        }
        Ok(())
    }

    /// Whether something beside the decoder reads what a pass makes.
    fn is_read(&self, pass: &Pass<'_>) -> bool {
        self.reads_later(pass.stage) || (self.preview.is_some() && pass.job.windows() == 1)
    }

    /// The latents of a window, (N, C) for each take, without tokens beside the video: those that are kept, else those
    /// that denoising makes, which are kept then. `done` windows and groups were before.
    fn window(
        &mut self,
        pass: &mut Pass<'_>,
        takes: &[usize],
        window: usize,
        starts: Vec<Tokens>,
        done: usize,
    ) -> Result<Vec<Vec<f32>>, RunError> {
        let channels = self.job.channels;
        pass.fresh = false;
        if let Some(kept) = self.kept(takes, window, &starts)? {
            for (take, start) in takes.iter().zip(&starts) {
                let count = start.values.len() / channels;
                self.pass_over(*take, pass.job, count, start.mask.is_some())?;
            }
            return Ok(kept);
        }
        let component = match &pass.component {
            Some(component) => Arc::clone(component),
            None => self.load(pass.stage, &pass.op.component)?,
        };
        pass.component = Some(Arc::clone(&component));
        pass.fresh = true;
        let (fixed, latents) = self.fixed(pass, &component, takes, window, starts)?;
        let latents = self.denoise_window(pass, &fixed, latents, done);
        let mut latents = latents.map_err(|error| match pass.job.windows() {
            1 => error,
            windows => {
                error.during(|| format!("`{}`, window {} of {windows}", pass.stage, window + 1))
            }
        })?;
        for (take, latents) in takes.iter().zip(&mut latents) {
            latents.drain(..fixed.extra * channels);
            if let Some(state) = self.state {
                state.keep(self.at(*take, window), latents, channels)?;
            }
        }
        Ok(latents)
    }

    fn at(&self, take: usize, window: usize) -> At {
        At {
            pass: self.passes_done,
            take,
            window,
        }
    }

    /// A window that all takes have.
    fn kept(
        &self,
        takes: &[usize],
        window: usize,
        starts: &[Tokens],
    ) -> Result<Option<Vec<Vec<f32>>>, RunError> {
        let Some(state) = self.state else {
            return Ok(None);
        };
        let read = |(take, start): (&usize, &Tokens)| {
            let count = start.values.len() - start.extra * self.job.channels;
            Ok(state.read(self.at(*take, window), count)?)
        };
        takes.iter().zip(starts).map(read).collect()
    }

    /// Whether nothing is left to be denoised.
    pub(super) fn all_kept(&self) -> bool {
        let Some(state) = self.state else {
            return false;
        };
        let passes = self.job.passes.iter().enumerate();
        let windows = passes.flat_map(|(pass, job)| (0..job.windows()).map(move |w| (pass, w)));
        let mut all = windows.flat_map(|(pass, window)| {
            (0..self.takes.len()).map(move |take| At { pass, take, window })
        });
        all.all(|at| state.holds(at))
    }

    /// Begins a take whose latents go to the decoder as they become final.
    fn hand_on<'a>(
        &mut self,
        take: usize,
        ahead: &Ahead<'a>,
        pass: &PassJob,
        start: &Start,
    ) -> Result<Handing<'a>, RunError> {
        let mut own = None;
        if pass.draws() {
            own = self.takes[take].noise.copy();
            for span in &pass.windows.spans {
                let (mut count, conditioned) = start.count(span);
                if pass.windows.anchored(span) {
                    count += pass.anchors();
                }
                self.pass_over(take, pass, count, conditioned || span.start > 0)?;
            }
        }
        let (order, mix) = self.order(take, ahead.op, pass.latents)?;
        self.takes[take].own = own;
        ahead.feed.send(Ready::Take(order))?;
        Ok(Handing {
            feed: ahead.feed,
            mix,
            sent: 0,
        })
    }

    /// Passes over what a window of so many tokens draws; `given` says whether some of them are.
    fn pass_over(
        &mut self,
        take: usize,
        pass: &PassJob,
        tokens: usize,
        given: bool,
    ) -> Result<(), RunError> {
        for purpose in draws(pass, given) {
            self.draw(take, purpose, &[1, tokens, self.job.channels])?;
        }
        Ok(())
    }
}
