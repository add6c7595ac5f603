//! The graph of a step: what a stage does with one piece of the video.

use std::collections::BTreeMap;

use ltxc_ir::attrs::{Per, Source};
use ltxc_ir::op::{Concat, Conv3d, Input, Pad, PadMode, Slice};
use ltxc_ir::{Fact, Graph, GraphError, NodeId, Op, Origin, Size};

use super::cut::swept;
use super::keep;
use super::motion::{Motion, Reach};
use super::time::Time;
use super::{Kind, State, StreamError};

/// Builds the step of a kind, and says what it reads from the step before or leaves for the next.
pub fn build(time: &Time<'_>, kind: Kind) -> Result<(Graph, Vec<State>), StreamError> {
    let graph = time.graph;
    let mut step = Graph::new(format!("{}.{}", graph.name, kind.name()));
    step.doc.clone_from(&graph.doc);
    step.sizes = graph.sizes.clone();
    if let Some(range) = step.sizes.0.get_mut(&time.symbol) {
        (range.min, range.max) = (time.least(kind), i64::from(i32::MAX));
    }
    let mut builder = Builder {
        time,
        kind,
        step,
        made: BTreeMap::new(),
        again: BTreeMap::new(),
        seen: BTreeMap::new(),
        states: Vec::new(),
        kept: Vec::new(),
    };
    for id in graph.order() {
        let made = builder.node(id)?;
        builder.made.insert(id, made);
    }
    for (name, id) in graph.graph_outputs() {
        builder.step.output(name, builder.made[id]);
    }
    for (name, id) in std::mem::take(&mut builder.kept) {
        builder.step.output(&name, id);
    }
    Ok((swept(&builder.step)?, builder.states))
}

struct Builder<'a, 'g> {
    time: &'a Time<'g>,
    kind: Kind,
    step: Graph,
    /// The values of the step by those of the graph.
    made: BTreeMap<NodeId, NodeId>,
    /// Values with frames before them that were made again, by those of the graph.
    again: BTreeMap<NodeId, NodeId>,
    /// Values with some frames before them, by their names in the graph, which are the same in every step, and how many.
    seen: BTreeMap<(String, i64), NodeId>,
    states: Vec<State>,
    /// Outputs behind those of the graph.
    kept: Vec<(String, NodeId)>,
}

impl Builder<'_, '_> {
    fn node(&mut self, id: NodeId) -> Result<NodeId, GraphError> {
        let inputs = self.time.graph.inputs_of(id).into_iter();
        let mut inputs: Vec<_> = inputs.map(|x| x.map(|x| self.made[&x])).collect();
        let op = self.time.graph.node(id).op.clone();
        let Some(motion) = self.time.motions.get(&id).copied() else {
            return self.copy(id, op, &inputs);
        };
        match (motion, op) {
            (Motion::Longer { .. }, Op::Pad(pad)) => self.longer(id, &pad),
            (Motion::Shorter { end }, Op::Slice(slice)) => self.shorter(id, end, &slice),
            (Motion::Window { zeros, .. }, Op::Conv3d(conv)) => {
                let read = self.time.flowing(id).next().expect("a window reads frames");
                inputs[0] = Some(self.window(id, read, motion, zeros)?);
                let [_, rows, columns] = conv.pad;
                let pad = [0, rows, columns];
                self.copy(id, Conv3d { pad, ..conv }.into(), &inputs)
            }
            (_, op) => {
                for (port, read) in self.time.graph.inputs_of(id).into_iter().enumerate() {
                    if let Some(read) = read.filter(|x| self.time.frames.contains_key(x)) {
                        let late = self.time.flowing(id).map(|x| self.time.lags[&x]);
                        let late = late.fold(0, i64::max) - self.time.lags[&read];
                        inputs[port] = Some(self.delayed(read, late)?);
                    }
                }
                let op = self.counted(id, op, 0);
                self.copy(id, op, &inputs)
            }
        }
    }

    /// The operation with the number of frames that this step makes, and some before them.
    fn counted(&self, id: NodeId, mut op: Op, before: i64) -> Op {
        let frames = self.time.frames[&id];
        let count = self.time.frames_at(frames, self.time.lags[&id], self.kind);
        let count = count + Size::from(before);
        match &mut op {
            Op::Input(input) => input.shape[frames.axis] = count,
            Op::Reshape(reshape) => reshape.to[frames.axis] = count,
            Op::Expand(expand) => expand.to[frames.axis] = count,
            _ => {}
        }
        op
    }

    /// More frames where the video begins and where it ends.
    fn longer(&mut self, id: NodeId, pad: &Pad) -> Result<NodeId, GraphError> {
        let read = self.time.flowing(id).next().expect("it reads frames");
        match self.pad(pad) {
            None => Ok(self.made[&read]),
            Some(pad) => self.copy(id, pad.into(), &[Some(self.made[&read])]),
        }
    }

    /// What of a padding over time falls into this step.
    fn pad(&self, pad: &Pad) -> Option<Pad> {
        let before = if self.kind.begins() { pad.before } else { 0 };
        let after = if self.kind.ends() { pad.after } else { 0 };
        (before + after > 0).then(|| Pad {
            before,
            after,
            ..pad.clone()
        })
    }

    /// Fewer frames where the video begins and where it ends.
    fn shorter(&mut self, id: NodeId, end: i64, slice: &Slice) -> Result<NodeId, GraphError> {
        let read = self.time.flowing(id).next().expect("it reads frames");
        let x = self.delayed(read, (end - self.time.lags[&read]).max(0))?;
        let start = if self.kind.begins() { slice.start } else { 0 };
        let end = (self.kind.ends() && end > 0).then_some(-end);
        if start == 0 && end.is_none() {
            return Ok(x);
        }
        let slice = Slice {
            start,
            end,
            ..slice.clone()
        };
        self.copy(id, slice.into(), &[Some(x)])
    }

    /// Zeros around the frames of the whole video.
    fn padded(&mut self, id: NodeId, x: NodeId, zeros: i64) -> Result<NodeId, GraphError> {
        let at = |there: bool| if there { zeros as usize } else { 0 };
        let (before, after) = (at(self.kind.begins()), at(self.kind.ends()));
        if before + after == 0 {
            return Ok(x);
        }
        let mode = PadMode::Zero;
        let axis = 2;
        let pad = Pad {
            axis,
            before,
            after,
            mode,
        };
        let name = format!("{}.padded", self.name(id));
        self.add(&name, pad.into(), &[x])
    }

    /// What the windows of this step read: frames of the step before, and what came.
    fn window(
        &mut self,
        id: NodeId,
        read: NodeId,
        motion: Motion,
        zeros: i64,
    ) -> Result<NodeId, GraphError> {
        let (frames, lag) = (self.time.frames[&read], self.time.lags[&read]);
        let reach = Reach::of(motion, frames, lag);
        let kept = reach.expect("the lag was computed from it").kept;
        if zeros == 0 {
            return self.seen(read, kept);
        }
        let x = self.padded(id, self.made[&read], zeros)?;
        self.remembered(&format!("{}.padded", self.name(id)), x, frames.axis, kept)
    }

    /// The frames of a value, `late` of them later.
    fn delayed(&mut self, read: NodeId, late: i64) -> Result<NodeId, GraphError> {
        if late == 0 || self.kind == Kind::Only {
            return Ok(self.made[&read]);
        }
        let (all, axis) = (self.seen(read, late)?, self.time.frames[&read].axis);
        match self.kind.ends() {
            true => Ok(all),
            false => self.slice(
                &format!("{}.late", self.name(read)),
                all,
                axis,
                0,
                Some(-late),
            ),
        }
    }

    /// A value with the `wanted` frames before those of this step in front, if it is not the first one.
    fn seen(&mut self, id: NodeId, wanted: i64) -> Result<NodeId, GraphError> {
        let (root, held) = self.time.kept.root(id);
        let axis = self.time.frames[&root].axis;
        let all = self.remembered(&self.name(root), self.made[&root], axis, held)?;
        if self.kind.begins() {
            return Ok(self.made[&id]);
        }
        self.again.insert(root, all);
        let (all, axis) = (self.again(id, held)?, self.time.frames[&id].axis);
        match held - wanted {
            0 => Ok(all),
            more => self.slice(&format!("{}.of", self.name(id)), all, axis, more, None),
        }
    }

    /// A value with frames before those of this step in front, made of another that has `before` of them.
    fn again(&mut self, id: NodeId, before: i64) -> Result<NodeId, GraphError> {
        if let Some(known) = self.again.get(&id) {
            return Ok(*known);
        }
        let source = keep::source(self.time, id).expect("a root lies before it");
        let x = self.again(source, before)?;
        let node = self.time.graph.node(id);
        let op = match (&node.op, self.time.motions[&id]) {
            (Op::Pad(pad), Motion::Longer { .. }) => self.pad(pad).map(Op::from),
            (op, _) => Some(self.counted(id, op.clone(), before)),
        };
        let again = match op {
            None => x,
            Some(op) => {
                let reads = self.time.graph.inputs_of(id).into_iter();
                let made = |read: NodeId| if read == source { x } else { self.made[&read] };
                let inputs: Vec<_> = reads.map(|read| read.map(made)).collect();
                let name = self.free(&format!("{}.again", node.name));
                self.step.add(&name, op, &inputs, node.origin.clone())?
            }
        };
        self.again.insert(id, again);
        Ok(again)
    }

    /// A value with the last `kept` frames of the step before in front; it leaves as many for the next.
    fn remembered(
        &mut self,
        name: &str,
        x: NodeId,
        axis: usize,
        kept: i64,
    ) -> Result<NodeId, GraphError> {
        if let Some(known) = self.seen.get(&(name.to_owned(), kept)) {
            return Ok(*known);
        }
        let mut all = x;
        let fact = self.fact_of_state(x, axis, kept);
        let before = self.free(&format!("{name}.before"));
        let output = format!("{}.kept", before.trim_end_matches(".before"));
        if !self.kind.begins() && kept > 0 {
            let input = Input {
                dtype: fact.dtype,
                shape: fact.shape.clone(),
                source: None::<Source>,
                per: Per::Step,
            };
            let state = self.add(&before, input.into(), &[])?;
            let concat = Concat { axis: axis as i64 };
            all = self.add(&format!("{name}.seen"), concat.into(), &[state, x])?;
        }
        if !self.kind.ends() && kept > 0 {
            let last = self.slice(&output, all, axis, -kept, None)?;
            self.kept.push((output.clone(), last));
        }
        if kept > 0 {
            self.states.push(State {
                input: before,
                output,
                fact,
            });
        }
        self.seen.insert((name.to_owned(), kept), all);
        Ok(all)
    }

    fn fact_of_state(&self, x: NodeId, axis: usize, kept: i64) -> Fact {
        let fact = &self.step.node(x).fact;
        let mut shape = fact.shape.clone();
        shape[axis] = Size::from(kept);
        fact.with_shape(shape)
    }

    fn slice(
        &mut self,
        name: &str,
        x: NodeId,
        axis: usize,
        start: i64,
        end: Option<i64>,
    ) -> Result<NodeId, GraphError> {
        let axis = axis as i64;
        self.add(name, Slice { axis, start, end }.into(), &[x])
    }

    fn add(&mut self, name: &str, op: Op, inputs: &[NodeId]) -> Result<NodeId, GraphError> {
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let origin = Origin {
            source: None,
            rule: Some("stream".to_owned()),
        };
        let name = self.free(name);
        self.step.add(&name, op, &inputs, origin)
    }

    fn copy(
        &mut self,
        id: NodeId,
        op: Op,
        inputs: &[Option<NodeId>],
    ) -> Result<NodeId, GraphError> {
        let node = self.time.graph.node(id);
        self.step.add(&node.name, op, inputs, node.origin.clone())
    }

    fn name(&self, id: NodeId) -> String {
        self.time.graph.node(id).name.clone()
    }

    /// A name that neither the step nor the graph has.
    fn free(&self, wanted: &str) -> String {
        let taken = |name: &str| {
            let states = self.states.iter().any(|state| state.input == name);
            states || self.step.find(name).is_some() || self.time.graph.find(name).is_some()
        };
        let numbered = (2..).map(|n| format!("{wanted}_{n}"));
        let mut names = std::iter::once(wanted.to_owned()).chain(numbered);
        names
            .find(|name| !taken(name))
            .expect("there is always another number")
    }
}
