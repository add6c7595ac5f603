//! Turns of components that work side by side on a processor.
//!
//! Each has all cores, so that two at once would only wait for one another; and what both need at their peaks would be
//! there at once. Whoever ends its turn gives back what it needed, so that the other finds it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Runner;
use crate::backend::Backend;

/// Whoever has it computes.
#[derive(Default)]
pub(super) struct Turns(Mutex<()>);

/// The right to compute, until it is dropped.
pub(super) struct Turn<'t> {
    backend: &'t dyn Backend,
    _turn: MutexGuard<'t, ()>,
}

impl Runner {
    /// Waits for the right to compute; on a device nobody has to.
    pub(super) fn turn(&self) -> Option<Turn<'_>> {
        let turn = || {
            self.turns()
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        self.on_host().then(|| Turn {
            _turn: turn(),
            backend: &*self.backend,
        })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.backend.rest();
        give_memory_back();
    }
}

/// glibc keeps most of what is freed, in a heap for each thread, and keeps larger blocks the more of them are freed. What a
/// process held would be the sum of what each of its threads needed at its own peak.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_memory_back() {
    #[expect(unsafe_code, reason = "a function of the C library")]
    // SAFETY: it may be called from any thread, and only touches what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_memory_back() {}
