//! A component that is computed some frames at a time.
//!
//! Frames are pushed in and leave as they become final; [`Stream::finish`] gives what is left. Each stage takes pieces
//! of what the one before makes, so nothing is held that is not waiting for its turn. What a step leaves for the next one
//! stays in the runtime's memory. Of a stage's models one is loaded at a time, when it is first needed.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ltxc_bundle::StreamStage;

use super::component::{Tensors, check_inputs};
use super::generate::missing;
use super::{RunError, Runner};
use crate::backend::{Held, Session, Values};
use crate::tensor::Tensor;

/// Values of its input that a step takes at most, if that is more than one unit: what a stage works with is several times
/// as much.
const VALUES: usize = 1 << 24;

/// Takes what leaves the last stage.
pub(super) type Out<'a> = dyn FnMut(Tensor) -> Result<(), RunError> + 'a;

/// The stages of a component, at work on one video.
pub(super) struct Stream<'r> {
    runner: &'r Runner,
    stages: Vec<Stage<'r>>,
    /// The inputs that have no frames.
    given: Tensors,
    /// Time that loading took.
    pub loading: Duration,
}

impl<'r> Stream<'r> {
    /// A stream that takes at most `most` units in a step, for a component that has one.
    pub fn new(runner: &'r Runner, stages: &'r [StreamStage], given: Tensors, most: usize) -> Self {
        let (mut at_work, mut most) = (Vec::new(), most.max(1));
        for described in stages {
            most = (most / described.frames.rate).max(1);
            at_work.push(Stage::new(described, most));
            most *= described.output.rate;
        }
        Self {
            runner,
            stages: at_work,
            given,
            loading: Duration::ZERO,
        }
    }

    /// Takes the next frames; those that become final leave through `out`.
    pub fn push(&mut self, frames: Tensor, out: &mut Out<'_>) -> Result<(), RunError> {
        self.feed(0, Arc::new(frames), out)
    }

    /// Ends the video: all frames that are left leave through `out`. The next video may begin.
    pub fn finish(&mut self, out: &mut Out<'_>) -> Result<(), RunError> {
        (0..self.stages.len()).try_for_each(|at| self.drain(at, true, out))
    }

    fn feed(&mut self, at: usize, piece: Piece, out: &mut Out<'_>) -> Result<(), RunError> {
        let Some(stage) = self.stages.get_mut(at) else {
            return out(piece.tensor()?);
        };
        stage.wait(piece)?;
        self.drain(at, false, out)
    }

    /// Takes the steps that are due.
    fn drain(&mut self, at: usize, ended: bool, out: &mut Out<'_>) -> Result<(), RunError> {
        while let Some((step, frames)) = self.stages[at].due(ended) {
            let stage = &mut self.stages[at];
            let start = Instant::now();
            stage.load(self.runner, step)?;
            self.loading += start.elapsed();
            let made = stage.step(step, frames, &self.given)?;
            self.feed(at + 1, made, out)?;
        }
        Ok(())
    }
}

impl Runner {
    /// Runs one component that has stages, on `most` units of time at a time. The inputs are those of the whole, and so
    /// is the output.
    pub fn exec_by(
        &self,
        component: &str,
        mut inputs: Tensors,
        most: NonZeroUsize,
    ) -> Result<Tensors, RunError> {
        check_inputs(component, self.spec(component)?, &inputs)?;
        let stages = &self.described(component)?.stream;
        let ends = stages.first().zip(stages.last());
        let none = || RunError::Manifest(format!("`{component}` has no stages"));
        let (first, last) = ends.ok_or_else(none)?;
        let (frames, output) = (&first.frames, &last.output);
        let given = inputs
            .remove(&frames.name)
            .ok_or_else(|| missing(&frames.name))?;
        let total = given.shape().get(frames.axis).copied().unwrap_or(0);
        let mut stream = Stream::new(self, stages, inputs, most.get());
        let mut pieces = Vec::new();
        let mut out = |piece| {
            pieces.push(piece);
            Ok(())
        };
        let most = most.get().saturating_mul(frames.rate);
        for start in (0..total).step_by(most) {
            let piece = given.along(frames.axis, start, most.min(total - start))?;
            stream.push(piece, &mut out)?;
        }
        stream.finish(&mut out)?;
        let whole = Tensor::joined(output.axis, &pieces)?;
        Ok(Tensors::from([(output.name.clone(), whole)]))
    }
}

type Piece = Arc<dyn Held>;

/// Which piece of a video a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    First,
    Next,
    Last,
    Only,
}

/// A stage, the frames that wait for it, and what its last step left.
struct Stage<'r> {
    described: &'r StreamStage,
    /// Units that a step takes at most, but for the first.
    most: usize,
    waiting: VecDeque<Piece>,
    begun: bool,
    states: Values,
    loaded: Option<(Step, Box<dyn Session>)>,
}

impl<'r> Stage<'r> {
    fn new(described: &'r StreamStage, most: usize) -> Self {
        Self {
            described,
            most,
            waiting: VecDeque::new(),
            begun: false,
            states: Values::new(),
            loaded: None,
        }
    }

    fn axis(&self) -> usize {
        self.described.frames.axis
    }

    fn frames_of(&self, piece: &Piece) -> usize {
        piece.shape().get(self.axis()).copied().unwrap_or(0)
    }

    /// Queues frames, in pieces of what a step takes.
    fn wait(&mut self, piece: Piece) -> Result<(), RunError> {
        let (frames, rate) = (self.frames_of(&piece), self.described.frames.rate);
        let values: usize = piece.shape().iter().product();
        let unit = (values / frames.max(1) * rate).max(1);
        let most = (VALUES / unit).clamp(1, self.most) * rate;
        if frames <= most {
            self.waiting.push_back(piece);
            return Ok(());
        }
        let tensor = piece.tensor()?;
        for start in (0..frames).step_by(most) {
            let count = most.min(frames - start);
            let part = tensor.along(self.axis(), start, count)?;
            self.waiting.push_back(Arc::new(part));
        }
        Ok(())
    }

    /// The step that can be taken now, and how many frames it takes. Something must be left for the last one.
    fn due(&self, ended: bool) -> Option<(Step, usize)> {
        let waiting = self.waiting.iter().map(|piece| self.frames_of(piece));
        let total: usize = waiting.sum();
        let (some, all, frames) = match self.begun {
            false => (Step::First, Step::Only, self.first()),
            true => (Step::Next, Step::Last, self.next()),
        };
        match frames {
            Some(frames) if frames < total => Some((some, frames)),
            _ if ended && total > 0 => Some((all, total)),
            _ => None,
        }
    }

    /// Frames of a first step: whole pieces, as many as it needs.
    fn first(&self) -> Option<usize> {
        let flow = &self.described.frames;
        let units = |frames: usize| (frames as i64 - flow.offset) / flow.rate as i64;
        let mut sums = self.waiting.iter().scan(0, |sum, piece| {
            *sum += self.frames_of(piece);
            Some(*sum)
        });
        let least = self.described.least as i64;
        let units = units(sums.find(|sum| units(*sum) >= least)?);
        usize::try_from(units * flow.rate as i64 + flow.offset).ok()
    }

    /// Frames of a step between: a whole piece, if that is no share of a unit.
    fn next(&self) -> Option<usize> {
        let (rate, piece) = (self.described.frames.rate, self.waiting.front()?);
        Some((self.frames_of(piece) / rate).max(1) * rate)
    }

    fn load(&mut self, runner: &Runner, step: Step) -> Result<(), RunError> {
        if self
            .loaded
            .as_ref()
            .is_some_and(|(loaded, _)| *loaded == step)
        {
            return Ok(());
        }
        let models = &self.described.models;
        let model = match step {
            Step::First => &models.first,
            Step::Next => &models.next,
            Step::Last => &models.last,
            Step::Only => &models.only,
        };
        self.loaded = None;
        self.loaded = Some((step, runner.model(model)?));
        Ok(())
    }

    fn step(&mut self, step: Step, frames: usize, given: &Tensors) -> Result<Piece, RunError> {
        let described = self.described;
        let piece = self.take(frames)?;
        let mut held = std::mem::take(&mut self.states);
        held.insert(described.frames.name.clone(), piece);
        let inputs = described.inputs.iter();
        let inputs = inputs.filter_map(|name| Some((name.clone(), given.get(name)?.clone())));
        let (_, session) = self.loaded.as_mut().expect("the step's model was loaded");
        let mut made: BTreeMap<_, _> = session.call(inputs.collect(), &held, true)?;
        drop(held);
        self.begun = matches!(step, Step::First | Step::Next);
        for state in described.states.iter().filter(|_| self.begun) {
            if let Some(value) = made.remove(&state.output) {
                self.states.insert(state.input.clone(), value);
            }
        }
        if !self.begun {
            self.loaded = None;
        }
        let output = &described.output.name;
        made.remove(output).ok_or_else(|| missing(output))
    }

    /// The next frames of those that wait. Whole pieces stay where they are.
    fn take(&mut self, frames: usize) -> Result<Piece, RunError> {
        let axis = self.axis();
        let (mut taken, mut missing) = (Vec::new(), frames);
        while let Some(piece) = self.waiting.pop_front() {
            let found = self.frames_of(&piece);
            if found > missing {
                let tensor = piece.tensor()?;
                let rest = tensor.along(axis, missing, found - missing)?;
                self.waiting.push_front(Arc::new(rest));
                taken.push(Arc::new(tensor.along(axis, 0, missing)?) as Piece);
                break;
            }
            missing -= found;
            taken.push(piece);
            if missing == 0 {
                break;
            }
        }
        if taken.len() == 1 {
            return Ok(taken.remove(0));
        }
        let tensors = taken.iter().map(|piece| piece.tensor());
        let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(Tensor::joined(axis, &tensors)?))
    }
}
