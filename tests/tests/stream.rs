//! Computing a video some frames at a time gives the frames of the whole, however it is cut into pieces; what cannot be
//! computed so is refused by name. Adding a case is adding a file to `transforms/stream`.
#![allow(clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ltxc_front::library::{Shelf, read};
use ltxc_front::{GraphFile, expand};
use ltxc_ir::eval::eval_op;
use ltxc_ir::op::{
    Add, Concat, Conv3d, Expand, Mul, Pad, PadMode, Reshape, RmsNorm, Silu, Slice, Transpose,
    Weight,
};
use ltxc_ir::{Array, Dtype, Graph, NodeId, Op, Origin, Size, parse, print, verify};
use ltxc_passes::transforms::stream::{Flow, Kind, Stage, StreamError, stream};
use ltxc_tests::numbers::{SizeValues, compare, inputs_of, outputs, outputs_of};
use proptest::prelude::*;
use serde_json::{Value, json};

const TOLERANCE: f32 = 1e-5;

/// Tensors by name.
type Arrays = BTreeMap<String, Array>;

fn sliced(array: &Array, axis: usize, start: i64, end: i64) -> Array {
    let (axis, end) = (axis as i64, Some(end));
    let op: Op = Slice { axis, start, end }.into();
    eval_op(&op, &[Some(array)], &|_| None).expect("the frames are there")
}

fn joined(pieces: &[Array], axis: usize) -> Array {
    let op: Op = Concat { axis: axis as i64 }.into();
    let ports: Vec<_> = pieces.iter().map(Some).collect();
    eval_op(&op, &ports, &|_| None).expect("pieces fit")
}

/// Units of time in what a stage is given.
fn units(flow: &Flow, array: &Array) -> i64 {
    (array.shape()[flow.frames.axis] as i64 - flow.frames.offset) / flow.frames.rate
}

/// One stage of a stream at work.
struct Runner<'a> {
    stage: &'a Stage,
    states: Arrays,
    sizes: SizeValues,
    seed: u64,
}

impl Runner<'_> {
    /// What the stage makes of the units from `at` to `at + n`.
    fn step(&mut self, kind: Kind, given: &Arrays, at: i64, n: i64) -> Arrays {
        let mut inputs = given.clone();
        for flow in &self.stage.inputs {
            let frames = flow.frames;
            let begin = if at == 0 {
                0
            } else {
                frames.rate * at + frames.offset
            };
            let end = frames.rate * (at + n) + frames.offset;
            inputs.insert(
                flow.name.clone(),
                sliced(&given[&flow.name], frames.axis, begin, end),
            );
        }
        let graph = self.stage.step(kind);
        inputs.extend(std::mem::take(&mut self.states));
        inputs.retain(|name, _| graph.find(name).is_some());
        self.sizes.insert("frames".to_owned(), n);
        let mut made = outputs_of(graph, &inputs, &self.sizes, self.seed)
            .unwrap_or_else(|e| panic!("{}: {e}\n{}", kind.name(), print(graph)));
        for state in &self.stage.states {
            if let Some(value) = made.remove(&state.output) {
                self.states.insert(state.input.clone(), value);
            }
        }
        made
    }

    /// All steps; `pieces` says how many units each takes, as far as that is possible.
    fn all(&mut self, given: &Arrays, pieces: &mut dyn Iterator<Item = i64>) -> Arrays {
        let first = self.stage.inputs.first().expect("a stage reads frames");
        let total = units(first, &given[&first.name]);
        if total <= self.stage.least {
            return self.step(Kind::Only, given, 0, total);
        }
        let mut made: BTreeMap<String, Vec<Array>> = BTreeMap::new();
        let mut at = 0;
        while at < total {
            let least = if at == 0 { self.stage.least } else { 1 };
            let most = if at == 0 { total - 1 } else { total - at };
            let n = pieces
                .next()
                .expect("pieces do not end")
                .max(least)
                .min(most);
            let kind = match (at, at + n == total) {
                (0, _) => Kind::First,
                (_, false) => Kind::Next,
                (_, true) => Kind::Last,
            };
            for (name, value) in self.step(kind, given, at, n) {
                made.entry(name).or_default().push(value);
            }
            at += n;
        }
        let outputs = self.stage.outputs.iter();
        let joined = outputs.map(|flow| {
            let pieces = &made[&flow.name];
            (flow.name.clone(), joined(pieces, flow.frames.axis))
        });
        joined.collect()
    }
}

/// The sizes of a stage, which counts rows and columns in units of its own.
fn sizes_in(stage: &Stage, whole: &SizeValues) -> SizeValues {
    let mut sizes = whole.clone();
    for side in &stage.sides {
        let units = sizes[&side.size] * side.rate;
        sizes.insert(side.size.clone(), units);
    }
    sizes
}

/// Compares the stages with the whole, for a video of `frames` units.
fn check(
    graph: &Graph,
    stages: &[Stage],
    frames: i64,
    pieces: &[i64],
    seed: u64,
) -> Result<(), String> {
    let mut sizes: SizeValues = graph.sizes.0.keys().map(|name| (name.clone(), 2)).collect();
    sizes.insert("B".to_owned(), 1);
    sizes.insert("frames".to_owned(), frames);
    let whole = outputs(graph, &sizes, seed)?;
    let mut given = inputs_of(graph, &sizes, seed)?;
    let mut pieces = pieces.iter().copied().cycle();
    for stage in stages {
        let sizes = sizes_in(stage, &sizes);
        for graph in &stage.steps {
            let errors = verify(graph.clone()).err().unwrap_or_default();
            assert_eq!(errors, [], "{}", print(graph));
        }
        let states = Arrays::new();
        let mut runner = Runner {
            stage,
            states,
            sizes,
            seed,
        };
        let made = runner.all(&given, &mut pieces);
        given.extend(made);
    }
    given.retain(|name, _| whole.contains_key(name));
    compare(&whole, &given, TOLERANCE)
}

fn describe(stages: &[Stage]) -> String {
    let mut text = String::new();
    for (at, stage) in stages.iter().enumerate() {
        let late: Vec<i64> = stage.outputs.iter().map(|flow| flow.lag).collect();
        text += &format!(
            "; stage {at}: starts with {}, lags by {late:?}, keeps {} bytes\n",
            stage.least,
            stage.state_bytes()
        );
        for kind in [Kind::First, Kind::Next, Kind::Last] {
            text += &format!("{}\n", print(stage.step(kind)));
        }
    }
    text
}

#[test]
fn fixtures_stream_or_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("transforms/stream");
    let entries = fs::read_dir(&folder).expect("fixtures are there");
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let ltxir = |path: &PathBuf| path.extension().is_some_and(|end| end == "ltxir");
    let mut paths: Vec<PathBuf> = paths.filter(ltxir).collect();
    paths.sort();
    for path in paths {
        let text = fs::read_to_string(&path).expect("a fixture can be read");
        let graph = parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let name = path
            .file_stem()
            .expect("files have names")
            .to_string_lossy();
        let text = match stream(&graph) {
            Err(why) => format!("{why}\n"),
            Ok(stages) => {
                for (frames, pieces) in [(1, 1), (9, 1), (9, 2), (12, 5)] {
                    check(&graph, &stages, frames, &[pieces], 3)
                        .unwrap_or_else(|e| panic!("{name}, {frames} by {pieces}: {e}"));
                }
                describe(&stages)
            }
        };
        assert_eq!(
            text.lines().count() == 1,
            name.starts_with("declines"),
            "{name}: {text}"
        );
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(&folder);
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!(name.into_owned(), text));
    }
}

/// A component of LTX-Video, as a checkpoint with this config has it.
fn component(name: &str, config: &Value) -> Graph {
    let source = read(Shelf::Graphs, name, Path::new(".")).expect("it comes with the program");
    let file = GraphFile::read(&source).expect("it is a graph");
    expand(&file, config, &BTreeMap::new()).unwrap_or_else(|e| panic!("{e:?}"))
}

fn decoder(blocks: Value, timed: bool, causal: bool) -> Graph {
    let config = json!({"vae": {
        "dims": 3, "norm_layer": "pixel_norm", "use_quant_conv": false, "latent_channels": 2, "patch_size": 1,
        "decoder_base_channels": 4, "decoder_blocks": blocks, "timestep_conditioning": timed, "causal_decoder": causal,
    }});
    component("ltxv/vae_decoder", &config)
}

fn encoder(blocks: Value) -> Graph {
    let config = json!({"vae": {
        "dims": 3, "norm_layer": "pixel_norm", "use_quant_conv": false, "latent_log_var": "uniform", "latent_channels": 2,
        "patch_size": 1, "encoder_base_channels": 2, "encoder_blocks": blocks,
    }});
    component("ltxv/vae_encoder", &config)
}

#[test]
fn what_is_kept_follows_from_less_where_it_can() {
    let graph = &components()[0];
    let stages = stream(graph).expect("it streams");
    // Two latent frames, and of a residual block two of its input and two of what its second convolution reads; two of
    // what is refined, but not a third for what is added to that.
    let kept: Vec<String> = stages
        .iter()
        .map(|stage| stage.state_bytes().to_string())
        .collect();
    let expected = [400, 512, 768, 1024, 512].map(|n| format!("{n}*B*height*width"));
    assert_eq!(kept, expected);
}

/// Decoders and encoders with every kind of block.
fn components() -> [Graph; 5] {
    let residual = json!({"residual": true, "multiplier": 2});
    [
        decoder(
            json!([
                ["res_x", 1],
                ["compress_all", residual],
                ["res_x", 1],
                ["compress_all", residual]
            ]),
            true,
            false,
        ),
        decoder(
            json!([["res_x", 1], ["compress_time", 1], ["res_x_y", {"multiplier": 2}], ["compress_space", 1], ["res_x", {"num_layers": 1, "inject_noise": true}]]),
            false,
            false,
        ),
        decoder(
            json!([["res_x", 1], ["compress_all", residual], ["res_x", 1]]),
            false,
            true,
        ),
        encoder(
            json!([["res_x", 1], ["compress_all", 1], ["res_x_y", {"multiplier": 2}], ["compress_time", 1]]),
        ),
        encoder(
            json!([["compress_space_res", {"multiplier": 2}], ["compress_time_res", {"multiplier": 2}], ["res_x", 1], ["compress_all_res", {"multiplier": 2}]]),
        ),
    ]
}

#[test]
fn a_stage_is_a_residual_block_or_ends_where_time_is_refined() {
    let stages = components().map(|graph| stream(&graph).expect("it streams").len());
    assert_eq!(stages, [5, 5, 4, 3, 3]);
}

#[test]
fn two_streams_at_once_do_not_meet() {
    let graph = &components()[0];
    let stages = stream(graph).expect("it streams");
    let stage = &stages[0];
    let sizes: SizeValues = graph.sizes.0.keys().map(|name| (name.clone(), 2)).collect();
    let given = [1, 2].map(|seed| {
        let mut sizes = sizes.clone();
        sizes.insert("frames".to_owned(), 9);
        inputs_of(graph, &sizes, seed).expect("inputs have shapes")
    });
    let runner = || {
        let (states, sizes) = (Arrays::new(), sizes_in(stage, &sizes));
        Runner {
            stage,
            states,
            sizes,
            seed: 5,
        }
    };
    let steps = [(Kind::First, 0, 6), (Kind::Next, 6, 1), (Kind::Last, 7, 2)];
    let alone = [0, 1].map(|i| {
        let mut runner = runner();
        steps.map(|(kind, at, n)| runner.step(kind, &given[i], at, n))
    });
    let mut both = [runner(), runner()];
    for (step, (kind, at, n)) in steps.into_iter().enumerate() {
        for i in [0, 1] {
            assert_eq!(both[i].step(kind, &given[i], at, n), alone[i][step]);
        }
    }
}

#[test]
fn a_stream_that_has_ended_begins_anew() {
    let graph = &components()[0];
    let stages = stream(graph).expect("it streams");
    let stage = &stages[0];
    let mut sizes: SizeValues = graph.sizes.0.keys().map(|name| (name.clone(), 2)).collect();
    sizes.insert("frames".to_owned(), 9);
    let given = [1, 2].map(|seed| inputs_of(graph, &sizes, seed).expect("inputs have shapes"));
    let runner = || {
        let (states, sizes) = (Arrays::new(), sizes_in(stage, &sizes));
        Runner {
            stage,
            states,
            sizes,
            seed: 5,
        }
    };
    let mut again = runner();
    again.all(&given[0], &mut std::iter::repeat(2));
    let after = again.all(&given[1], &mut std::iter::repeat(2));
    assert_eq!(after, runner().all(&given[1], &mut std::iter::repeat(2)));
}

/// What a stage makes of a video, frames in four parts: each is computed with as much around it as the stage looks at.
fn in_tiles(
    stage: &Stage,
    given: &Arrays,
    sizes: &SizeValues,
    at: [i64; 2],
    pieces: &[i64],
) -> Arrays {
    let halves = |side: usize| {
        let total = sizes[&stage.sides[side].size];
        let at = at[side].rem_euclid(total).max(1).min(total);
        [(0, at), (at, total)]
            .into_iter()
            .filter(|(from, to)| from < to)
    };
    let mut rows: BTreeMap<String, Vec<Array>> = BTreeMap::new();
    for row in halves(0) {
        let mut columns: BTreeMap<String, Vec<Array>> = BTreeMap::new();
        for column in halves(1) {
            let mut pieces = pieces.iter().copied().cycle();
            for (name, value) in tile(stage, given, sizes, [row, column], &mut pieces) {
                columns.entry(name).or_default().push(value);
            }
        }
        for (name, values) in columns {
            let axis = stage.sides[1].along[&name].axis;
            rows.entry(name).or_default().push(joined(&values, axis));
        }
    }
    let whole = rows.into_iter().map(|(name, values)| {
        let axis = stage.sides[0].along[&name].axis;
        (name, joined(&values, axis))
    });
    whole.collect()
}

fn tile(
    stage: &Stage,
    given: &Arrays,
    sizes: &SizeValues,
    kept: [(i64, i64); 2],
    pieces: &mut dyn Iterator<Item = i64>,
) -> Arrays {
    let (mut given, mut sizes) = (given.clone(), sizes.clone());
    let mut windows = Vec::new();
    for (side, (from, to)) in stage.sides.iter().zip(kept) {
        let window = (
            (from - side.halo).max(0),
            (to + side.halo).min(sizes[&side.size]),
        );
        for (name, along) in &side.along {
            if let Some(value) = given.get_mut(name) {
                *value = sliced(
                    value,
                    along.axis,
                    along.rate * window.0,
                    along.rate * window.1,
                );
            }
        }
        sizes.insert(side.size.clone(), window.1 - window.0);
        windows.push((from - window.0, to - window.0));
    }
    let states = Arrays::new();
    let mut runner = Runner {
        stage,
        states,
        sizes,
        seed: 0,
    };
    let mut made = runner.all(&given, pieces);
    for (side, (from, to)) in stage.sides.iter().zip(windows) {
        for (name, value) in &mut made {
            let along = &side.along[name];
            *value = sliced(value, along.axis, along.rate * from, along.rate * to);
        }
    }
    made
}

/// A graph of operations over time that these choices make.
fn random_graph(choices: &[(u8, u8)]) -> Graph {
    let stem = "graph random\nsize B 1..4\nsize frames 1..64 in time\n%x : f32[B, 2, 4*frames - 3, 2, 2] = input\n%still : f32[2, 2] = input\n";
    let mut builder = Builder {
        graph: parse(stem).expect("the stem parses"),
        names: 0,
    };
    let mut x = builder.graph.find("x").expect("the stem has it");
    let mut pool = vec![x];
    for (what, how) in choices {
        if let Some(next) = builder.choice(x, &pool, *what, *how) {
            x = next;
            pool.push(x);
        }
    }
    builder.graph.output("y", x);
    builder.graph
}

struct Builder {
    graph: Graph,
    names: usize,
}

impl Builder {
    fn add(&mut self, op: impl Into<Op>, inputs: &[NodeId]) -> Option<NodeId> {
        self.names += 1;
        let inputs: Vec<_> = inputs.iter().copied().map(Some).collect();
        let name = format!("v{}", self.names);
        self.graph
            .add(&name, op.into(), &inputs, Origin::default())
            .ok()
    }

    fn weight(&mut self, shape: &[i64]) -> Option<NodeId> {
        let op = Weight {
            key: format!("w{}", self.names),
            dtype: Dtype::F32,
            shape: shape.iter().copied().map(Size::from).collect(),
            stored: None,
        };
        self.add(op, &[])
    }

    fn conv(&mut self, x: NodeId, kernel: i64, stride: usize, zeros: usize) -> Option<NodeId> {
        let w = self.weight(&[2, 2, kernel, 1, 1])?;
        let (stride, pad) = ([stride, 1, 1], [zeros, 0, 0]);
        self.add(Conv3d { stride, pad }, &[x, w])
    }

    fn pad(&mut self, x: NodeId, before: usize, after: usize) -> Option<NodeId> {
        let (axis, mode) = (2, PadMode::Edge);
        self.add(
            Pad {
                axis,
                before,
                after,
                mode,
            },
            &[x],
        )
    }

    fn choice(&mut self, x: NodeId, pool: &[NodeId], what: u8, how: u8) -> Option<NodeId> {
        let (a, b) = (usize::from(how % 3), usize::from(how / 3 % 3));
        match what % 9 {
            0 => {
                let padded = self.pad(x, a, b)?;
                self.conv(padded, (a + b + 1) as i64, 1, 0)
            }
            1 => {
                let same = |id: &&NodeId| self.graph.node(**id).fact == self.graph.node(x).fact;
                let other = pool
                    .iter()
                    .filter(same)
                    .nth(usize::from(how) % 2)
                    .copied()?;
                self.add(Add {}, &[x, other])
            }
            2 => self.twice(x, how),
            3 => {
                let padded = self.pad(x, 2, 0)?;
                self.conv(padded, 3, 2, 0)
            }
            4 => {
                let (start, end) = (i64::from(how % 2), (how / 2 % 2 == 1).then_some(-1));
                self.add(
                    Slice {
                        axis: 2,
                        start,
                        end,
                    },
                    &[x],
                )
            }
            5 => self.conv(x, 3, 1, 1),
            6 => {
                let still = self.graph.find("still")?;
                self.add(Mul {}, &[x, still])
            }
            7 => self.add(RmsNorm { eps: 0.1, axis: 1 }, &[x]),
            _ => self.add(Silu {}, &[x]),
        }
    }

    /// Each frame twice, with or without the first.
    fn twice(&mut self, x: NodeId, how: u8) -> Option<NodeId> {
        let shape = self.graph.node(x).fact.shape.clone();
        let [b, c, f, h, w] = shape.try_into().ok()?;
        let two = Size::from(2);
        let to = vec![
            b.clone(),
            c.clone(),
            Size::from(1),
            f.clone(),
            h.clone(),
            w.clone(),
        ];
        let one = self.add(Reshape { to }, &[x])?;
        let to = vec![
            b.clone(),
            c.clone(),
            two.clone(),
            f.clone(),
            h.clone(),
            w.clone(),
        ];
        let both = self.add(Expand { to }, &[one])?;
        let perm = vec![0, 1, 3, 2, 4, 5];
        let moved = self.add(Transpose { perm }, &[both])?;
        let to = vec![b, c, f * two, h, w];
        let twice = self.add(Reshape { to }, &[moved])?;
        let (axis, end) = (2, None);
        match how % 2 {
            0 => Some(twice),
            _ => self.add(
                Slice {
                    axis,
                    start: 1,
                    end,
                },
                &[twice],
            ),
        }
    }
}

/// The smallest video of which every value has a frame, and that many units more.
fn length(stages: &[Stage], more: i64) -> i64 {
    let late = stages.iter().map(|stage| stage.least).max().unwrap_or(1);
    late.min(12) + more
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_pieces_give_the_whole(
        choices in prop::collection::vec(any::<(u8, u8)>(), 1..12),
        pieces in prop::collection::vec(1i64..6, 1..5),
        more in 1i64..9,
        seed in any::<u64>(),
    ) {
        let graph = random_graph(&choices);
        match stream(&graph) {
            Ok(stages) => check(&graph, &stages, length(&stages, more), &pieces, seed).map_err(TestCaseError::fail)?,
            Err(StreamError::Node { why, .. }) => {
                let known = ["it skips frames between two", "a step would end between", "its frames are no multiple"];
                prop_assert!(known.iter().any(|known| why.starts_with(known)), "{}\n{}", why, print(&graph));
            }
            Err(other) => return Err(TestCaseError::fail(other.to_string())),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..Default::default() })]

    #[test]
    fn stages_compute_tiles_as_they_do_frames(
        which in 0usize..5,
        pieces in prop::collection::vec(1i64..5, 1..3),
        frames in 1i64..8,
        at in any::<[u8; 2]>(),
        seed in any::<u64>(),
    ) {
        let graph = &components()[which];
        let stages = stream(graph).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let mut sizes: SizeValues = graph.sizes.0.keys().map(|name| (name.clone(), 3)).collect();
        sizes.insert("B".to_owned(), 1);
        sizes.insert("frames".to_owned(), frames);
        let mut given = inputs_of(graph, &sizes, seed).map_err(TestCaseError::fail)?;
        for stage in &stages {
            let sizes = sizes_in(stage, &sizes);
            let states = Arrays::new();
            let mut runner = Runner { stage, states, sizes: sizes.clone(), seed: 0 };
            let whole = runner.all(&given, &mut pieces.iter().copied().cycle());
            let tiles = in_tiles(stage, &given, &sizes, at.map(i64::from), &pieces);
            compare(&whole, &tiles, TOLERANCE).map_err(TestCaseError::fail)?;
            given.extend(whole);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..Default::default() })]

    #[test]
    fn decoders_and_encoders_stream(
        which in 0usize..5,
        pieces in prop::collection::vec(1i64..5, 1..5),
        frames in 1i64..12,
        seed in any::<u64>(),
    ) {
        let graph = &components()[which];
        let stages = stream(graph).map_err(|e| TestCaseError::fail(e.to_string()))?;
        check(graph, &stages, frames, &pieces, seed).map_err(TestCaseError::fail)?;
    }
}
