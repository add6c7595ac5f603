//! How a component is cut into pieces of time and tiles of its frames, so that it needs no more memory than it may.
//!
//! The manifest says of each stage what it keeps and what its steps need, as polynomials of their sizes. Nothing is cut
//! that fits: first, fewer frames are taken at a time by the stage that needs the most, then its frames are computed in
//! more tiles. A tile is computed with a margin, so tiles cost work, and memory for the states of the margin.

use std::collections::BTreeMap;
use std::fmt;

use ltxc_bundle::{Flow, Side, StageMemory, Stream, StreamStage};

use super::RunError;
use super::size::Size;

/// Bytes of a step beyond which it takes fewer frames where it may take many.
const STEP: u64 = 1 << 28;
/// Pixels that a step computes at least where the program chooses: fewer would not keep a processor busy.
const PIXELS: usize = 1 << 22;
/// A tile is at least so many times as long as its margin on one side: half of it is kept.
const MARGINS: usize = 4;
/// Attempts to come below a budget.
const ATTEMPTS: usize = 256;

/// A tile along one side, in units of its stage: what is computed, and which of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// The first unit that is computed.
    pub start: usize,
    /// Units that are computed.
    pub length: usize,
    /// The first unit that is kept.
    pub from: usize,
    /// The unit behind the last one that is kept.
    pub to: usize,
}

/// So many tiles along a side, all of the same length, each with the margin it needs. None where they would be nothing
/// but margin.
pub(super) fn spans(total: usize, tiles: usize, halo: usize) -> Option<Vec<Span>> {
    let length = (total + 2 * halo * (tiles - 1)).div_ceil(tiles);
    let kept = length.checked_sub(2 * halo).filter(|kept| *kept > 0);
    if tiles == 1 {
        let (start, from, to) = (0, 0, total);
        return Some(vec![Span {
            start,
            length,
            from,
            to,
        }]);
    }
    let (kept, mut from) = (kept?, 0);
    let span = |at: usize| {
        let start = (at * kept).min(total - length);
        let to = if at + 1 == tiles {
            total
        } else {
            start + length - halo
        };
        let span = Span {
            start,
            length,
            from,
            to,
        };
        from = to;
        span
    };
    let spans: Vec<Span> = (0..tiles).map(span).collect();
    spans
        .iter()
        .all(|span| span.from < span.to)
        .then_some(spans)
}

/// How one stage is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StageCut {
    /// Units of time that a step takes at most, but for the first.
    pub most: usize,
    /// Tiles along rows and columns.
    pub tiles: [usize; 2],
}

/// How a component is computed in pieces.
#[derive(Clone, Debug)]
pub struct Cuts {
    /// Latent frames at a time.
    pub frames: usize,
    /// Bytes that it needs, weights included, but not those of the whole video.
    pub bytes: u64,
    /// Of these, bytes that are kept between steps, of all stages.
    pub kept: u64,
    /// Of these, what the step needs at most that needs the most.
    pub step: u64,
    /// Bytes that it may need.
    pub budget: Option<u64>,
    pub(super) stages: Vec<StageCut>,
    /// Rows and columns of each stage.
    pub(super) extents: Vec<[usize; 2]>,
}

impl Cuts {
    /// How a component is best computed: `None` for at once, where the video is short and the budget allows it.
    ///
    /// `weights` are its bytes when it is loaded, `sizes` its sizes, `shape` that of its first input with frames; `frames`
    /// latent frames stand for so many `pixels`.
    pub fn automatic(
        stream: &Stream,
        weights: u64,
        sizes: &BTreeMap<String, i64>,
        shape: &[usize],
        (frames, pixels): (usize, usize),
        budget: Option<u64>,
    ) -> Result<Option<Self>, RunError> {
        let enough = PIXELS.div_ceil((pixels / frames.max(1)).max(1));
        let known = |name: &str| Some(sizes.get(name).copied().unwrap_or(1));
        let whole = parsed(&stream.whole).map_err(RunError::Manifest)?;
        let whole = weights + largest(&whole, &known);
        let fits = budget.is_none_or(|budget| whole <= budget);
        if enough >= frames && fits {
            return Ok(None);
        }
        let planner = Planner::new(stream, sizes, shape)?;
        Ok(Some(planner.cut(enough.min(frames), budget)))
    }

    /// The most tiles of a frame in a stage, along rows and columns.
    pub fn tiles(&self) -> [usize; 2] {
        let tiles = self.stages.iter().map(|cut| cut.tiles);
        tiles
            .max_by_key(|[rows, columns]| rows * columns)
            .unwrap_or([1, 1])
    }
}

/// `4 latent frames at a time, in up to 2x3 tiles, with 2.10 GB of 4.00 GB`
impl fmt::Display for Cuts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gb = |bytes: u64| match bytes {
            100_000_000.. => format!("{:.2} GB", bytes as f64 / 1e9),
            _ => format!("{:.2} MB", bytes as f64 / 1e6),
        };
        let many = if self.frames == 1 { "" } else { "s" };
        write!(f, "{} latent frame{many} at a time", self.frames)?;
        let [rows, columns] = self.tiles();
        if rows * columns > 1 {
            write!(f, ", in up to {rows}x{columns} tiles")?;
        }
        match self.budget {
            None => Ok(()),
            Some(budget) if self.bytes <= budget => {
                write!(f, ", with {} of {}", gb(self.bytes), gb(budget))
            }
            Some(budget) => write!(
                f,
                ", with {}, over the budget of {}: it cannot be less",
                gb(self.bytes),
                gb(budget)
            ),
        }
    }
}

/// What decides how stages are cut.
pub(super) struct Planner<'a> {
    /// The input that decides how much comes at a time.
    given: &'a Flow,
    /// Units of time of the whole video, counted by that input.
    total: usize,
    stages: &'a [StreamStage],
    needs: Vec<Needs>,
    /// Units of time of the whole video, in each stage.
    units: Vec<usize>,
    /// Rows and columns in each stage; ones where it has no tiles.
    extents: Vec<[usize; 2]>,
    /// The component's sizes, which are those of a stage that has no tiles.
    sizes: &'a BTreeMap<String, i64>,
}

impl<'a> Planner<'a> {
    /// For a stream whose first input has this shape.
    pub fn new(
        stream: &'a Stream,
        sizes: &'a BTreeMap<String, i64>,
        shape: &[usize],
    ) -> Result<Self, RunError> {
        let none = || RunError::Manifest("a stream has no frames".to_owned());
        let (stages, given) = (&stream.stages, stream.frames.first().ok_or_else(none)?);
        let frames = shape.get(given.axis).copied().unwrap_or(0);
        let needs = stages.iter().map(|stage| Needs::of(&stage.memory));
        let mut planner = Self {
            given,
            total: units(given, frames),
            stages,
            needs: needs
                .collect::<Result<_, _>>()
                .map_err(RunError::Manifest)?,
            units: Vec::new(),
            extents: Vec::new(),
            sizes,
        };
        let mut shape = shape.to_vec();
        for stage in stages {
            let Some((flow, output)) = stage.frames.first().zip(stage.outputs.first()) else {
                continue;
            };
            let at = |axis: usize| shape.get(axis).copied().unwrap_or(1);
            let units = units(flow, at(flow.axis));
            let made = (units * output.rate) as i64 + output.offset;
            let mut extent = [1, 1];
            let mut next = vec![1; shape.len()];
            if let Some(place) = next.get_mut(output.axis) {
                *place = usize::try_from(made).unwrap_or(0);
            }
            for (side, extent) in stage.sides.iter().flatten().zip(&mut extent) {
                if let Some(along) = side.along.get(&flow.name) {
                    *extent = at(along.axis) / along.rate;
                }
                if let Some(along) = side.along.get(&output.name) {
                    next.resize(next.len().max(along.axis + 1), 1);
                    next[along.axis] = *extent * along.rate;
                }
            }
            planner.units.push(units);
            planner.extents.push(extent);
            shape = next;
        }
        Ok(planner)
    }

    /// Pieces of at most so many units of the first stage, and less where the budget asks for it.
    pub fn cut(&self, most: usize, budget: Option<u64>) -> Cuts {
        let most = most.min(self.total).max(1);
        let mut cuts = self.begin(most);
        let mut best = cuts.clone();
        for _ in 0..ATTEMPTS {
            let enough = budget.is_none_or(|budget| self.bytes(&best) <= budget);
            let cut = (!enough).then(|| self.less(&cuts)).flatten();
            let Some(cut) = cut else { break };
            cuts = cut;
            if self.bytes(&cuts) < self.bytes(&best) {
                best.clone_from(&cuts);
            }
        }
        let first = self.stages.first().and_then(|stage| stage.frames.first());
        let frames = match (budget, best.first().zip(first)) {
            (Some(_), Some((cut, flow))) => cut.most * flow.rate / self.given.rate,
            _ => most,
        };
        let frames = frames.clamp(1, most);
        Cuts {
            frames,
            bytes: self.bytes(&best),
            kept: self.kept(&best),
            step: self.largest_step(&best),
            budget,
            stages: best,
            extents: self.extents.clone(),
        }
    }

    /// As many units as keep a step below what is enough for it.
    fn begin(&self, most: usize) -> Vec<StageCut> {
        let mut given = most * self.given.rate;
        let stages = self.stages.iter().enumerate();
        let begin = |(at, stage): (usize, &StreamStage)| {
            let (rate, made) = (stage.frames.first(), stage.outputs.first());
            given = (given / rate.map_or(1, |flow| flow.rate)).max(1);
            let tiles = [1, 1];
            let mut most = given;
            while most > 1 && self.step(at, &self.needs[at].next, most, tiles) > STEP {
                most = most.div_ceil(2);
            }
            given *= made.map_or(1, |flow| flow.rate);
            StageCut { most, tiles }
        };
        stages.map(begin).collect()
    }

    /// The stages with less for the one that needs the most; none where that one cannot do with less.
    fn less(&self, cuts: &[StageCut]) -> Option<Vec<StageCut>> {
        let needed = cuts
            .iter()
            .enumerate()
            .map(|(at, cut)| (self.transient(at, *cut), at));
        let mut by_need: Vec<(u64, usize)> = needed.collect();
        by_need.sort_unstable();
        let (_, at) = *by_need.last()?;
        let mut less = cuts.to_vec();
        less[at] = match less[at] {
            cut if cut.most > 1 => StageCut {
                most: cut.most.div_ceil(2),
                ..cut
            },
            cut => self.split(at, cut)?,
        };
        Some(less)
    }

    /// One more tile along the side on which a tile is longer.
    fn split(&self, at: usize, cut: StageCut) -> Option<StageCut> {
        let sides = self.stages[at].sides.as_ref()?;
        let window = self.window(at, cut.tiles)?;
        let order = if window[0] >= window[1] {
            [0, 1]
        } else {
            [1, 0]
        };
        order.into_iter().find_map(|side| {
            let mut tiles = cut.tiles;
            tiles[side] += 1;
            let (length, halo) = (self.window(at, tiles)?[side], sides[side].halo);
            let worth = length < window[side] && length >= MARGINS * halo;
            worth.then_some(StageCut { tiles, ..cut })
        })
    }

    /// Rows and columns of a tile with its margin.
    fn window(&self, at: usize, tiles: [usize; 2]) -> Option<[usize; 2]> {
        let sides = self.stages[at].sides.as_ref();
        let along = |side: usize| match (tiles[side], sides) {
            (1, _) => Some(self.extents[at][side]),
            (_, None) => None,
            (count, Some(sides)) => {
                let spans = spans(self.extents[at][side], count, sides[side].halo)?;
                spans.first().map(|span| span.length)
            }
        };
        Some([along(0)?, along(1)?])
    }

    /// Bytes at the peak.
    fn bytes(&self, cuts: &[StageCut]) -> u64 {
        let weights: u64 = self.stages.iter().map(|stage| stage.memory.weights).sum();
        let stages = cuts.iter().copied().enumerate();
        let waiting: u64 = stages.map(|(at, cut)| self.waiting(at, cut)).sum();
        weights + waiting + self.kept(cuts) + self.largest_step(cuts)
    }

    fn kept(&self, cuts: &[StageCut]) -> u64 {
        let stages = cuts.iter().copied().enumerate();
        stages.map(|(at, cut)| self.states(at, cut)).sum()
    }

    fn largest_step(&self, cuts: &[StageCut]) -> u64 {
        let stages = cuts.iter().copied().enumerate();
        let steps = stages.map(|(at, cut)| self.transient(at, cut));
        steps.max().unwrap_or(0)
    }

    fn states(&self, at: usize, cut: StageCut) -> u64 {
        let [rows, columns] = cut.tiles;
        (rows * columns) as u64
            * self.step(
                at,
                std::slice::from_ref(&self.needs[at].states),
                1,
                cut.tiles,
            )
    }

    /// What waits for the next stage: what a step makes.
    fn waiting(&self, at: usize, cut: StageCut) -> u64 {
        self.step(
            at,
            std::slice::from_ref(&self.needs[at].results),
            cut.most,
            [1, 1],
        )
    }

    /// What a step needs at most beside what is kept.
    fn transient(&self, at: usize, cut: StageCut) -> u64 {
        let (needs, total) = (&self.needs[at], self.units[at]);
        let begin = self.stages[at].least + cut.most - 1;
        let step = |kind: &[Size], units: usize| self.step(at, kind, units, cut.tiles);
        if total <= begin {
            return step(&needs.only, total);
        }
        let steps = [
            step(&needs.first, begin),
            step(&needs.next, cut.most),
            step(&needs.last, cut.most),
        ];
        steps.into_iter().max().unwrap_or(0)
    }

    fn step(&self, at: usize, sizes: &[Size], units: usize, tiles: [usize; 2]) -> u64 {
        let stage = &self.stages[at];
        let window = self.window(at, tiles).unwrap_or(self.extents[at]);
        let known = |name: &str| {
            let side = |side: &Side| side.size == name;
            let side = stage.sides.iter().flatten().position(side);
            match side {
                Some(side) => i64::try_from(window[side]).ok(),
                None if name == stage.memory.unit => i64::try_from(units).ok(),
                None => Some(self.sizes.get(name).copied().unwrap_or(1)),
            }
        };
        largest(sizes, &known)
    }
}

/// Units of time in so many frames.
pub(super) fn units(flow: &Flow, frames: usize) -> usize {
    let units = (frames as i64 - flow.offset) / flow.rate as i64;
    usize::try_from(units).unwrap_or(0)
}

/// The largest of some sizes.
fn largest(sizes: &[Size], known: &dyn Fn(&str) -> Option<i64>) -> u64 {
    let value = |size: &Size| {
        size.value(known)
            .map_or(u64::MAX >> 8, |value| value.max(0) as u64)
    };
    sizes.iter().map(value).max().unwrap_or(0)
}

/// The written sizes, or which one cannot be read.
fn parsed(sizes: &[String]) -> Result<Vec<Size>, String> {
    let parse = |text: &String| {
        text.parse()
            .map_err(|_| format!("`{text}` is no number of bytes"))
    };
    sizes.iter().map(parse).collect()
}

/// What a stage needs, read.
struct Needs {
    states: Size,
    results: Size,
    first: Vec<Size>,
    next: Vec<Size>,
    last: Vec<Size>,
    only: Vec<Size>,
}

impl Needs {
    fn of(memory: &StageMemory) -> Result<Self, String> {
        let one = |text: &String| Ok::<_, String>(parsed(std::slice::from_ref(text))?.remove(0));
        Ok(Self {
            states: one(&memory.states)?,
            results: one(&memory.results)?,
            first: parsed(&memory.first)?,
            next: parsed(&memory.next)?,
            last: parsed(&memory.last)?,
            only: parsed(&memory.only)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_a_side_once_and_have_their_margin() {
        for total in 1..40 {
            for (tiles, halo) in (1..6).flat_map(|tiles| (0..5).map(move |halo| (tiles, halo))) {
                let Some(spans) = spans(total, tiles, halo) else {
                    continue;
                };
                let mut at = 0;
                for span in &spans {
                    assert_eq!(span.from, at, "{total} in {tiles} with {halo}: {spans:?}");
                    assert!(span.start == 0 || span.from - span.start >= halo);
                    let end = span.start + span.length;
                    assert!(end <= total && (end == total || end - span.to >= halo));
                    assert_eq!(span.length, spans[0].length);
                    at = span.to;
                }
                assert_eq!((at, spans.len()), (total, tiles));
            }
        }
    }
}
