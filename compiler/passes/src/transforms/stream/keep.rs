//! Which frames a step keeps for the next one, and which it makes again of others that are kept.
//!
//! A residual block keeps frames of its input for the sum at its end; its first convolution would keep the same frames
//! again, behind norm and activation. What follows from kept frames by cheap operations within a frame is not kept a
//! second time: those operations are done again, with the same numbers.

use std::collections::{BTreeMap, BTreeSet};

use ltxc_ir::{NodeId, Op};

use super::motion::{Motion, Reach, is_elementwise};
use super::time::Time;

/// The values of which steps keep the last frames.
#[derive(Debug, Default)]
pub struct Kept {
    /// How many.
    frames: BTreeMap<NodeId, i64>,
    /// Values whose earlier frames are made again of those of another.
    roots: BTreeMap<NodeId, NodeId>,
}

impl Kept {
    /// What the operations of a graph need of the frames before.
    pub fn of(time: &Time<'_>) -> Self {
        let mut kept = Self::default();
        for id in time.graph.order() {
            for (read, frames) in needs(time, id) {
                let most = kept.frames.entry(read).or_insert(0);
                *most = frames.max(*most);
            }
        }
        for id in time.graph.order() {
            kept.share(time, id);
        }
        kept
    }

    /// The value of which frames are kept so that a step has those of `id`, and how many.
    pub fn root(&self, id: NodeId) -> (NodeId, i64) {
        let root = self.roots.get(&id).copied().unwrap_or(id);
        (root, self.frames.get(&root).copied().unwrap_or(0))
    }

    /// Frames that a first step has at least of values of which others are made again.
    pub fn shared(&self) -> impl Iterator<Item = (NodeId, i64)> {
        let roots: BTreeSet<NodeId> = self.roots.values().copied().collect();
        roots.into_iter().map(|root| self.root(root))
    }

    /// Makes the frames of a value follow from the nearest one before it that is kept, if that is not more to keep.
    fn share(&mut self, time: &Time<'_>, id: NodeId) {
        let Some(needed) = self.frames.get(&id).copied() else {
            return;
        };
        let mut sources = std::iter::successors(source(time, id), |at| source(time, *at));
        let kept = sources.find(|at| self.frames.contains_key(at) || self.roots.contains_key(at));
        let Some((root, held)) = kept.map(|at| self.root(at)) else {
            return;
        };
        let (own, other) = (bytes(time, id), bytes(time, root));
        if other * held.max(needed) <= other * held + own * needed {
            self.frames.remove(&id);
            self.frames.insert(root, held.max(needed));
            self.roots.insert(id, root);
        }
    }
}

/// The frames of the steps before that an operation reads, by what has them.
fn needs(time: &Time<'_>, id: NodeId) -> Vec<(NodeId, i64)> {
    let late = |read: NodeId, lag: i64| (read, lag - time.lags[&read]);
    let reads: Vec<NodeId> = time.flowing(id).collect();
    let needs: Vec<(NodeId, i64)> = match (time.motions.get(&id), reads.first()) {
        (None | Some(Motion::Given | Motion::Longer { .. }), _) | (_, None) => Vec::new(),
        (Some(Motion::Window { zeros: 1.., .. }), _) => Vec::new(),
        (Some(motion @ Motion::Window { .. }), Some(read)) => {
            let reach = Reach::of(*motion, time.frames[read], time.lags[read]);
            reach.map(|reach| (*read, reach.kept)).into_iter().collect()
        }
        (Some(Motion::Shorter { end }), Some(read)) => vec![late(*read, *end)],
        (Some(Motion::Framewise | Motion::Regrouped), _) => {
            let latest = reads.iter().map(|read| time.lags[read]).fold(0, i64::max);
            reads.iter().map(|read| late(*read, latest)).collect()
        }
    };
    needs
        .into_iter()
        .filter(|(_, frames)| *frames > 0)
        .collect()
}

/// What a value is made of, frame by frame and cheaply, if that is one value with frames.
pub fn source(time: &Time<'_>, id: NodeId) -> Option<NodeId> {
    let cheap = match time.motions.get(&id)? {
        Motion::Longer { .. } => true,
        Motion::Framewise => is_cheap(&time.graph.node(id).op),
        _ => false,
    };
    let reads: BTreeSet<NodeId> = time.flowing(id).collect();
    reads.first().copied().filter(|_| cheap && reads.len() == 1)
}

fn is_cheap(op: &Op) -> bool {
    let within = matches!(
        op,
        Op::RmsNorm(_)
            | Op::LayerNorm(_)
            | Op::Mean(_)
            | Op::Expand(_)
            | Op::Transpose(_)
            | Op::Reshape(_)
            | Op::Select(_)
            | Op::Slice(_)
            | Op::Pad(_)
    );
    within || is_elementwise(op)
}

/// Bytes of a frame, for sizes that are all as large.
fn bytes(time: &Time<'_>, id: NodeId) -> i64 {
    const SIZE: i64 = 32;
    let (fact, frames) = (&time.graph.node(id).fact, time.frames[&id]);
    let sizes = fact
        .shape
        .iter()
        .enumerate()
        .filter(|(axis, _)| *axis != frames.axis);
    let sizes = sizes.map(|(_, size)| size.eval(&|_| Some(SIZE)).unwrap_or(1));
    fact.dtype.bytes() as i64 * sizes.product::<i64>()
}
