//! Tiles of queries over the tokens of a video, and the keys that each tile attends to.
//!
//! Tokens stand in (latent frame, row, column) order. Boxes cover the grid once; along an axis that they do not divide
//! their sizes differ by one. Boxes with the same keys are one tile. Everything is a list of token indices that is known
//! when a graph is compiled, so sliding windows and radial masks are only two ways to make the list.

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;

/// Latent frames, rows and columns.
pub(crate) type Grid = [usize; 3];

/// Which keys a tile of queries attends to.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Keys {
    /// A box of latent frames, rows and columns around the tile. At a border it is moved, not cut, so that every tile
    /// has as many keys ([Sliding Tile Attention](https://arxiv.org/abs/2502.04507)).
    Sliding(Grid),
    /// A box of rows and columns in each latent frame: whole in the tile's own frames and their neighbours, and half as
    /// large each time the distance in latent frames doubles. Where it would be smaller than the tile, the tile's own
    /// rows and columns are taken in every second, fourth, .. frame instead, so that the number of keys grows with the
    /// logarithm of the number of frames ([Radial Attention](https://arxiv.org/abs/2506.19852)).
    Radial([usize; 2]),
}

/// Queries with the keys that all of them attend to, both as sorted token indices. No two tiles have the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tile {
    pub(crate) queries: Vec<usize>,
    pub(crate) keys: Vec<usize>,
}

/// A box of tokens: ranges of latent frames, rows and columns.
type Part = [Range<usize>; 3];

/// The tiles of a grid, in the order of their first tokens' frames, rows and columns; tiles with the same keys, as windows
/// that a border moves have, are one. `size` is the largest box that a tile is made of; every tile's keys also hold the
/// first `sink_frames` latent frames.
pub(crate) fn tiles(grid: Grid, size: Grid, keys: &Keys, sink_frames: usize) -> Vec<Tile> {
    let mut tiles: Vec<Tile> = Vec::new();
    let mut places: HashMap<Vec<usize>, usize> = HashMap::new();
    for part in parts(grid, size) {
        let keys = keys.of(grid, &part, sink_frames);
        let place = *places.entry(keys).or_insert_with_key(|keys| {
            tiles.push(Tile {
                queries: Vec::new(),
                keys: keys.clone(),
            });
            tiles.len() - 1
        });
        tiles[place].queries.extend(tokens(grid, &part));
    }
    for tile in &mut tiles {
        tile.queries.sort_unstable();
    }
    tiles
}

/// The boxes that cover a grid once, in the order of their first tokens' frames, rows and columns.
fn parts(grid: Grid, size: Grid) -> Vec<Part> {
    let [frames, rows, columns] = [0, 1, 2].map(|axis| cut(grid[axis], size[axis]));
    let mut parts = Vec::new();
    for f in &frames {
        for r in &rows {
            parts.extend(columns.iter().map(|c| [f.clone(), r.clone(), c.clone()]));
        }
    }
    parts
}

/// Cuts an axis into as few ranges of at most `size` positions as there can be, their sizes equal or one apart.
fn cut(axis: usize, size: usize) -> Vec<Range<usize>> {
    let count = axis.div_ceil(size);
    let bound = |i: usize| i * axis / count;
    (0..count).map(|i| bound(i)..bound(i + 1)).collect()
}

/// The token indices of a box, sorted.
fn tokens(grid: Grid, [frames, rows, columns]: &Part) -> Vec<usize> {
    let row = |f, r| (f * grid[1] + r) * grid[2];
    let starts = (frames.clone()).flat_map(|f| rows.clone().map(move |r| row(f, r)));
    starts
        .flat_map(|start| columns.clone().map(move |c| start + c))
        .collect()
}

impl Keys {
    fn of(&self, grid: Grid, tile: &Part, sink_frames: usize) -> Vec<usize> {
        let whole = |f: usize| [f..f + 1, 0..grid[1], 0..grid[2]];
        let in_frame = |f: usize| match f < sink_frames {
            true => Some(whole(f)),
            false => self.in_frame(grid, tile, f),
        };
        let parts = (0..grid[0]).filter_map(in_frame);
        parts.flat_map(|part| tokens(grid, &part)).collect()
    }

    /// The box of one latent frame.
    fn in_frame(&self, grid: Grid, tile: &Part, frame: usize) -> Option<Part> {
        let [rows, columns] = match self {
            Self::Sliding([frames, rows, columns]) => around(&tile[0], *frames, grid[0])
                .contains(&frame)
                .then_some([*rows, *columns]),
            Self::Radial(window) => shrunk(*window, tile, distance(&tile[0], frame)),
        }?;
        let rows = around(&tile[1], rows, grid[1]);
        Some([frame..frame + 1, rows, around(&tile[2], columns, grid[2])])
    }
}

/// `width` positions of an axis (at least the tile's own) with the tile in their middle, moved inside at a border.
fn around(tile: &Range<usize>, width: usize, axis: usize) -> Range<usize> {
    let width = width.clamp(tile.len(), axis);
    let start = ((tile.start + tile.end).saturating_sub(width) / 2).min(axis - width);
    start..start + width
}

/// Latent frames between a frame and the nearest of the tile's.
fn distance(tile: &Range<usize>, frame: usize) -> usize {
    tile.start
        .saturating_sub(frame)
        .max((frame + 1).saturating_sub(tile.end))
}

/// Rows and columns of a radial window at a distance in latent frames; none in the frames that are left out.
fn shrunk(window: [usize; 2], tile: &Part, distance: usize) -> Option<[usize; 2]> {
    let shrinks = 1usize << distance.max(1).ilog2();
    let area = tile[1].len() * tile[2].len();
    let period = (area * shrinks / (window[0] * window[1])).max(1);
    let side = |side: usize| ((side * side) as f64 / shrinks as f64).sqrt().ceil() as usize;
    match period {
        1 => Some(window.map(side)),
        _ => distance
            .is_multiple_of(period)
            .then(|| [tile[1].len(), tile[2].len()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(grid: Grid, size: Grid, keys: &Keys, query: usize) -> Vec<usize> {
        let all = tiles(grid, size, keys, 0);
        let tile = all.into_iter().find(|tile| tile.queries.contains(&query));
        tile.expect("tiles cover the grid").keys
    }

    #[test]
    fn a_window_is_moved_at_a_border_and_keeps_its_size() {
        let keys = Keys::Sliding([1, 1, 4]);
        assert_eq!(one([1, 1, 8], [1, 1, 2], &keys, 0), [0, 1, 2, 3]);
        assert_eq!(one([1, 1, 8], [1, 1, 2], &keys, 3), [1, 2, 3, 4]);
        assert_eq!(one([1, 1, 8], [1, 1, 2], &keys, 7), [4, 5, 6, 7]);
    }

    #[test]
    fn tiles_that_do_not_divide_an_axis_differ_by_one() {
        let sizes: Vec<usize> = cut(13, 4).iter().map(ExactSizeIterator::len).collect();
        assert_eq!(sizes, [3, 3, 3, 4]);
    }

    #[test]
    fn tiles_with_the_same_keys_are_one() {
        let all = tiles([1, 1, 8], [1, 1, 2], &Keys::Sliding([1, 1, 6]), 0);
        let queries: Vec<Vec<usize>> = all.into_iter().map(|tile| tile.queries).collect();
        assert_eq!(queries, [[0, 1, 2, 3], [4, 5, 6, 7]]);
    }

    #[test]
    fn a_radial_window_shrinks_with_the_distance_and_then_skips_frames() {
        let keys = Keys::Radial([1, 8]);
        let seen = one([17, 1, 8], [1, 1, 2], &keys, 0);
        let per_frame: Vec<usize> = (0..17)
            .map(|f| seen.iter().filter(|id| *id / 8 == f).count())
            .collect();
        assert_eq!(
            per_frame,
            [8, 8, 6, 6, 4, 4, 4, 4, 2, 0, 2, 0, 2, 0, 2, 0, 2]
        );
        let narrow = Keys::Radial([1, 2]);
        let seen = one([9, 1, 8], [1, 1, 2], &narrow, 0);
        let frames: Vec<usize> = seen.iter().step_by(2).map(|id| id / 8).collect();
        assert_eq!(frames, [0, 1, 2, 4, 8]);
    }

    #[test]
    fn the_keys_of_a_radial_mask_grow_slower_than_the_frames() {
        let count = |frames| one([frames, 8, 8], [1, 2, 2], &Keys::Radial([4, 4]), 0).len();
        let (short, long) = (count(32), count(128));
        assert!(
            long - short <= short,
            "{short} keys of 32 frames, {long} of 128"
        );
    }
}
