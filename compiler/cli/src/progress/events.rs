//! What happens in a run, for programs: one JSON object a line.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use ltxc_runtime::run::Event;
use serde::Serialize;
use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::output::note;

/// A file of events; a line is written as soon as something happens.
pub struct Events {
    to: Option<Box<dyn Write + Send>>,
}

/// An event, and where the run is.
#[derive(Serialize)]
struct Line<'a, E> {
    #[serde(flatten)]
    event: &'a E,
    /// Seconds since the run began.
    elapsed: f64,
    /// The share of the run that is done.
    progress: f64,
    /// Seconds until it is done; nothing before enough was seen.
    left: Option<f64>,
}

impl Events {
    /// Nobody listens.
    pub fn none() -> Self {
        Self { to: None }
    }

    /// Events go to a file, which is replaced; `-` is standard output.
    pub fn create(path: &Path) -> Outcome<Self> {
        let to: Box<dyn Write + Send> = match path.as_os_str() == "-" {
            true => Box::new(io::stdout()),
            false => Box::new(File::create(path).map_err(|e| {
                Failure::Input(anyhow::anyhow!("{} cannot be written: {e}", path.display()))
            })?),
        };
        Ok(Self { to: Some(to) })
    }

    /// Writes what happened.
    pub fn tell(&mut self, event: &Event<'_>, elapsed: Duration, told: (f64, Option<Duration>)) {
        self.line(&Line {
            event,
            elapsed: elapsed.as_secs_f64(),
            progress: told.0,
            left: told.1.map(|left| left.as_secs_f64()),
        });
    }

    /// The run begins: what it will do.
    pub fn started(&mut self, run: &Value) {
        self.line(&json!({"event": "run_started", "run": run}));
    }

    /// The run is over.
    pub fn finished(&mut self, elapsed: Duration, outcome: &Outcome<Value>) {
        let seconds = elapsed.as_secs_f64();
        self.line(&match outcome {
            Ok(result) => {
                json!({"event": "run_finished", "elapsed": seconds, "result": result})
            }
            Err(error) => {
                json!({"event": "run_failed", "elapsed": seconds, "error": error.to_string()})
            }
        });
    }

    /// A reader that went away does not end a run.
    fn line(&mut self, line: &impl Serialize) {
        let Some(to) = &mut self.to else { return };
        let written = serde_json::to_vec(line)
            .map_err(io::Error::from)
            .and_then(|line| to.write_all(&[&line, b"\n".as_slice()].concat()))
            .and_then(|()| to.flush());
        if let Err(error) = written {
            note!("note: nobody reads the events any more: {error}");
            self.to = None;
        }
    }
}
