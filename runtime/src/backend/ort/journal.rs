//! What ONNX Runtime said lately.
//!
//! The library often returns a short status and logs the reason beside it; the
//! journal keeps the last messages so that an error can carry both.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use ort::logging::{LogLevel, LoggerFunction};

use crate::backend::Log;

const KEPT: usize = 32;

/// The last messages of one environment or session; clones share them.
#[derive(Clone, Default)]
pub(super) struct Journal(Arc<Mutex<VecDeque<(LogLevel, String)>>>);

impl Journal {
    /// A logger that writes here and passes warnings and errors on to `log`.
    pub(super) fn logger(&self, log: Option<Log>) -> LoggerFunction {
        let journal = self.clone();
        Arc::new(
            move |level, _category: &str, _id: &str, _place: &str, message: &str| {
                journal.push(level, message);
                if let Some(log) = log.as_ref().filter(|_| level >= LogLevel::Warning) {
                    log(message);
                }
            },
        )
    }

    /// Forgets and returns all messages, oldest first.
    pub(super) fn drain(&self) -> Vec<(LogLevel, String)> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
            .collect()
    }

    /// `status` followed by the error messages that came with it.
    pub(super) fn explain(&self, status: &str) -> String {
        let mut words = status.trim().to_owned();
        for (level, message) in self.drain() {
            let message = message.trim();
            if level >= LogLevel::Error && !words.contains(message) {
                words = format!("{words}; {message}");
            }
        }
        words
    }

    fn push(&self, level: LogLevel, message: &str) {
        let mut messages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() == KEPT {
            messages.pop_front();
        }
        messages.push_back((level, message.to_owned()));
    }
}
