//! Tokens in chunks: what the rules that trade speed for memory share.

use ltxc_ir::op::{Concat, Slice};
use ltxc_ir::{Fact, NodeId, Patch, Value};

use crate::rule::{Declined, require};

/// Tokens of a chunk where nobody says.
pub(crate) const TOKENS: i64 = 4096;

/// Where tokens are.
const AXIS: i64 = -2;

/// The axis before the last, cut into pieces of almost equal length.
pub(crate) struct Chunks {
    ends: Vec<i64>,
}

impl Chunks {
    /// Chunks of at most `tokens` of a value's tokens, if it has more.
    pub(crate) fn of(fact: &Fact, tokens: i64) -> Result<Self, Declined> {
        require!(tokens > 0, "chunks of {tokens} tokens are no chunks");
        let axis = fact.rank().checked_sub(2);
        let axis = axis.ok_or_else(|| Declined::Because("there are no tokens".to_owned()))?;
        let Some(all) = fact.shape[axis].as_const() else {
            let size = &fact.shape[axis];
            return Err(Declined::Because(format!(
                "the number of tokens, {size}, is known at run time only"
            )));
        };
        require!(all > tokens, "there are no more than {tokens} tokens");
        let count = (all + tokens - 1) / tokens;
        Ok(Self {
            ends: (1..=count).map(|chunk| all * chunk / count).collect(),
        })
    }

    /// What `each` makes of every chunk, put together; it is given what cuts the chunk out of a value.
    pub(crate) fn join(
        &self,
        patch: &mut Patch,
        mut each: impl FnMut(&mut Patch, &dyn Fn(&mut Patch, NodeId) -> Value) -> Value,
    ) -> Value {
        let mut start = 0;
        let mut parts = Vec::new();
        for end in &self.ends {
            let slice = Slice {
                axis: AXIS,
                start,
                end: Some(*end),
            };
            parts.push(each(patch, &|patch: &mut Patch, value| {
                patch.add("chunk", slice.clone(), &[value.into()])
            }));
            start = *end;
        }
        patch.add("joined", Concat { axis: AXIS }, &parts)
    }
}
