//! Turns of components that work side by side on a processor.
//!
//! Each has all cores, so that two at once would only wait for one another; and what both need at their peaks would be
//! there at once. Whoever takes over gives back first what the other kept for its next call; whoever hands on what it made
//! may do so itself.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

use super::Runner;
use crate::heap;

/// Whoever has it computes; which thread did at last.
#[derive(Default)]
pub(super) struct Turns(Mutex<Option<ThreadId>>);

/// The right to compute, until it is dropped.
pub(super) struct Turn<'r> {
    runner: &'r Runner,
    _last: MutexGuard<'r, Option<ThreadId>>,
}

impl Turn<'_> {
    /// Ends it with nothing kept for the next call.
    pub(super) fn end(self) {
        self.runner.rest();
    }
}

impl Runner {
    /// Waits for the right to compute; on a device nobody has to.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        if !self.on_host() {
            return None;
        }
        let last = &self.turns().0;
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let own = Some(thread::current().id());
        if std::mem::replace(&mut *last, own) != own {
            self.rest();
        }
        Some(Turn {
            runner: self,
            _last: last,
        })
    }

    /// Gives back what is kept for the next call.
    fn rest(&self) {
        self.backend.rest();
        heap::give_back();
    }
}
