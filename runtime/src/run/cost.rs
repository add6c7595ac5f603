//! What the stages of a run cost, roughly, so that a share of it can be told before all of them were seen.

use ltxc_bundle::StageOp;

use super::passes::PassJob;
use super::{Job, RunError, Runner, plan};

/// How often a convolutional encoder or decoder uses each of its weights for a latent; measured on those of 0.9.8.
const USES: f64 = 20.0;

/// What a stage costs.
#[derive(Clone, Debug, PartialEq)]
pub struct StageCost {
    /// The stage.
    pub stage: String,
    /// Bytes of weights that it loads.
    pub bytes: f64,
    /// Multiplications, roughly.
    pub work: f64,
}

impl Runner {
    /// What each stage costs where a run makes so many videos, in order.
    pub fn costs(&self, job: &Job, videos: usize) -> Result<Vec<StageCost>, RunError> {
        let stages = self.manifest().plan.stages.iter();
        let cost = |stage: &ltxc_bundle::Stage| {
            let component = self.described(plan::component(&stage.op))?;
            let weights = component.parameters as f64;
            let uses = uses(job, &stage.name, &stage.op)?;
            Ok(StageCost {
                stage: stage.name.clone(),
                bytes: if uses > 0.0 {
                    component.weight_bytes as f64
                } else {
                    0.0
                },
                work: weights * uses * videos as f64,
            })
        };
        stages.map(cost).collect()
    }
}

/// How often a stage uses each weight for a video.
fn uses(job: &Job, stage: &str, op: &StageOp) -> Result<f64, RunError> {
    Ok(match op {
        StageOp::EncodeText(_) => (job.told(&job.prompt).len() * job.max_tokens) as f64,
        StageOp::PrepareLatents(_) => {
            let sizes = job.encoded_sizes(job.pass(stage)?)?.into_iter();
            let latents = sizes.map(|size| job.geometry.compression.latents_of(size).count());
            USES * latents.sum::<usize>() as f64
        }
        StageOp::Denoise(op) => of_steps(job, job.pass(&op.start)?)?,
        StageOp::UpscaleLatents(_) => job.geometry.latents.count() as f64,
        StageOp::DecodeVideo(_) => {
            let last = job
                .passes
                .last()
                .map_or(job.geometry.latents, PassJob::latents);
            USES * last.count() as f64
        }
    })
}

/// Tokens of every row of every step of every window.
fn of_steps(job: &Job, pass: &PassJob) -> Result<f64, RunError> {
    let tokens = pass.window().count() + job.extra_tokens(pass)?;
    let rows: usize = pass.timesteps.iter().map(|t| pass.rows_at(*t)).sum();
    Ok((tokens * rows * pass.windows()) as f64)
}
