//! Computing a video some frames at a time, with the numbers of the whole.
//!
//! A graph with a size that counts time (`time: true`) becomes steps that are run one after the other on pieces of the
//! video. What later frames need of earlier ones is handed on as state: the last frames that each convolution over time
//! read, and the frames that wait for others of the same moment. A result leaves as soon as nothing that is still to
//! come can change it, so a convolution that looks ahead makes everything behind it late (lag), and what is late leaves
//! with the end. Frames are never computed twice, and none is computed that is not part of the whole.
//!
//! Four graphs ([`Kind`]) differ in their ends alone: padding is done where the video begins and ends, and frames are
//! dropped there; states are read where it has begun and given where it goes on. Where time is refined (frames become
//! several), what is late would leave as many times more frames at once; so the graph is cut there into stages
//! ([`Stage`]), each a stream of its own with pieces of any length.
//!
//! A stage can be computed on tiles of its frames as well, with a margin of what it looks at ([`Side`]).
//!
//! A graph in which frames meet in any other way is refused, with the node.

mod cut;
mod keep;
mod motion;
mod space;
mod step;
mod time;

use ltxc_ir::{Fact, Graph, GraphError, Size};
use thiserror::Error;

pub use space::Side;
pub use time::Frames;

use time::Time;

/// Why a graph cannot be computed some frames at a time.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StreamError {
    /// It has no time, or more than one.
    #[error("no size of `{0}` counts time (`time: true`), or several do")]
    Timeless(String),
    /// An operation mixes frames.
    #[error("`{node}` ({op}): {why}")]
    Node {
        /// The value.
        node: String,
        /// Its operation.
        op: &'static str,
        /// What stands in the way.
        why: String,
    },
    /// A new node has no type.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// Which piece of a video a step takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The one with the first frame, of several.
    First,
    /// Any between.
    Next,
    /// The one with the last frame, of several.
    Last,
    /// All of it.
    Only,
}

impl Kind {
    /// Each once.
    pub const ALL: [Self; 4] = [Self::First, Self::Next, Self::Last, Self::Only];

    /// Its name among the graphs of a stage.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Next => "next",
            Self::Last => "last",
            Self::Only => "only",
        }
    }

    fn begins(self) -> bool {
        matches!(self, Self::First | Self::Only)
    }

    fn ends(self) -> bool {
        matches!(self, Self::Last | Self::Only)
    }
}

/// A share of a graph that is a stream of its own.
#[derive(Clone, Debug)]
pub struct Stage {
    /// What it takes some frames of.
    pub inputs: Vec<Flow>,
    /// What it makes some frames of.
    pub outputs: Vec<Flow>,
    /// What is handed from step to step.
    pub states: Vec<State>,
    /// The smallest `n` of a first step.
    pub least: i64,
    /// Rows and columns, in that order, where a step can be computed on tiles of them; else nothing.
    pub sides: Vec<Side>,
    /// The size that counts time.
    pub unit: String,
    /// The graphs in the order of [`Kind::ALL`].
    pub steps: [Graph; 4],
}

/// A value that comes or goes in pieces. A step for `n` takes `rate * n` frames of it, the first one `offset` more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The input or output.
    pub name: String,
    /// How its frames are counted.
    pub frames: Frames,
    /// How many frames less of an output have left than have come in, until the last step.
    pub lag: i64,
}

/// Where the rows or columns of a value are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Along {
    /// The axis.
    pub axis: usize,
    /// Rows or columns a unit.
    pub rate: i64,
}

/// What a step leaves for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The input that reads it.
    pub input: String,
    /// The output that gives it.
    pub output: String,
    /// Its type.
    pub fact: Fact,
}

impl Stage {
    /// The graph for a piece of the video.
    pub fn step(&self, kind: Kind) -> &Graph {
        &self.steps[kind as usize]
    }

    /// Bytes that are handed from step to step, in the sizes of the whole graph.
    pub fn state_bytes(&self) -> Size {
        let facts = self.states.iter().map(|state| &state.fact);
        let bytes = facts.fold(Size::from(0), |sum, fact| {
            sum + fact.elements() * Size::from(fact.dtype.bytes() as i64)
        });
        bytes.substitute(&|name| {
            let side = self.sides.iter().find(|side| side.size == name)?;
            Some(Size::symbol(name) * Size::from(side.rate))
        })
    }
}

/// How many units of the first stage must come before the last one can make a frame.
pub fn latency(stages: &[Stage]) -> i64 {
    let mut frames = None;
    for stage in stages.iter().rev() {
        let enough = |flow: &Flow, frames: i64| {
            let more = frames - flow.frames.offset + flow.lag;
            (more + flow.frames.rate - 1).div_euclid(flow.frames.rate)
        };
        let output = stage.outputs.iter().zip(frames);
        let asked = output.map(|(flow, frames)| enough(flow, frames));
        let units = asked.fold(stage.least, i64::max);
        let given = stage.inputs.first();
        frames = given.map(|flow| flow.frames.rate * units + flow.frames.offset);
    }
    frames.unwrap_or(0)
}

/// The inputs of a graph that have frames, in units of the slowest value.
pub fn flows(graph: &Graph) -> Result<Vec<Flow>, StreamError> {
    Ok(Time::of(graph)?.inputs())
}

/// The stages that together compute the graph. Each reads what the one before makes; the last makes the graph's outputs.
pub fn stream(graph: &Graph) -> Result<Vec<Stage>, StreamError> {
    let (graphs, sides) = space::tiled(cut::stages(&Time::of(graph)?)?);
    graphs.iter().zip(sides).map(stage).collect()
}

fn stage((graph, sides): (&Graph, Vec<Side>)) -> Result<Stage, StreamError> {
    let time = Time::of(graph)?;
    let mut steps = Vec::new();
    let mut states = Vec::new();
    for kind in Kind::ALL {
        let (step, of_step) = step::build(&time, kind)?;
        if kind == Kind::Next {
            states = of_step;
        }
        steps.push(step);
    }
    let [first, next, last, only] = <[Graph; 4]>::try_from(steps).expect("there are four kinds");
    Ok(Stage {
        inputs: time.inputs(),
        outputs: time.outputs(),
        states,
        least: time.least(Kind::First),
        sides,
        unit: time.symbol.clone(),
        steps: [first, next, last, only],
    })
}
