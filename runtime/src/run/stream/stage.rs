//! One stage of a component that is computed some frames at a time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use ltxc_bundle::{Flow, Side, StreamStage};

use super::super::component::Tensors;
use super::super::cuts::{Span, StageCut, spans, units};
use super::super::generate::missing;
use super::super::{RunError, Runner};
use super::frames_of;
use crate::backend::{Held, Session, Values};
use crate::tensor::{Tensor, TensorError};

pub(super) type Piece = Arc<dyn Held>;

/// Which piece of a video a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    First,
    Next,
    Last,
    Only,
}

/// Rows and columns of a tile.
type Tile = [Span; 2];

/// A stage, the frames that wait for it, and what its last step left.
pub(super) struct Stage<'r> {
    described: &'r StreamStage,
    /// Units that a step takes at most, but for the first.
    most: usize,
    /// The tiles of a frame in the order of rows; none where it is taken whole.
    tiles: Vec<Tile>,
    /// Tiles beside one another.
    columns: usize,
    /// Frames of each input that has some.
    waiting: Vec<VecDeque<Piece>>,
    begun: bool,
    /// For each tile, or for the whole frame.
    states: Vec<Values>,
    loaded: Option<Loaded>,
    /// The model that is needed next.
    ahead: Option<Loaded>,
}

/// A model for a step.
type Loaded = (Step, Box<dyn Session>);

impl<'r> Stage<'r> {
    pub(super) fn new(
        described: &'r StreamStage,
        cut: StageCut,
        extent: [usize; 2],
    ) -> Result<Self, RunError> {
        let tiles = tiles(described, cut, extent)?;
        Ok(Self {
            described,
            most: cut.most.max(1),
            columns: cut.tiles[1],
            states: vec![Values::new(); tiles.len().max(1)],
            tiles,
            waiting: vec![VecDeque::new(); described.frames.len()],
            begun: false,
            loaded: None,
            ahead: None,
        })
    }

    /// Queues frames of an input, if the stage has it, in pieces of what a step takes.
    pub(super) fn wait(&mut self, name: &str, piece: &Piece) -> Result<(), RunError> {
        let Some(at) = self
            .described
            .frames
            .iter()
            .position(|flow| flow.name == name)
        else {
            return Ok(());
        };
        let flow = &self.described.frames[at];
        let (frames, most) = (frames_in(piece, flow), self.most * flow.rate);
        if at > 0 || frames <= most {
            self.waiting[at].push_back(Arc::clone(piece));
            return Ok(());
        }
        let tensor = piece.tensor()?;
        for start in (0..frames).step_by(most) {
            let part = tensor.along(flow.axis, start, most.min(frames - start))?;
            self.waiting[at].push_back(Arc::new(part));
        }
        Ok(())
    }

    /// The step that can be taken now, and how many units it takes, or all that is there. Something must be left for the
    /// last one.
    pub(super) fn due(&self, ended: bool) -> Option<(Step, Option<usize>)> {
        let flow = self.described.frames.first()?;
        let total: usize = self.waiting[0]
            .iter()
            .map(|piece| frames_in(piece, flow))
            .sum();
        let (some, all, units) = match self.begun {
            false => (Step::First, Step::Only, self.first(flow)),
            true => (Step::Next, Step::Last, self.next(flow)),
        };
        let frames = |units: usize| match self.begun {
            true => units * flow.rate,
            false => frames_of(flow, 0, units).1,
        };
        match units {
            Some(units) if frames(units) < total => Some((some, Some(units))),
            _ if ended && total > 0 => Some((all, None)),
            _ => None,
        }
    }

    /// Units of a first step: whole pieces, as many as it needs.
    fn first(&self, flow: &Flow) -> Option<usize> {
        let mut sums = self.waiting[0].iter().scan(0, |sum, piece| {
            *sum += frames_in(piece, flow);
            Some(units(flow, *sum))
        });
        sums.find(|units| *units >= self.described.least)
    }

    /// Units of a step between: a whole piece, if that is no share of a unit.
    fn next(&self, flow: &Flow) -> Option<usize> {
        let piece = self.waiting[0].front()?;
        Some((frames_in(piece, flow) / flow.rate).max(1))
    }

    /// The model of this step becomes the one that is loaded.
    pub(super) fn load(&mut self, runner: &Runner, step: Step) -> Result<(), RunError> {
        if has(&self.loaded, step) {
            return Ok(());
        }
        self.loaded = None;
        self.loaded = match self.ahead.take().filter(|(ahead, _)| *ahead == step) {
            Some(ahead) => Some(ahead),
            None => Some((step, runner.model_in_turns(self.model(step))?)),
        };
        Ok(())
    }

    /// The step whose model is worth loading while the stage before takes this step, and the model.
    pub(super) fn expected(&self, before: Step) -> Option<(Step, &'r str)> {
        let step = match (self.begun, before) {
            (false, Step::First | Step::Next) => Step::First,
            (false, Step::Last | Step::Only) => Step::Only,
            (true, Step::Last) if has(&self.loaded, Step::Next) => Step::Last,
            (true, _) => Step::Next,
        };
        let there = has(&self.loaded, step) || has(&self.ahead, step);
        (!there).then(|| (step, self.model(step)))
    }

    /// Keeps a model that was loaded ahead.
    pub(super) fn keep(&mut self, step: Step, model: Box<dyn Session>) {
        self.ahead = Some((step, model));
    }

    fn model(&self, step: Step) -> &'r str {
        let models = &self.described.models;
        match step {
            Step::First => &models.first,
            Step::Next => &models.next,
            Step::Last => &models.last,
            Step::Only => &models.only,
        }
    }

    pub(super) fn step(
        &mut self,
        step: Step,
        units: Option<usize>,
        given: &Tensors,
    ) -> Result<Values, RunError> {
        let described = self.described;
        let mut frames = Values::new();
        for (at, flow) in described.frames.iter().enumerate() {
            let count = units.map(|units| match self.begun {
                true => units * flow.rate,
                false => frames_of(flow, 0, units).1,
            });
            frames.insert(flow.name.clone(), self.take(at, count)?);
        }
        let inputs = described.inputs.iter();
        let inputs = inputs.filter_map(|name| Some((name.clone(), given.get(name)?.clone())));
        let inputs: Tensors = inputs.collect();
        self.begun = matches!(step, Step::First | Step::Next);
        let made = match self.tiles.is_empty() {
            true => self.call(0, frames, inputs),
            false => self.in_tiles(frames, inputs),
        };
        if step != Step::Next {
            self.loaded = None;
        }
        made
    }

    /// Computes a tile, or the whole frame, and keeps its states.
    fn call(&mut self, tile: usize, frames: Values, given: Tensors) -> Result<Values, RunError> {
        let mut held = std::mem::take(&mut self.states[tile]);
        held.extend(frames);
        let (_, session) = self.loaded.as_mut().expect("the step's model was loaded");
        let mut made: BTreeMap<_, _> = session.call(given, &held, true)?;
        drop(held);
        for state in self.described.states.iter().filter(|_| self.begun) {
            if let Some(value) = made.remove(&state.output) {
                self.states[tile].insert(state.input.clone(), value);
            }
        }
        let outputs = self.described.outputs.iter();
        let outputs = outputs.map(|flow| {
            let value = made.remove(&flow.name);
            Ok((flow.name.clone(), value.ok_or_else(|| missing(&flow.name))?))
        });
        outputs.collect()
    }

    /// Computes the tiles of a piece one after the other and puts what they make together.
    fn in_tiles(&mut self, frames: Values, given: Tensors) -> Result<Values, RunError> {
        let described = self.described;
        let sides = described.sides.as_ref().ok_or_else(|| missing("sides"))?;
        let frames = frames.into_iter();
        let frames = frames.map(|(name, piece)| Ok::<_, RunError>((name, piece.tensor()?)));
        let frames = frames.collect::<Result<Tensors, _>>()?;
        let mut made: BTreeMap<&str, Vec<Tensor>> = BTreeMap::new();
        for at in 0..self.tiles.len() {
            let tile = self.tiles[at];
            let cut = |(name, tensor): (&String, &Tensor)| {
                let part = cropped(
                    tensor,
                    name,
                    sides,
                    tile.map(|span| (span.start, span.length)),
                );
                Ok::<_, TensorError>((name.clone(), part?))
            };
            let pieces = frames.iter().map(cut).collect::<Result<Tensors, _>>()?;
            let inputs = given.iter().map(cut).collect::<Result<Tensors, _>>()?;
            let pieces = pieces.into_iter();
            let pieces = pieces.map(|(name, piece)| (name, Arc::new(piece) as Piece));
            let mut values = self.call(at, pieces.collect(), inputs)?;
            let kept = tile.map(|span| (span.from - span.start, span.to - span.from));
            for flow in &described.outputs {
                let value = values
                    .remove(&flow.name)
                    .ok_or_else(|| missing(&flow.name))?;
                let part = cropped(&value.tensor()?, &flow.name, sides, kept)?;
                made.entry(&flow.name).or_default().push(part);
            }
        }
        let whole = made.into_iter().map(|(name, tiles)| {
            let whole = put_together(name, sides, &tiles, self.columns)?;
            Ok((name.to_owned(), Arc::new(whole) as Piece))
        });
        whole.collect()
    }

    /// The next frames of those that wait for an input, or all of them. Whole pieces stay where they are.
    fn take(&mut self, at: usize, frames: Option<usize>) -> Result<Piece, RunError> {
        let flow = &self.described.frames[at];
        let waiting = &mut self.waiting[at];
        let (mut taken, mut left) = (Vec::new(), frames.unwrap_or(usize::MAX));
        while left > 0 {
            let Some(piece) = waiting.pop_front() else {
                break;
            };
            let found = frames_in(&piece, flow);
            if found > left {
                let tensor = piece.tensor()?;
                let rest = tensor.along(flow.axis, left, found - left)?;
                waiting.push_front(Arc::new(rest));
                taken.push(Arc::new(tensor.along(flow.axis, 0, left)?) as Piece);
                break;
            }
            left -= found;
            taken.push(piece);
        }
        if taken.len() == 1 {
            return Ok(taken.remove(0));
        }
        let tensors = taken.iter().map(|piece| piece.tensor());
        let tensors = tensors.collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(Tensor::joined(flow.axis, &tensors)?))
    }
}

fn has(loaded: &Option<Loaded>, step: Step) -> bool {
    loaded.as_ref().is_some_and(|(loaded, _)| *loaded == step)
}

fn frames_in(piece: &Piece, flow: &Flow) -> usize {
    piece.shape().get(flow.axis).copied().unwrap_or(0)
}

/// The tiles of a stage in the order of rows; none for one.
fn tiles(
    described: &StreamStage,
    cut: StageCut,
    extent: [usize; 2],
) -> Result<Vec<Tile>, RunError> {
    let Some(sides) = described.sides.as_ref().filter(|_| cut.tiles != [1, 1]) else {
        return Ok(Vec::new());
    };
    let along = |at: usize| {
        let spans = spans(extent[at], cut.tiles[at], sides[at].halo);
        spans.ok_or_else(|| RunError::Manifest("a stage has more tiles than fit".to_owned()))
    };
    let (rows, columns) = (along(0)?, along(1)?);
    let row = |row: &Span| {
        columns
            .iter()
            .map(|column| [*row, *column])
            .collect::<Vec<_>>()
    };
    Ok(rows.iter().flat_map(row).collect())
}

/// Some units of rows and columns of a value; all of it along a side that it does not have.
fn cropped(
    tensor: &Tensor,
    name: &str,
    sides: &[Side; 2],
    units: [(usize, usize); 2],
) -> Result<Tensor, TensorError> {
    let mut cropped = None;
    for (side, (start, count)) in sides.iter().zip(units) {
        if let Some(along) = side.along.get(name) {
            let whole = cropped.as_ref().unwrap_or(tensor);
            cropped = Some(whole.along(along.axis, start * along.rate, count * along.rate)?);
        }
    }
    Ok(cropped.unwrap_or_else(|| tensor.clone()))
}

/// A value of its tiles, which come in the order of rows.
fn put_together(
    name: &str,
    sides: &[Side; 2],
    tiles: &[Tensor],
    columns: usize,
) -> Result<Tensor, RunError> {
    let axis = |side: &Side| {
        let along = side.along.get(name).ok_or_else(|| missing(name));
        along.map(|along| along.axis)
    };
    let [across, along] = [axis(&sides[0])?, axis(&sides[1])?];
    let rows = tiles
        .chunks(columns.max(1))
        .map(|row| Tensor::joined(along, row));
    Ok(Tensor::joined(
        across,
        &rows.collect::<Result<Vec<_>, _>>()?,
    )?)
}
