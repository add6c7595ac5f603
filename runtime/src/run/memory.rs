//! What is in memory at a time: which components stay loaded between stages, and whether a video is decoded beside
//! denoising, for which both components have to be there.
//!
//! The sizes are those of weights, as the manifest says them; what a component works with comes on top, but for one that is
//! computed in pieces, whose plan has all it needs.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_bundle::{DecodeVideo, Denoise, Stage, StageOp};

use super::generate::missing;
use super::{Job, RunError, Runner};

/// When a video is decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// What is final while the rest is denoised.
    Beside,
    /// After all is denoised; with the reason, where it might have been otherwise.
    After(Option<String>),
}

impl Runner {
    /// When the last stage of a run of so many videos decodes.
    pub fn order(&self, job: &Job, takes: usize) -> Result<Order, RunError> {
        let after = |why: &str| Ok(Order::After(Some(why.to_owned())));
        let Some((denoise, decode)) = self.last_two() else {
            return after("another stage lies between");
        };
        let pass = job.pass(&denoise.start)?;
        if self.sequential() || pass.windows() * takes < 2 {
            return Ok(Order::After(None));
        }
        if pass.step_cache == 0.0 && self.together().min(takes) > 1 {
            return after("several videos are denoised in one call");
        }
        let pieces = self.pieces_of(&decode.component, job, pass.latents)?;
        if takes == 1 && pieces.is_none() {
            return after("all of it is decoded at once");
        }
        let decoding = pieces.map(|cuts| cuts.bytes);
        match self.beside([&denoise.component, &decode.component], decoding) {
            Ok(()) => Ok(Order::Beside),
            Err(why) => Ok(Order::After(Some(why))),
        }
    }

    /// The stage that decodes the video, if the one before it denoises what is decoded.
    pub(super) fn last_two(&self) -> Option<(&Denoise, &DecodeVideo)> {
        let plan = &self.manifest().plan;
        let at = plan
            .stages
            .iter()
            .position(|stage| stage.name == plan.video)?;
        let before = plan.stages.get(at.checked_sub(1)?)?;
        match (&before.op, &plan.stages[at].op) {
            (StageOp::Denoise(denoise), StageOp::DecodeVideo(decode))
                if decode.latents == before.name =>
            {
                Some((denoise, decode))
            }
            _ => None,
        }
    }

    /// Whether two components may be in memory at a time, or why not; `second` are the bytes that the second one needs,
    /// those of its weights where they are not known.
    pub(super) fn beside(&self, components: [&str; 2], second: Option<u64>) -> Result<(), String> {
        let mut weights = components.map(|name| self.weights(name));
        weights[1] = second.map_or(weights[1], |bytes| bytes.max(weights[1]));
        match self.memory() {
            Some(most) if weights.iter().sum::<u64>() > most => Err(format!(
                "{} ({}) and {} ({}) need more than {}",
                components[0],
                gigabytes(weights[0]),
                components[1],
                gigabytes(weights[1]),
                gigabytes(most)
            )),
            None if !self.on_host() => Err(format!(
                "{} and {} would be on the device together, which needs a --memory-budget",
                components[0], components[1]
            )),
            _ => Ok(()),
        }
    }

    /// Bytes of a component's weights when it is loaded: a processor computes in 32 bits what is stored in 16.
    pub fn weights(&self, component: &str) -> u64 {
        let described = self.manifest().components.get(component);
        let by_type = described.map_or_else(BTreeMap::new, |found| found.weight_dtypes.clone());
        let loaded = |(dtype, bytes): (&String, &u64)| match dtype.as_str() {
            "f16" | "bf16" if self.on_host() => 2 * bytes,
            _ => *bytes,
        };
        by_type.iter().map(loaded).sum()
    }

    /// Whether components compute on the processor, in the memory of the host.
    pub(super) fn on_host(&self) -> bool {
        self.manifest().target.provider == "cpu"
    }

    /// Keeps what the coming stages need next, as far as the memory reaches, and drops the rest.
    pub(super) fn keep_for(&self, job: &Job, coming: &[Stage]) {
        if let Some(most) = self.memory() {
            self.keep_only(self.kept_for(job, coming, most));
        }
    }

    fn kept_for(&self, job: &Job, coming: &[Stage], most: u64) -> BTreeSet<String> {
        let (mut kept, mut left) = (BTreeSet::new(), most);
        for name in coming.iter().flat_map(|stage| needed(stage, job)) {
            let weights = self.weights(name);
            if kept.contains(name) {
                continue;
            }
            if weights > left {
                break;
            }
            left -= weights;
            kept.insert(name.to_owned());
        }
        kept
    }

    /// What a memory budget means for a run, in words: what stays loaded for a later stage, and what alone is too large.
    pub fn memory_words(&self, job: &Job) -> Vec<String> {
        let Some(most) = self.memory() else {
            return Vec::new();
        };
        let stages = &self.manifest().plan.stages;
        let uses = |name: &str| {
            let at = stages.iter().enumerate();
            let at = at.filter(|(_, stage)| needed(stage, job).contains(&name));
            at.map(|(at, _)| at).collect::<Vec<_>>()
        };
        let mut words = Vec::new();
        let names: BTreeSet<&str> = stages.iter().flat_map(|stage| needed(stage, job)).collect();
        for name in names {
            let (weights, uses) = (gigabytes(self.weights(name)), uses(name));
            if self.weights(name) > most {
                words.push(format!("{name} alone has {weights} of weights"));
            }
            let again = uses.windows(2).filter(|pair| pair[1] > pair[0] + 1);
            for pair in again {
                let mut between = pair[0] + 1..pair[1];
                let stays =
                    between.all(|at| self.kept_for(job, &stages[at..], most).contains(name));
                let verb = if stays {
                    "stays loaded"
                } else {
                    "is loaded again"
                };
                words.push(format!(
                    "{name} ({weights}) {verb} for `{}`",
                    stages[pair[1]].name
                ));
            }
        }
        words
    }
}

/// The components that a stage loads.
fn needed<'s>(stage: &'s Stage, job: &Job) -> Vec<&'s str> {
    match &stage.op {
        StageOp::EncodeText(op) => vec![&op.component],
        StageOp::PrepareLatents(op) => match job.pass(&stage.name) {
            Ok(pass) if job.encodes(pass) => vec![&op.component],
            _ => Vec::new(),
        },
        StageOp::Denoise(op) => vec![&op.component],
        StageOp::UpscaleLatents(op) => vec![&op.statistics, &op.component],
        StageOp::DecodeVideo(op) => vec![&op.component],
    }
}

/// `3.1 GB`, or `41.0 MB` where it is less; a GB is 10^9.
fn gigabytes(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// The stage that decodes a plan's video.
pub(super) fn decodes(runner: &Runner) -> Result<&DecodeVideo, RunError> {
    let plan = &runner.manifest().plan;
    let stage = plan.stages.iter().find(|stage| stage.name == plan.video);
    match stage.map(|stage| &stage.op) {
        Some(StageOp::DecodeVideo(op)) => Ok(op),
        _ => Err(missing(&plan.video)),
    }
}
