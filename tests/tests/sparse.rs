//! Sparse attention is attention under a mask: the rewritten graph against the mask, worked out token by token.
#![allow(clippy::panic)]

use ltxc_ir::{Graph, parse};
use ltxc_passes::{PassSpec, find, run};
use ltxc_tests::{fixture, numbers};
use proptest::prelude::*;
use serde_json::{Value, json};

/// Rounding of softmaxes over other numbers of keys.
const TOLERANCE: f32 = 1e-5;

type Grid = [usize; 3];

#[derive(Clone, Debug)]
struct Case {
    grid: Grid,
    tile: Grid,
    window: Grid,
    radial: bool,
    sink_frames: usize,
}

impl Case {
    fn with(&self) -> Value {
        let [_, rows, columns] = self.window;
        let keys = match self.radial {
            true => json!({"radial": [rows, columns]}),
            false => json!({"sliding": self.window}),
        };
        json!({"nodes": ["y"], "grid": self.grid, "tile": self.tile, "keys": keys, "sink_frames": self.sink_frames})
    }

    /// Latent frame, row and column of a token.
    fn place(&self, token: usize) -> Grid {
        let [_, rows, columns] = self.grid;
        [
            token / columns / rows,
            token / columns % rows,
            token % columns,
        ]
    }

    /// Whether the query's tile attends to the key.
    fn sees(&self, query: usize, key: usize) -> bool {
        let (query, key) = (self.place(query), self.place(key));
        let tile = [0, 1, 2].map(|axis| tile_of(query[axis], self.grid[axis], self.tile[axis]));
        let sides = match self.radial {
            true => self.radial_sides(&tile, key[0]),
            false => Some(self.window),
        };
        let inside = |axis: usize, side| in_window(tile[axis], side, self.grid[axis], key[axis]);
        let near = sides.is_some_and(|sides| (0..3).all(|axis| inside(axis, sides[axis])));
        key[0] < self.sink_frames || near
    }

    /// The window in the key's latent frame.
    fn radial_sides(&self, tile: &[(usize, usize); 3], frame: usize) -> Option<Grid> {
        let (first, last) = (tile[0].0, tile[0].1 - 1);
        let distance = if frame < first {
            first - frame
        } else {
            frame.saturating_sub(last)
        };
        let mut shrinks = 1;
        while shrinks * 2 <= distance {
            shrinks *= 2;
        }
        let [_, rows, columns] = self.window;
        let own = [tile[1].1 - tile[1].0, tile[2].1 - tile[2].0];
        let every = own[0] * own[1] * shrinks / (rows * columns);
        if every > 1 {
            return distance
                .is_multiple_of(every)
                .then_some([self.grid[0], own[0], own[1]]);
        }
        let side = |full: usize| (1..).find(|side| side * side * shrinks >= full * full);
        Some([self.grid[0], side(rows)?, side(columns)?])
    }
}

/// The tile of a position: as few tiles as can be, as equal as can be.
fn tile_of(position: usize, axis: usize, size: usize) -> (usize, usize) {
    let count = axis.div_ceil(size);
    let bounds = (0..count).map(|i| (i * axis / count, (i + 1) * axis / count));
    let mut found = bounds.filter(|(start, end)| (*start..*end).contains(&position));
    found
        .next()
        .unwrap_or_else(|| panic!("no tile at {position}"))
}

/// Whether a position lies in the window, of those inside the axis, whose middle is nearest to the tile's.
fn in_window(tile: (usize, usize), side: usize, axis: usize, position: usize) -> bool {
    let side = side.max(tile.1 - tile.0).min(axis);
    let off = |start: &usize| (2 * start + side).abs_diff(tile.0 + tile.1);
    let start = (0..=axis - side).min_by_key(off).unwrap_or(0);
    (start..start + side).contains(&position)
}

fn graph(tokens: usize, mask: Option<&str>) -> Graph {
    let mut text = "graph case\nsize B 1..2\n".to_owned();
    for name in ["q", "k", "v"] {
        text += &format!("%{name} : f32[B, {tokens}, 8] = input\n");
    }
    let (declared, port) = match mask {
        Some(data) => (
            format!(
                "%mask : f32[{tokens}, {tokens}] = constant {{dtype: f32, shape: [{tokens}, {tokens}], data: [{data}]}}\n"
            ),
            ", %mask",
        ),
        None => (String::new(), ""),
    };
    text += &format!(
        "{declared}%y : f32[B, {tokens}, 8] = sdpa(%q, %k, %v{port}) {{heads: 2}}\nreturn y = %y\n"
    );
    parse(&text).unwrap_or_else(|e| panic!("{e}"))
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = |most: usize| prop::array::uniform3(1..most);
    (sizes(6), sizes(4), sizes(6), any::<bool>(), 0usize..2).prop_map(
        |(grid, tile, window, radial, sink_frames)| Case {
            grid,
            tile,
            window,
            radial,
            sink_frames,
        },
    )
}

fn pass(with: Value) -> PassSpec {
    PassSpec {
        with,
        ..fixture::passes(&["sdpa-to-sparse-tiles"]).remove(0)
    }
}

#[test]
fn sizes_that_no_video_has_are_refused() {
    let fine = json!({"nodes": ["y"], "grid": [2, 2, 2], "tile": [1, 1, 1], "keys": {"sliding": [1, 1, 1]}});
    assert!(find(&pass(fine.clone())).is_ok());
    let wrong = [
        ("grid", json!([2, 0, 2])),
        ("grid", json!([1024, 1024, 1024])),
        ("tile", json!([1, 1, 0])),
        ("keys", json!({"sliding": [0, 1, 1]})),
        ("keys", json!({"radial": [1, 4_194_304]})),
    ];
    for (name, value) in wrong {
        let mut with = fine.clone();
        with[name] = value;
        assert!(find(&pass(with.clone())).is_err(), "{with}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..Default::default() })]

    #[test]
    fn sparse_attention_is_masked_attention(case in cases(), seed in any::<u64>()) {
        let tokens = case.grid.iter().product();
        let pairs = (0..tokens).flat_map(|q| (0..tokens).map(move |k| (q, k)));
        let data: Vec<&str> = pairs.map(|(q, k)| if case.sees(q, k) { "0.0" } else { "-1e30" }).collect();
        let hidden = data.contains(&"-1e30");
        let pass = pass(case.with());
        let dense = graph(tokens, None);
        let (sparse, reports) = run(dense.clone(), &[pass], &fixture::capable())
            .map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(reports[0].matched > 0, hidden);
        let masked = graph(tokens, Some(&data.join(", ")));
        for sizes in numbers::size_values(&dense) {
            let outputs = |graph| numbers::outputs(graph, &sizes, seed);
            outputs(&masked)
                .and_then(|masked| numbers::compare(&masked, &outputs(&sparse)?, TOLERANCE))
                .map_err(TestCaseError::fail)?;
        }
    }
}
