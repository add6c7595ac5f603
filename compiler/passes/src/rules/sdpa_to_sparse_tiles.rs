//! Self-attention over a part of the video.

use ltxc_ir::attrs::Literal;
use ltxc_ir::op::{Concat, Constant, Gather, Sdpa};
use ltxc_ir::{Dtype, Patch, Size, Value};
use serde::Deserialize;

use crate::attention::Attention;
use crate::matched::Match;
use crate::pattern::matches;
use crate::rule::{Declined, Fidelity, Meta, Roots, Rule, Verdict, require};
use crate::tiles::{Grid, Keys, Tile, tiles};

/// Tokens that the transformer takes at most.
const MOST_TOKENS: usize = 1 << 20;

/// `sdpa(q, k, v)` -> `gather(concat(sdpa(q[tile], k[keys], v[keys]), ..), order)`: each tile of the video's tokens
/// attends to the keys of its list.
///
/// Exact with respect to attention under the mask that the lists are; what is lost is what the mask hides. Keys and
/// values are gathered for one tile at a time, so working memory grows by one tile's keys, not by all. Queries and keys
/// must be the tokens of one grid whose size is known, so a graph for any size keeps dense attention, and so does one
/// with tokens besides the grid (conditioning tokens in front) or with a mask of its own.
#[derive(Default, Deserialize)]
#[serde(try_from = "Parameters")]
pub struct SdpaToSparseTiles(Option<Parameters>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// Names of the attentions; `*` stands for anything.
    nodes: Vec<String>,
    /// Names among them that stay dense.
    #[serde(default)]
    leave: Vec<String>,
    /// Latent frames, rows and columns of the video.
    grid: Grid,
    /// The same of a tile of queries, at most.
    tile: Grid,
    /// Which keys a tile attends to.
    keys: Keys,
    /// The first latent frames, to which every tile attends.
    #[serde(default)]
    sink_frames: usize,
}

impl TryFrom<Parameters> for SdpaToSparseTiles {
    type Error = String;

    fn try_from(with: Parameters) -> Result<Self, String> {
        let window = match &with.keys {
            Keys::Sliding(window) => &window[..],
            Keys::Radial(window) => &window[..],
        };
        let mut sizes = with.grid.iter().chain(&with.tile).chain(window);
        let tokens = with
            .grid
            .iter()
            .try_fold(1, |n: usize, size| n.checked_mul(*size));
        let fits = sizes.all(|size| (1..=MOST_TOKENS).contains(size));
        match fits && tokens.is_some_and(|tokens| tokens <= MOST_TOKENS) {
            true => Ok(Self(Some(with))),
            false => Err(format!(
                "`grid`, `tile` and `keys` are numbers from 1, and a grid has at most {MOST_TOKENS} tokens"
            )),
        }
    }
}

impl Rule for SdpaToSparseTiles {
    fn meta(&self) -> Meta {
        Meta {
            id: "sdpa-to-sparse-tiles",
            fidelity: Fidelity::Lossy,
            summary: "Lets each tile of a video attend to the tokens around it only.",
        }
    }

    fn roots(&self) -> Roots {
        Roots::Named(&["sdpa"])
    }

    fn rewrite(&self, m: &Match<'_>) -> Verdict {
        let with = self.0.as_ref().ok_or(Declined::NotMine)?;
        let named = |list: &[String]| list.iter().any(|pattern| matches(pattern, m.name()));
        if !named(&with.nodes) {
            return Err(Declined::NotMine);
        }
        require!(!named(&with.leave), "the recipe leaves it dense");
        let attention = Attention::read(m)?;
        require!(attention.mask.is_none(), "it has a mask");
        let [_, _, queries, keys] = attention.scores(m);
        let tokens: usize = with.grid.iter().product();
        let all = Size::from(tokens as i64);
        require!(
            queries == all && keys == all,
            "{queries} queries and {keys} keys are not the {tokens} tokens of the grid"
        );
        let tiles = tiles(with.grid, with.tile, &with.keys, with.sink_frames);
        let dense = tiles.iter().all(|tile| tile.keys.len() == tokens);
        require!(!dense, "every tile attends to all tokens");
        Ok(tiled(m, &attention, &tiles))
    }
}

fn tiled(m: &Match<'_>, attention: &Attention, tiles: &[Tile]) -> Patch {
    let mut patch = Patch::new();
    let parts = tiles.iter().map(|tile| attend(&mut patch, attention, tile));
    let parts: Vec<Value> = parts.collect();
    let tiled = patch.add("tiled", Concat { axis: 1 }, &parts);
    let mut places: Vec<(usize, usize)> = tiles
        .iter()
        .flat_map(|tile| &tile.queries)
        .copied()
        .zip(0..)
        .collect();
    places.sort_unstable();
    let order: Vec<usize> = places.into_iter().map(|(_, place)| place).collect();
    let order = ids(&mut patch, "order", &order);
    let y = patch.add("in_order", Gather { axis: 1 }, &[tiled, order]);
    patch.replace(m.root(), y)
}

/// Attention of one tile.
fn attend(patch: &mut Patch, attention: &Attention, tile: &Tile) -> Value {
    let queries = ids(patch, "queries", &tile.queries);
    let q = patch.add("q", Gather { axis: 1 }, &[attention.q.into(), queries]);
    let keys = ids(patch, "keys", &tile.keys);
    let k = patch.add("k", Gather { axis: 1 }, &[attention.k.into(), keys]);
    let v = patch.add("v", Gather { axis: 1 }, &[attention.v.into(), keys]);
    let op = Sdpa {
        heads: attention.heads,
        scale: Some(attention.scale),
    };
    patch.add("tile", op, &[q, k, v])
}

fn ids(patch: &mut Patch, hint: &str, tokens: &[usize]) -> Value {
    let data = tokens.iter().map(|id| *id as i64).collect();
    let constant = Constant {
        dtype: Dtype::I32,
        shape: vec![Size::from(tokens.len() as i64)],
        data: Literal::Ints(data),
    };
    patch.add(hint, constant, &[])
}
