//! What can go wrong with a list of passes.

use ltxc_ir::{PatchError, VerifyError};
use thiserror::Error;

/// Why passes did not run to their end.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PassError {
    /// A pass nobody knows: the list is wrong.
    #[error("unknown pass `{pass}`{}", hint(near))]
    Unknown {
        /// The id as written.
        pass: String,
        /// Ids that look like it.
        near: Vec<&'static str>,
    },
    /// Parameters that the rule does not take: the list is wrong.
    #[error("the parameters of `{pass}` do not fit: {reason}")]
    Parameters {
        /// The pass.
        pass: String,
        /// What is wrong with them.
        reason: String,
    },
    /// The target cannot have what the rule makes, or the recipe does not say enough: other ones are needed.
    #[error("`{pass}`: {reason}")]
    Refused {
        /// The pass.
        pass: String,
        /// What the target lacks.
        reason: String,
    },
    /// The graph was broken before the first pass.
    #[error("the graph is broken before any pass: {}", join(.0))]
    Input(Vec<VerifyError>),
    /// A rule made an impossible patch: a bug.
    #[error("pass `{pass}` at `%{node}`: {source}")]
    Patch {
        /// The pass.
        pass: String,
        /// The node it rewrote.
        node: String,
        /// What is wrong with the patch.
        source: Box<PatchError>,
    },
    /// A rule fires again and again: a bug.
    #[error("pass `{pass}` never settles; it still fires at `%{node}`")]
    Unsettled {
        /// The pass.
        pass: String,
        /// Where it fired last.
        node: String,
    },
    /// A rule broke the graph: a bug.
    #[error("pass `{pass}` broke the graph: {}", join(errors))]
    Broken {
        /// The pass.
        pass: String,
        /// Everything the verifier found; each names its node.
        errors: Vec<VerifyError>,
    },
}

impl PassError {
    /// Whether a rule is to blame, not the one who wrote the list.
    pub fn is_bug(&self) -> bool {
        match self {
            Self::Unknown { .. }
            | Self::Parameters { .. }
            | Self::Refused { .. }
            | Self::Input(_) => false,
            Self::Patch { .. } | Self::Unsettled { .. } | Self::Broken { .. } => true,
        }
    }
}

fn hint(near: &[&str]) -> String {
    match near {
        [] => String::new(),
        near => format!("; did you mean `{}`?", near.join("` or `")),
    }
}

fn join(errors: &[VerifyError]) -> String {
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}
