//! What a rule is.

use ltxc_ir::Patch;

use crate::matched::Match;
use crate::target::Capabilities;

/// A rewrite of one node at a time.
pub trait Rule: Sync {
    /// Who it is.
    fn meta(&self) -> Meta;

    /// Why a target cannot have what this rule makes; the recipe that lists it is then refused.
    fn refuse(&self, _: &Capabilities) -> Option<String> {
        None
    }

    /// The operations it looks at.
    fn roots(&self) -> Roots;

    /// The change for this node, or why there is none.
    fn rewrite(&self, m: &Match<'_>) -> Verdict;
}

/// What a rule is called and what it promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its id; its file and its struct have the same name.
    pub id: &'static str,
    /// How near the numbers stay.
    pub fidelity: Fidelity,
    /// One sentence on what it does.
    pub summary: &'static str,
}

/// How near the numbers stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// Equal within rounding.
    Exact,
    /// Within a stated tolerance; runs only where a preset asks for it.
    Lossy,
}

impl Fidelity {
    /// The word used in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Lossy => "lossy",
        }
    }
}

/// The operations a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roots {
    /// All.
    Any,
    /// Those with these names.
    Named(&'static [&'static str]),
}

impl Roots {
    /// Whether an operation of this name is one of them.
    pub fn contains(self, op: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Named(names) => names.contains(&op),
        }
    }
}

/// A rule's answer.
pub type Verdict = Result<Patch, Declined>;

/// Why a rule leaves a node alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Declined {
    /// The node is nothing this rule is about; not reported.
    NotMine,
    /// The node is what the rule is about, but something is in the way. The reason names no node, so that equal
    /// reasons can be counted.
    Because(String),
    /// The node must change, and what the recipe says does not suffice: the compile ends with this sentence.
    Unmet(String),
}

/// Declines with a reason unless a condition holds.
macro_rules! require {
    ($condition:expr, $($reason:tt)+) => {
        if !$condition {
            return Err($crate::rule::Declined::Because(format!($($reason)+)));
        }
    };
}

pub(crate) use require;
