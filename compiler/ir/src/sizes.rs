//! The run-time sizes a graph declares, and broadcasting over them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::size::Size;

/// What values a named size may take at run time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SizeRange {
    /// Smallest value, at least 1.
    #[serde(default = "one")]
    pub min: i64,
    /// Largest value.
    #[serde(default = "largest")]
    pub max: i64,
    /// If not empty: it always equals one of these sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Size>,
    /// Whether it counts steps in time, so that a graph may be computed some of them at a time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub time: bool,
}

fn one() -> i64 {
    1
}

fn largest() -> i64 {
    1 << 31
}

impl Default for SizeRange {
    fn default() -> Self {
        Self {
            min: one(),
            max: largest(),
            one_of: Vec::new(),
            time: false,
        }
    }
}

/// Every declared size by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sizes(pub BTreeMap<String, SizeRange>);

impl Sizes {
    /// The size two axes have after broadcasting, if they can.
    pub fn broadcast(&self, a: &Size, b: &Size) -> Option<Size> {
        let one = Size::from(1);
        match () {
            () if a == b || *b == one => Some(a.clone()),
            () if *a == one || self.may_be_one_or(a, b) => Some(b.clone()),
            () if self.may_be_one_or(b, a) => Some(a.clone()),
            () => None,
        }
    }

    /// Whether `a` is declared to equal 1 or `b`.
    fn may_be_one_or(&self, a: &Size, b: &Size) -> bool {
        let Some(range) = a.as_symbol().and_then(|name| self.0.get(name)) else {
            return false;
        };
        !range.one_of.is_empty()
            && range
                .one_of
                .iter()
                .all(|choice| choice == b || *choice == Size::from(1))
    }

    /// The shape two shapes broadcast to.
    pub fn broadcast_shapes(&self, a: &[Size], b: &[Size]) -> Option<Vec<Size>> {
        let rank = a.len().max(b.len());
        let at = |shape: &[Size], i: usize| match (i + shape.len()).checked_sub(rank) {
            Some(axis) => shape[axis].clone(),
            None => Size::from(1),
        };
        (0..rank)
            .map(|i| self.broadcast(&at(a, i), &at(b, i)))
            .collect()
    }
}
