//! A denoising pass over every take, window after window.
//!
//! What a window makes is kept at once where the run has a state, and what is final of it is handed on at once where the
//! decoder works beside. The decoder's noise comes after all that denoising draws; to have it earlier, the draws of the pass
//! are made twice: once on a copy, for denoising, and once to pass them over.

use std::sync::Arc;

use ltxc_bundle::{DecodeVideo, Denoise, Stage, StageOp};

use super::decode::Mix;
use super::denoise::draws;
use super::generate::{Run, missing};
use super::passes::PassJob;
use super::prepare::Start;
use super::queue::{self, Feed, Pair, Ready};
use super::state::At;
use super::video::Sink;
use super::window::Made;
use super::{Component, RunError};

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
}

/// A take whose latents go to the decoder as they become final.
struct Handing<'a> {
    feed: &'a Feed<'a>,
    mix: Mix,
    /// Latent frames that went.
    sent: usize,
}

impl Handing<'_> {
    /// Hands on what is final, all before the latent frame `until`.
    fn hand(&mut self, made: &Made, until: usize) -> Result<(), RunError> {
        if until == self.sent {
            return Ok(());
        }
        let denoised = made.latents(self.sent..until)?;
        let mixed = self.mix.of(&denoised, self.sent)?;
        self.sent = until;
        self.feed.send(Ready::Latents(Pair { denoised, mixed }))
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
        let new = || Made::new(pass.job.latents, channels);
        let mut made: Vec<Made> = takes.iter().map(|_| new()).collect();
        for (window, span) in windows.spans.iter().enumerate() {
            let of_window = starts.iter().zip(&made);
            let of_window = of_window.map(|(start, made)| made.start(start, windows, span));
            let of_window = of_window.collect::<Result<_, _>>()?;
            let done = group * pass.job.windows() + window;
            let latents = self.window(pass, takes, window, of_window, done)?;
            for (made, latents) in made.iter_mut().zip(latents) {
                made.take(&latents, windows, span)?;
            }
            if let (Some(handing), [made]) = (&mut handing, made.as_slice()) {
                handing.hand(made, windows.final_after(window))?;
            }
            self.preview_window(pass, takes, window, &made)?;
        }
        for (take, made) in takes.iter().zip(made) {
            let latents = made.latents(0..pass.job.latents.frames)?;
            let take = &mut self.takes[*take];
            take.latents.insert(pass.stage.to_owned(), latents);
            take.own = None;
        }
        Ok(())
    }

    /// The latents of a window, (N, C) for each take, without tokens beside the video: those that are kept, else those
    /// that denoising makes, which are kept then. `done` windows and groups were before.
    fn window(
        &mut self,
        pass: &mut Pass<'_>,
        takes: &[usize],
        window: usize,
        starts: Vec<Start>,
        done: usize,
    ) -> Result<Vec<Vec<f32>>, RunError> {
        let channels = self.job.channels;
        pass.fresh = false;
        if let Some(kept) = self.kept(takes, window, &starts)? {
            for (take, start) in takes.iter().zip(&starts) {
                let tokens = start.tokens.len() / channels;
                self.pass_over(*take, pass.job, tokens, start.mask.is_some())?;
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
        starts: &[Start],
    ) -> Result<Option<Vec<Vec<f32>>>, RunError> {
        let Some(state) = self.state else {
            return Ok(None);
        };
        let read = |(take, start): (&usize, &Start)| {
            let count = start.tokens.len() - start.extra * self.job.channels;
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
            let nothing = Made::new(pass.latents, self.job.channels);
            for (window, span) in pass.windows.spans.iter().enumerate() {
                let of_window = nothing.start(start, &pass.windows, span)?;
                let tokens = of_window.tokens.len() / self.job.channels;
                let given = of_window.mask.is_some() || window > 0;
                self.pass_over(take, pass, tokens, given)?;
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
