//! What an operation does with frames, or with rows or columns: whatever a size of the graph counts.

use ltxc_ir::op::{Conv3d, Pad, Slice};
use ltxc_ir::{NodeId, Op, Size, resolve_axis};

use super::time::{Frames, Time};

/// How frames of the result follow from frames of what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Motion {
    /// It is an input of the graph.
    Given,
    /// Each from those of the same moment.
    Framewise,
    /// As they are, and more of them before the first and after the last.
    Longer { after: i64 },
    /// As they are, but for some at the beginning and some at the end.
    Shorter { end: i64 },
    /// Each from `kernel` in a row, every `stride` of them, with zeros at both ends.
    Window {
        kernel: i64,
        stride: i64,
        zeros: i64,
    },
    /// Each becomes several, or several become one.
    Regrouped,
}

/// What the operation of a value that has frames does.
pub fn of(time: &Time<'_>, id: NodeId) -> Result<Motion, String> {
    let own = time.frames[&id];
    let first = time.graph.inputs_of(id).first().copied().flatten();
    let read = first.and_then(|x| time.frames.get(&x)).copied();
    let axis_of = |axis: i64| {
        let rank = first.map_or(0, |x| time.graph.node(x).fact.rank());
        resolve_axis(axis, rank)
    };
    let in_time = |axis: i64| read.is_some_and(|read| axis_of(axis) == Some(read.axis));
    match &time.graph.node(id).op {
        Op::Input(_) => Ok(Motion::Given),
        op if time.flowing(id).next().is_none() => Err(match op {
            Op::Iota(_) | Op::Linspace(_) => "it counts the frames of the whole video".to_owned(),
            _ => "it has frames, and reads none".to_owned(),
        }),
        op if is_elementwise(op) => aligned(time, id, own),
        Op::Expand(_) | Op::Transpose(_) => Ok(Motion::Framewise),
        Op::Concat(concat) if !in_time(concat.axis) => aligned(time, id, own),
        Op::Pad(pad) if in_time(pad.axis) => Ok(longer(pad)),
        Op::Slice(slice) if in_time(slice.axis) => shorter(slice),
        Op::Conv3d(conv) if only_first(time, id) => window(time, id, conv),
        Op::Matmul(_) => product(time, id, own),
        Op::Reshape(_) => regrouped(time, id, own),
        Op::Linear(_) if only_first(time, id) && !in_time(-1) => Ok(Motion::Framewise),
        Op::RmsNorm(norm) if only_first(time, id) && !in_time(norm.axis) => Ok(Motion::Framewise),
        Op::LayerNorm(_) if only_first(time, id) && !in_time(-1) => Ok(Motion::Framewise),
        Op::Softmax(softmax) if !in_time(softmax.axis) => Ok(Motion::Framewise),
        Op::Mean(mean) if !mean.axes.iter().any(|axis| in_time(*axis)) => Ok(Motion::Framewise),
        Op::Select(select) if !in_time(select.axis) => Ok(Motion::Framewise),
        Op::Gather(gather) if only_first(time, id) && !in_time(gather.axis) => {
            Ok(Motion::Framewise)
        }
        Op::Pad(_) | Op::Slice(_) => Ok(Motion::Framewise),
        _ => Err("each frame of its result depends on all frames".to_owned()),
    }
}

/// How late the result is.
pub fn lag(time: &Time<'_>, id: NodeId, motion: Motion) -> Result<i64, String> {
    let latest = time.flowing(id).map(|x| time.lags[&x]).fold(0, i64::max);
    let own = time.frames[&id];
    let read = time.flowing(id).next().map_or(own, |x| time.frames[&x]);
    match motion {
        Motion::Given => Ok(0),
        Motion::Framewise => Ok(latest),
        Motion::Longer { after } => Ok(latest + after),
        Motion::Shorter { end } => Ok((latest - end).max(0)),
        Motion::Window { .. } => {
            let window = Reach::of(motion, read, latest).ok_or("it skips frames between two")?;
            let steps = (window.come - window.kernel - window.over) / window.stride;
            Ok(own.offset - (steps + 1))
        }
        Motion::Regrouped => match (own.rate * latest) % read.rate {
            0 => Ok(own.rate * latest / read.rate),
            _ => Err("a step would end between the frames that it joins".to_owned()),
        },
    }
}

/// What a convolution keeps of the frames it reads.
pub struct Reach {
    kernel: i64,
    stride: i64,
    /// Frames that have come before the units of the first step are counted, with padding.
    come: i64,
    /// Frames behind the last window.
    over: i64,
    /// Frames that later windows read.
    pub kept: i64,
}

impl Reach {
    /// None where the windows leave frames out between two steps.
    pub fn of(motion: Motion, read: Frames, lag: i64) -> Option<Self> {
        let Motion::Window {
            kernel,
            stride,
            zeros,
        } = motion
        else {
            return None;
        };
        let come = read.offset + 2 * zeros - (lag + zeros);
        let over = (come - kernel).rem_euclid(stride);
        let kept = kernel - stride + over;
        (kept >= 0 && read.rate % stride == 0).then_some(Self {
            kernel,
            stride,
            come,
            over,
            kept,
        })
    }
}

/// Operands meet frame by frame: what has no frames has one position there.
fn aligned(time: &Time<'_>, id: NodeId, own: Frames) -> Result<Motion, String> {
    let rank = |id: NodeId| time.graph.node(id).fact.rank();
    let from_end = rank(id) - own.axis;
    for input in time.graph.inputs_of(id).into_iter().flatten() {
        let node = time.graph.node(input);
        let fits = match time.frames.get(&input) {
            Some(frames) => rank(input) - frames.axis == from_end,
            None => {
                let axis = rank(input).checked_sub(from_end);
                axis.is_none_or(|axis| node.fact.shape[axis] == Size::from(1))
            }
        };
        if !fits {
            return Err(format!("frames of `{}` meet those of others", node.name));
        }
    }
    Ok(Motion::Framewise)
}

fn only_first(time: &Time<'_>, id: NodeId) -> bool {
    let first = time.graph.inputs_of(id).first().copied().flatten();
    time.flowing(id).all(|input| Some(input) == first)
}

fn longer(pad: &Pad) -> Motion {
    Motion::Longer {
        after: pad.after as i64,
    }
}

fn shorter(slice: &Slice) -> Result<Motion, String> {
    match (slice.start, slice.end) {
        (0.., None) => Ok(Motion::Shorter { end: 0 }),
        (0.., Some(end)) if end < 0 => Ok(Motion::Shorter { end: -end }),
        _ => Err("it takes frames at a fixed place".to_owned()),
    }
}

fn window(time: &Time<'_>, id: NodeId, conv: &Conv3d) -> Result<Motion, String> {
    let read = time.flowing(id).next().map(|x| time.frames[&x].axis);
    let axis = read.and_then(|axis| axis.checked_sub(2));
    let axis = axis.ok_or("each frame of its result depends on all frames")?;
    let weight = time.graph.inputs_of(id).get(1).copied().flatten();
    let kernel = weight.and_then(|w| time.graph.node(w).fact.shape[2 + axis].as_const());
    Ok(
        match (kernel.unwrap_or(1), conv.stride[axis], conv.pad[axis]) {
            (1, 1, 0) => Motion::Framewise,
            (kernel, stride, zeros) => Motion::Window {
                kernel,
                stride: stride as i64,
                zeros: zeros as i64,
            },
        },
    )
}

/// Frames are rows of the left matrix, or stand beside the matrices.
fn product(time: &Time<'_>, id: NodeId, own: Frames) -> Result<Motion, String> {
    let from_end = time.graph.node(id).fact.rank() - own.axis;
    match from_end {
        2 if only_first(time, id) => aligned_left(time, id),
        3.. => aligned(time, id, own),
        _ => Err("each frame of its result depends on all frames".to_owned()),
    }
}

fn aligned_left(time: &Time<'_>, id: NodeId) -> Result<Motion, String> {
    let left = time.flowing(id).next();
    let rows = left.is_some_and(|x| time.graph.node(x).fact.rank() - time.frames[&x].axis == 2);
    match rows {
        true => Ok(Motion::Framewise),
        false => Err("each frame of its result depends on all frames".to_owned()),
    }
}

/// Frames stay whole, or are split and joined among themselves, if as much lies before their axis as did.
fn regrouped(time: &Time<'_>, id: NodeId, own: Frames) -> Result<Motion, String> {
    let x = time.flowing(id).next().ok_or("it reads no frames")?;
    let read = time.frames[&x];
    let before = |id: NodeId, axis: usize| {
        let sizes = time.graph.node(id).fact.shape[..axis].iter().cloned();
        sizes.fold(Size::from(1), |product, size| product * size)
    };
    let scaled = |a: Frames, b: Frames| a.rate * b.offset == b.rate * a.offset;
    let fits = before(x, read.axis) == before(id, own.axis) && scaled(own, read);
    match (fits, own.rate % read.rate, read.rate % own.rate) {
        (true, ..) if own.rate == read.rate => Ok(Motion::Framewise),
        (true, 0, _) | (true, _, 0) => Ok(Motion::Regrouped),
        _ => Err("it mixes frames with other axes".to_owned()),
    }
}

/// Whether each element of the result is made of the elements at its place.
pub fn is_elementwise(op: &Op) -> bool {
    matches!(
        op,
        Op::Add(_)
            | Op::Sub(_)
            | Op::Mul(_)
            | Op::Div(_)
            | Op::Pow(_)
            | Op::Min(_)
            | Op::Max(_)
            | Op::Less(_)
            | Op::Where(_)
            | Op::Neg(_)
            | Op::Abs(_)
            | Op::Exp(_)
            | Op::Log(_)
            | Op::Sqrt(_)
            | Op::Sin(_)
            | Op::Cos(_)
            | Op::Floor(_)
            | Op::Sigmoid(_)
            | Op::Tanh(_)
            | Op::Silu(_)
            | Op::Gelu(_)
            | Op::Cast(_)
            | Op::Identity(_)
    )
}
