//! A component that is computed some frames at a time.
//!
//! Frames are pushed in and leave as they become final; [`Stream::finish`] gives what is left. Each stage takes pieces
//! of what the one before makes, so nothing is held that is not waiting for its turn. What a step leaves for the next one
//! stays in the runtime's memory. Of a stage's models one is loaded at a time. While a stage is at work, the model that the
//! one behind it will need is loaded beside.
//!
//! A stage may take its frames in tiles ([`super::cuts`]). Then what it makes is put together in the host's memory, and
//! each tile has states of its own.

mod stage;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ltxc_bundle::{Component, Flow, StreamStage};

use self::stage::{Piece, Stage, Step};
use super::component::{Tensors, check_inputs, sizes};
use super::cuts::{Cuts, units};
use super::generate::missing;
use super::ports::{PortSpec, given_by};
use super::solve::Sizes;
use super::{RunError, Runner};
use crate::backend::Values;
use crate::tensor::Tensor;

/// Takes what leaves the last stage, by the names of the component's outputs.
pub(super) type Out<'a> = dyn FnMut(Tensors) -> Result<(), RunError> + 'a;

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
    /// A stream that is cut like this, for a component that has one.
    pub fn new(
        runner: &'r Runner,
        stages: &'r [StreamStage],
        given: Tensors,
        cuts: &Cuts,
    ) -> Result<Self, RunError> {
        let stages = stages.iter().zip(cuts.stages.iter().zip(&cuts.extents));
        let stages = stages.map(|(described, (cut, extent))| Stage::new(described, *cut, *extent));
        Ok(Self {
            runner,
            stages: stages.collect::<Result<_, _>>()?,
            given,
            loading: Duration::ZERO,
        })
    }

    /// Takes the next frames of all inputs that have frames, for the same units of time; those of the outputs that become
    /// final leave through `out`.
    pub fn push(&mut self, frames: Tensors, out: &mut Out<'_>) -> Result<(), RunError> {
        for (name, frames) in frames {
            let piece: Piece = Arc::new(frames);
            for stage in &mut self.stages {
                stage.wait(&name, &piece)?;
            }
        }
        self.drain(0, false, out)
    }

    /// Ends the video: all frames that are left leave through `out`. The next video may begin.
    pub fn finish(&mut self, out: &mut Out<'_>) -> Result<(), RunError> {
        (0..self.stages.len()).try_for_each(|at| self.drain(at, true, out))
    }

    fn feed(&mut self, at: usize, made: Values, out: &mut Out<'_>) -> Result<(), RunError> {
        let Some(stage) = self.stages.get_mut(at) else {
            let made = made.into_iter();
            let made = made.map(|(name, value)| Ok::<_, RunError>((name, value.tensor()?)));
            return out(made.collect::<Result<_, _>>()?);
        };
        for (name, value) in &made {
            stage.wait(name, value)?;
        }
        drop(made);
        self.drain(at, false, out)
    }

    /// Takes the steps that are due.
    fn drain(&mut self, at: usize, ended: bool, out: &mut Out<'_>) -> Result<(), RunError> {
        while let Some((step, units)) = self.stages[at].due(ended) {
            let start = Instant::now();
            self.stages[at].load(self.runner, step)?;
            self.loading += start.elapsed();
            let made = self.step(at, step, units)?;
            self.feed(at + 1, made, out)?;
        }
        Ok(())
    }

    /// Takes a step, and loads beside it what the next stage will need. Why that failed is said when it is needed.
    fn step(&mut self, at: usize, step: Step, units: Option<usize>) -> Result<Values, RunError> {
        let (stages, behind) = self.stages.split_at_mut(at + 1);
        let (stage, mut behind) = (&mut stages[at], behind.first_mut());
        let expected = behind.as_ref().and_then(|stage| stage.expected(step));
        let Some((next, model)) = expected else {
            return stage.step(step, units, &self.given);
        };
        let (runner, given) = (self.runner, &self.given);
        thread::scope(|scope| {
            let loading = scope.spawn(move || runner.model_in_turns(model));
            let made = stage.step(step, units, given);
            if let (Some(behind), Ok(Ok(model))) = (&mut behind, loading.join()) {
                behind.keep(next, model);
            }
            made
        })
    }
}

impl Runner {
    /// Runs one component that has stages in pieces. The inputs are those of the whole, and so are the outputs.
    pub fn exec_by(
        &self,
        component: &str,
        mut inputs: Tensors,
        cuts: &Cuts,
    ) -> Result<Tensors, RunError> {
        let (described, spec) = (self.described(component)?, self.spec(component)?);
        check_inputs(component, spec, &inputs)?;
        let sizes = sizes(component, spec, &given_by(&inputs))?;
        let stream = self.stream_of(component)?;
        let first = stream.frames.first();
        let first = first.ok_or_else(|| missing("frames"))?;
        let shape = inputs.get(&first.name).map_or(&[][..], Tensor::shape);
        let units = units(first, shape.get(first.axis).copied().unwrap_or(0));
        let whole = stream.frames.iter().map(|flow| {
            let tensor = inputs.remove(&flow.name);
            Ok((flow, tensor.ok_or_else(|| missing(&flow.name))?))
        });
        let whole = whole.collect::<Result<Vec<_>, RunError>>()?;
        let outputs = stream.stages.last().map_or(&[][..], |last| &last.outputs);
        let mut stream = Stream::new(self, &stream.stages, inputs, cuts)?;
        let made = outputs
            .iter()
            .map(|flow| Whole::new(flow, described, &sizes));
        let mut made = made.collect::<Result<Vec<_>, _>>()?;
        let mut out = |mut pieces: Tensors| {
            let put = |whole: &mut Whole<'_>| match pieces.remove(&whole.flow.name) {
                Some(piece) => whole.put(&piece),
                None => Err(missing(&whole.flow.name)),
            };
            made.iter_mut().try_for_each(put)
        };
        for at in (0..units).step_by(cuts.frames) {
            let count = cuts.frames.min(units - at);
            let frames = whole.iter().map(|(flow, tensor)| {
                let (start, count) = frames_of(flow, at, count);
                Ok::<_, RunError>((flow.name.clone(), tensor.along(flow.axis, start, count)?))
            });
            stream.push(frames.collect::<Result<_, _>>()?, &mut out)?;
        }
        stream.finish(&mut out)?;
        made.into_iter().map(Whole::finished).collect()
    }

    /// How a component is computed on these inputs: at once, or in pieces of at most so many latent frames where a number
    /// is given or it may need no more than `budget` bytes.
    pub fn exec_cuts(
        &self,
        component: &str,
        inputs: &Tensors,
        most: Option<NonZeroUsize>,
        budget: Option<u64>,
    ) -> Result<Option<Cuts>, RunError> {
        let streams = self.described(component)?.stream.as_ref();
        let first = streams.and_then(|stream| stream.frames.first());
        let given = first.and_then(|flow| Some((flow, inputs.get(&flow.name)?)));
        let Some((flow, given)) = given else {
            let asked = most.map(|_| self.stream_of(component));
            return asked.transpose().map(|_| None);
        };
        check_inputs(component, self.spec(component)?, inputs)?;
        match (most, budget) {
            (Some(most), _) => {
                let cuts =
                    self.cuts_of(component, (&flow.name, given.shape()), most.get(), budget)?;
                Ok(Some(cuts))
            }
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let frames = units(flow, given.shape().get(flow.axis).copied().unwrap_or(0));
                self.automatic(component, (&flow.name, given.shape()), (frames, 0), budget)
            }
        }
    }

    /// How a component is computed some frames at a time.
    pub(super) fn stream_of(&self, component: &str) -> Result<&ltxc_bundle::Stream, RunError> {
        let stream = self.described(component)?.stream.as_ref();
        stream.ok_or_else(|| RunError::Manifest(format!("`{component}` takes a whole video only")))
    }
}

/// Where the frames of some units of time begin, and how many they are.
pub(super) fn frames_of(flow: &Flow, at: usize, units: usize) -> (usize, usize) {
    let frames = |units: usize| match units {
        0 => 0,
        _ => usize::try_from((units * flow.rate) as i64 + flow.offset).unwrap_or(0),
    };
    (frames(at), frames(at + units) - frames(at))
}

/// An output of which pieces arrive.
struct Whole<'a> {
    flow: &'a Flow,
    shape: Vec<usize>,
    /// Frames that are there.
    there: usize,
    tensor: Option<Tensor>,
}

impl<'a> Whole<'a> {
    /// An output of a component with these sizes.
    fn new(flow: &'a Flow, described: &Component, sizes: &Sizes) -> Result<Self, RunError> {
        let port = described.outputs.iter().find(|port| port.name == flow.name);
        let port = PortSpec::new(port.ok_or_else(|| missing(&flow.name))?);
        let known = |name: &str| sizes.get(name).copied();
        let shape = port.map_err(RunError::Manifest)?.shape;
        let shape = shape
            .iter()
            .map(|size| usize::try_from(size.value(&known)?).ok());
        Ok(Self {
            flow,
            shape: shape
                .collect::<Option<_>>()
                .ok_or_else(|| missing(&flow.name))?,
            there: 0,
            tensor: None,
        })
    }

    fn put(&mut self, piece: &Tensor) -> Result<(), RunError> {
        let shape = &self.shape;
        let zeros = || Tensor::zeros(piece.dtype(), shape.clone());
        let whole = self.tensor.get_or_insert_with(zeros);
        whole.put(self.flow.axis, self.there, piece)?;
        self.there += piece.shape()[self.flow.axis];
        Ok(())
    }

    fn finished(self) -> Result<(String, Tensor), RunError> {
        let ended = self.shape.get(self.flow.axis) == Some(&self.there);
        let whole = self.tensor.filter(|_| ended);
        let whole = whole.ok_or_else(|| missing(&self.flow.name))?;
        Ok((self.flow.name.clone(), whole))
    }
}
