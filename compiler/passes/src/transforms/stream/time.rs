//! Where time runs in a graph: which values have frames, how many, and how late they are.

use std::collections::BTreeMap;

use ltxc_ir::{Graph, NodeId, Size};

use super::keep::Kept;
use super::motion::{self, Motion};
use super::{Flow, Kind, StreamError};

/// How the frames of a value are counted: `rate * n + offset` in a whole video of `n` units of the stage's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// The axis.
    pub axis: usize,
    /// Frames a unit.
    pub rate: i64,
    /// Frames more than that at the beginning.
    pub offset: i64,
}

/// A graph whose every value either has no time or flows.
pub(super) struct Time<'g> {
    pub graph: &'g Graph,
    /// The size that counts time.
    pub symbol: String,
    /// The values that have frames.
    pub frames: BTreeMap<NodeId, Frames>,
    /// What their operations do with them.
    pub motions: BTreeMap<NodeId, Motion>,
    /// How many frames less than have come in have left, before the end.
    pub lags: BTreeMap<NodeId, i64>,
    /// What is handed from step to step.
    pub kept: Kept,
    /// Frames that the slowest value has in a unit of the graph's size.
    pub unit: i64,
}

impl<'g> Time<'g> {
    /// How frames of a video come and go.
    pub fn of(graph: &'g Graph) -> Result<Self, StreamError> {
        let mut named = graph.sizes.0.iter().filter(|(_, range)| range.time);
        let (Some((symbol, _)), None) = (named.next(), named.next()) else {
            return Err(StreamError::Timeless(graph.name.clone()));
        };
        let mut time = Self::along(graph, symbol)?;
        for id in graph.order() {
            if let Some(motion) = time.motions.get(&id).copied() {
                let lag = motion::lag(&time, id, motion).map_err(|why| time.refusal(id, why))?;
                time.lags.insert(id, lag);
            }
        }
        time.kept = Kept::of(&time);
        Ok(time)
    }

    /// What operations do along a size, whatever it counts.
    pub fn along(graph: &'g Graph, symbol: &str) -> Result<Self, StreamError> {
        let mut time = Self {
            graph,
            symbol: symbol.to_owned(),
            frames: BTreeMap::new(),
            motions: BTreeMap::new(),
            lags: BTreeMap::new(),
            kept: Kept::default(),
            unit: 1,
        };
        time.count()?;
        for id in graph.order() {
            if time.frames.contains_key(&id) {
                let motion = motion::of(&time, id).map_err(|why| time.refusal(id, why))?;
                time.motions.insert(id, motion);
            } else if time.flowing(id).next().is_some() || graph.is_output(id) {
                let why = "it has no frames, and would be made of all of the video's";
                return Err(time.refusal(id, why.to_owned()));
            }
        }
        Ok(time)
    }

    pub fn refusal(&self, id: NodeId, why: String) -> StreamError {
        let node = self.graph.node(id);
        StreamError::Node {
            node: node.name.clone(),
            op: node.op.name(),
            why,
        }
    }

    /// Finds the frames of every value, in units of which the slowest value has one frame.
    fn count(&mut self) -> Result<(), StreamError> {
        for id in self.graph.order() {
            let shape = &self.graph.node(id).fact.shape;
            if let Some(frames) = frames_in(shape, &self.symbol).map_err(|w| self.refusal(id, w))? {
                self.frames.insert(id, frames);
            }
        }
        let slowest = self.frames.values().min_by_key(|frames| frames.rate);
        let Some(slowest) = slowest.copied() else {
            return Ok(());
        };
        let uneven = |frames: &Frames| frames.rate % slowest.rate != 0;
        if let Some((id, _)) = self.frames.iter().find(|(_, frames)| uneven(frames)) {
            let why = "its frames are no multiple of those of other values";
            return Err(self.refusal(*id, why.to_owned()));
        }
        for frames in self.frames.values_mut() {
            frames.rate /= slowest.rate;
            frames.offset -= frames.rate * slowest.offset;
        }
        self.unit = slowest.rate;
        Ok(())
    }

    /// What a value reads that has frames.
    pub fn flowing(&self, id: NodeId) -> impl Iterator<Item = NodeId> {
        let inputs = self.graph.inputs_of(id).into_iter().flatten();
        inputs.filter(|input| self.frames.contains_key(input))
    }

    /// Frames of a value that are so late, in a step of a kind.
    pub fn frames_at(&self, frames: Frames, lag: i64, kind: Kind) -> Size {
        let begun = if kind.begins() {
            frames.offset - lag
        } else {
            0
        };
        let ended = if kind.ends() { lag } else { 0 };
        Size::symbol(&self.symbol) * Size::from(frames.rate) + Size::from(begun + ended)
    }

    /// The smallest number of units with which every value of a step has a frame, and a first step as many as others
    /// are made again of.
    pub fn least(&self, kind: Kind) -> i64 {
        let needs = |(id, least): (NodeId, i64)| {
            let frames = self.frames[&id];
            let fixed = self.frames_at(frames, self.lags[&id], kind);
            let fixed = fixed.eval(&|_| Some(0)).unwrap_or(0);
            (least - fixed + frames.rate - 1).div_euclid(frames.rate)
        };
        let shared = self.kept.shared().filter(|_| kind == Kind::First);
        let each = self.frames.keys().map(|id| (*id, 1));
        each.chain(shared).map(needs).fold(1, i64::max)
    }

    pub fn inputs(&self) -> Vec<Flow> {
        let ids = self.graph.graph_inputs().iter();
        let flow = |id: &NodeId| self.flow(&self.graph.node(*id).name, *id);
        ids.filter_map(flow).collect()
    }

    pub fn outputs(&self) -> Vec<Flow> {
        let named = self.graph.graph_outputs().iter();
        named
            .filter_map(|(name, id)| self.flow(name, *id))
            .collect()
    }

    fn flow(&self, name: &str, id: NodeId) -> Option<Flow> {
        Some(Flow {
            name: name.to_owned(),
            frames: *self.frames.get(&id)?,
            lag: self.lags[&id],
        })
    }
}

/// The axis of a shape that counts time.
fn frames_in(shape: &[Size], symbol: &str) -> Result<Option<Frames>, String> {
    let in_time = |size: &Size| size.symbols().any(|name| name == symbol);
    let mut axes = shape.iter().enumerate().filter(|(_, size)| in_time(size));
    let Some((axis, size)) = axes.next() else {
        return Ok(None);
    };
    let straight = size.symbols().all(|name| name == symbol);
    let count = |n: i64| size.eval(&|_| Some(n)).filter(|_| straight);
    match (count(0), count(1), count(2), axes.next()) {
        (Some(zero), Some(one), Some(two), None) if two - one == one - zero && one > zero => {
            Ok(Some(Frames {
                axis,
                rate: one - zero,
                offset: zero,
            }))
        }
        _ => Err("its frames share an axis with something else".to_owned()),
    }
}
