//! What a run tells while it works, and how long its stages took.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Hears the news of a run: one piece at a time, from whichever thread has some.
pub type Listener<'a> = dyn FnMut(Event<'_>) + Send + 'a;

/// Passes news on, from any thread.
pub(super) type News<'a> = dyn Fn(Event<'_>) + Sync + 'a;

/// News of a run, enough to draw a bar with the time that is left. As JSON, times are in `seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event<'a> {
    /// A stage begins.
    StageStarted {
        /// The stage.
        stage: &'a str,
        /// Its component, which is loaded next.
        component: &'a str,
        /// Denoising steps it will take; none for the other stages.
        steps: usize,
    },
    /// The stage's component is ready.
    ComponentLoaded {
        /// The stage.
        stage: &'a str,
        /// The component.
        component: &'a str,
        /// Time it took; next to none where it was kept.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// A denoising step is done.
    Step {
        /// The stage.
        stage: &'a str,
        /// The step, from 1.
        step: usize,
        /// All steps.
        steps: usize,
        /// The window it belongs to, from 1.
        window: usize,
        /// All windows of a video.
        windows: usize,
        /// The noise level that it started from.
        sigma: f32,
        /// Time it took.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        elapsed: Duration,
    },
    /// Pixel frames are there.
    FramesDecoded {
        /// The stage.
        stage: &'a str,
        /// Frames so far.
        frames: usize,
        /// All frames.
        total: usize,
    },
    /// A stage is done.
    StageFinished {
        /// The stage.
        stage: &'a str,
        /// Time it took, loading included.
        #[serde(rename = "seconds", serialize_with = "seconds")]
        elapsed: Duration,
    },
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

/// How long a stage took. Stages that ran beside one another took the same time at once.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StageTime {
    /// The stage.
    pub stage: String,
    /// Its component.
    pub component: String,
    /// Denoising steps; none for the other stages.
    pub steps: usize,
    /// Steps that used work of an earlier one again.
    pub reused: usize,
    /// Seconds until the component was ready.
    pub load_seconds: f64,
    /// Seconds of work after that.
    pub run_seconds: f64,
}
