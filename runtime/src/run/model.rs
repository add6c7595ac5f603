//! A model of a component, and the one that stands for it at dense steps.

use std::path::PathBuf;
use std::sync::Arc;

use crate::backend::{Backend, BackendError, Calls, Session};

/// The model of a part. Where dense steps have another, the two take turns and each is loaded when its turn comes.
pub(super) struct Model {
    files: Files,
    calls: Calls,
    /// Whether the one whose turn is over stays loaded.
    keep: bool,
    backend: Arc<dyn Backend>,
    dense: bool,
    usual: Option<Box<dyn Session>>,
    other: Option<Box<dyn Session>>,
}

/// The files of a model.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// For all steps, or those that are not dense.
    pub usual: PathBuf,
    /// For dense steps, where that is another.
    pub dense: Option<PathBuf>,
}

impl Model {
    /// A model that is loaded now, unless it has to be seen which of two is needed.
    pub fn open(
        backend: &Arc<dyn Backend>,
        files: Files,
        calls: Calls,
        keep: bool,
    ) -> Result<Self, BackendError> {
        let mut model = Self {
            files,
            calls,
            keep,
            backend: Arc::clone(backend),
            dense: false,
            usual: None,
            other: None,
        };
        if model.files.dense.is_none() {
            model.session()?;
        }
        Ok(model)
    }

    /// Begins dense steps, or ends them; says whether another model takes its turn.
    pub fn turn(&mut self, dense: bool) -> bool {
        let turns = self.files.dense.is_some() && self.dense != dense;
        if turns {
            self.dense = dense;
            // Two would not fit where one just does.
            match (self.keep, dense) {
                (true, _) => {}
                (false, true) => self.usual = None,
                (false, false) => self.other = None,
            }
        }
        turns
    }

    /// The model whose turn it is.
    pub fn session(&mut self) -> Result<&mut dyn Session, BackendError> {
        let (slot, file) = match &self.files.dense {
            Some(dense) if self.dense => (&mut self.other, dense),
            _ => (&mut self.usual, &self.files.usual),
        };
        let loaded = match slot.take() {
            Some(loaded) => loaded,
            None => self.backend.load_for(file, self.calls)?,
        };
        Ok(slot.insert(loaded).as_mut())
    }
}
