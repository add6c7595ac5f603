//! How much of a run is done, and how long the rest takes.
//!
//! Every stage has two parts, loading and work, each with a cost that is known before the run. What
//! was seen of a part tells its own rate, what was seen of others the rate of those that have not
//! begun; so the first step tells something of the decoding. Stages may run beside one another: the
//! time left is the work left by the pace of the whole run.

use std::time::Duration;

use ltxc_runtime::run::{Event, StageCost};

/// Seconds for a byte and for a multiplication, while nothing was measured.
const LOADING: f64 = 1e-9;
const WORKING: f64 = 1e-10;

/// The time that is left is told once parts of this share of all work were seen; small ones say little.
const TELLS: f64 = 0.1;

/// A part of a stage.
#[derive(Clone, Copy, Debug, Default)]
struct Part {
    cost: f64,
    /// The share that is done, 0 to 1, and how much of that took `seconds` of this run; a run that goes on after a
    /// break did not see the rest.
    done: f64,
    seen: f64,
    seconds: f64,
}

impl Part {
    /// A share is done now, of which `seen` took so long.
    fn reach(&mut self, done: f64, seen: f64, seconds: f64) {
        self.done = done;
        self.seen += seen;
        self.seconds += seconds;
    }
}

/// A stage at work.
#[derive(Clone, Debug)]
struct Stage {
    name: String,
    loading: Part,
    work: Part,
    /// When it was last heard of.
    heard: Duration,
}

/// A run at work.
#[derive(Clone, Debug, Default)]
pub struct Left {
    stages: Vec<Stage>,
}

impl Left {
    /// A run of these stages that has not begun.
    pub fn new(costs: Vec<StageCost>) -> Self {
        let part = |cost| Part {
            cost,
            ..Part::default()
        };
        let stage = |cost: StageCost| Stage {
            name: cost.stage,
            loading: part(cost.bytes),
            work: part(cost.work),
            heard: Duration::ZERO,
        };
        Self {
            stages: costs.into_iter().map(stage).collect(),
        }
    }

    /// Takes what happened when the run was `now` old.
    pub fn hear(&mut self, event: &Event<'_>, now: Duration) {
        let name = match event {
            Event::StageStarted { stage, .. }
            | Event::ComponentLoaded { stage, .. }
            | Event::Step { stage, .. }
            | Event::FramesDecoded { stage, .. }
            | Event::StageFinished { stage, .. } => *stage,
        };
        let Some(stage) = self.stages.iter_mut().find(|known| known.name == name) else {
            return;
        };
        let passed = now.saturating_sub(stage.heard).as_secs_f64();
        match event {
            Event::StageStarted { .. } => {}
            Event::ComponentLoaded { elapsed, .. } => {
                let first = 1.0 - stage.loading.seen;
                stage.loading.reach(1.0, first, elapsed.as_secs_f64());
            }
            Event::Step {
                step,
                steps,
                elapsed,
                ..
            } => {
                let one = 1.0 / (*steps).max(1) as f64;
                let done = *step as f64 * one;
                stage.work.reach(done, one, elapsed.as_secs_f64());
            }
            Event::FramesDecoded { frames, total, .. } => {
                let done = *frames as f64 / (*total).max(1) as f64;
                let more = done - stage.work.done;
                stage.work.reach(done, more, passed);
            }
            Event::StageFinished { elapsed, .. } => {
                let before = stage.loading.seconds + stage.work.seconds;
                let rest = (elapsed.as_secs_f64() - before).max(0.0);
                let unseen = 1.0 - stage.work.done;
                stage.work.reach(1.0, unseen, rest);
                stage.loading.done = 1.0;
            }
        }
        stage.heard = now;
    }

    /// The share of the run that is done, 0 to 1, and the time that is left of one `now` old, as soon as enough was seen.
    pub fn tell(&self, now: Duration) -> (f64, Option<Duration>) {
        let parts = |of: fn(&Stage) -> Part| self.stages.iter().map(of);
        let loading = left(parts(|stage| stage.loading), LOADING);
        let work = left(parts(|stage| stage.work), WORKING);
        let (spent, left) = (loading.0 + work.0, loading.1 + work.1);
        let share = if left > 0.0 {
            spent / (spent + left)
        } else {
            1.0
        };
        let pace = if spent > 0.0 {
            now.as_secs_f64() / spent
        } else {
            1.0
        };
        let seconds = Duration::try_from_secs_f64(left * pace).ok();
        (share, seconds.filter(|_| self.tells()))
    }

    fn tells(&self) -> bool {
        let cost = |seen: f64| {
            let stages = self.stages.iter().filter(|stage| stage.work.done >= seen);
            stages.map(|stage| stage.work.cost).sum::<f64>()
        };
        cost(f64::MIN_POSITIVE) >= TELLS * cost(0.0)
    }
}

/// Seconds that parts took, and what their rests will take.
fn left(parts: impl Iterator<Item = Part> + Clone, usual: f64) -> (f64, f64) {
    let seen: f64 = parts.clone().map(|part| part.cost * part.seen).sum();
    let spent: f64 = parts.clone().map(|part| part.seconds).sum();
    let rate = if seen > 0.0 { spent / seen } else { usual };
    let rest = |part: Part| match part.seen > 0.0 && part.seconds > 0.0 {
        true => part.seconds / part.seen * (1.0 - part.done),
        false => part.cost * rate * (1.0 - part.done),
    };
    (spent, parts.map(rest).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn step(step: usize, took: f64) -> Event<'static> {
        Event::Step {
            stage: "denoise",
            step,
            steps: 4,
            window: 1,
            windows: 1,
            sigma: 1.0,
            elapsed: seconds(took),
        }
    }

    fn run() -> Left {
        let cost = |stage: &str, work| StageCost {
            stage: stage.to_owned(),
            bytes: 0.0,
            work,
        };
        Left::new(vec![cost("denoise", 400.0), cost("decode", 100.0)])
    }

    #[test]
    fn the_first_step_tells_how_long_everything_takes() {
        let mut left = run();
        left.hear(&step(1, 10.0), seconds(10.0));
        let (share, rest) = left.tell(seconds(10.0));
        assert!((share - 0.2).abs() < 1e-9, "{share}");
        assert_eq!(rest, Some(seconds(40.0)));
    }

    #[test]
    fn a_small_stage_tells_nothing_of_large_ones() {
        let cost = |stage: &str, work| StageCost {
            stage: stage.to_owned(),
            bytes: 0.0,
            work,
        };
        let mut left = Left::new(vec![cost("text", 1.0), cost("denoise", 400.0)]);
        let finished = Event::StageFinished {
            stage: "text",
            elapsed: seconds(9.0),
        };
        left.hear(&finished, seconds(9.0));
        assert_eq!(left.tell(seconds(9.0)).1, None);
        left.hear(&step(1, 10.0), seconds(19.0));
        assert_eq!(left.tell(seconds(19.0)).1, Some(seconds(30.0)));
    }

    #[test]
    fn a_stage_that_was_seen_has_a_rate_of_its_own() {
        let mut left = run();
        (1..=4).for_each(|n| left.hear(&step(n, 10.0), seconds(10.0 * n as f64)));
        let started = Event::StageStarted {
            stage: "decode",
            component: "decoder",
            steps: 0,
        };
        left.hear(&started, seconds(40.0));
        let decoded = |frames| Event::FramesDecoded {
            stage: "decode",
            frames,
            total: 10,
        };
        left.hear(&decoded(2), seconds(50.0));
        let (share, rest) = left.tell(seconds(50.0));
        assert_eq!((share, rest), (50.0 / 90.0, Some(seconds(40.0))));
        left.hear(&decoded(10), seconds(90.0));
        assert_eq!(left.tell(seconds(90.0)), (1.0, Some(Duration::ZERO)));
    }

    /// Steps that were taken before a break cost nothing again, and say nothing of how long one takes.
    #[test]
    fn a_run_that_goes_on_counts_what_it_saw() {
        let mut left = run();
        left.hear(&step(3, 10.0), seconds(10.0));
        assert_eq!(left.tell(seconds(10.0)).1, Some(seconds(20.0)));
    }

    #[test]
    fn stages_beside_one_another_halve_the_time() {
        let mut left = run();
        (1..=2).for_each(|n| left.hear(&step(n, 10.0), seconds(10.0 * n as f64)));
        let decoded = Event::FramesDecoded {
            stage: "decode",
            frames: 5,
            total: 10,
        };
        left.hear(&decoded, seconds(20.0));
        assert_eq!(left.tell(seconds(20.0)), (0.5, Some(seconds(20.0))));
    }
}
