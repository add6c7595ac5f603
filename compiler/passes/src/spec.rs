//! A pass as a target file lists it.

use serde::{Deserialize, Serialize};

/// One line of a target's list of passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassSpec {
    /// Id of the rule.
    pub pass: String,
    /// Why it stands at this place of the list.
    pub because: String,
}
