//! A pass as a target or a recipe lists it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One line of a list of passes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassSpec {
    /// Id of the rule.
    pub pass: String,
    /// The rule's parameters; null where it has none, or where its defaults do.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub with: Value,
    /// Why it stands at this place of the list.
    pub because: String,
}
