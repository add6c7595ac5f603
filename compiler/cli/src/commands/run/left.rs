//! What stays of a run that ends before its videos are finished, whoever ends it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ltxc_runtime::run::State;

/// Where the work of a run lies that is not finished.
#[derive(Clone, Default)]
pub struct Left(Arc<Mutex<Places>>);

#[derive(Default)]
struct Places {
    /// The frames that are there by now.
    part: Option<PathBuf>,
    /// The folder of finished windows.
    state: Option<PathBuf>,
}

impl Left {
    /// That of a run with this state. Ctrl-C, or another request to end, ends the program as ever, but says first what
    /// stays.
    pub fn watched(state: Option<&State>) -> Self {
        let left = Self::default();
        left.places().state = state.map(|state| state.folder().to_owned());
        #[cfg(unix)]
        say_before_the_end(left.clone());
        left
    }

    /// Notes where frames are, or that those of a finished video are in its file.
    pub fn set_part(&self, part: Option<PathBuf>) {
        self.places().part = part;
    }

    /// Where the frames are that are there by now, in words.
    pub fn frames(&self) -> Option<String> {
        let part = self.places().part.clone()?;
        let part = part.display();
        Some(format!("the frames that were there by then are in {part}"))
    }

    /// Where the finished windows are, in words.
    pub fn windows(&self) -> Option<String> {
        let folder = self.places().state.clone()?;
        let kept = match State::windows_in(&folder) {
            Ok(0) | Err(_) => return None,
            Ok(1) => "a finished window is kept".to_owned(),
            Ok(windows) => format!("{windows} finished windows are kept"),
        };
        let folder = folder.display();
        Some(format!(
            "{kept} in {folder}: the same command goes on from there"
        ))
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where signals cannot be watched, the program ends without a word.
#[cfg(unix)]
fn say_before_the_end(left: Left) {
    use signal_hook::consts::{SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM]) else {
        return;
    };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            let words = left.frames().into_iter().chain(left.windows());
            // A bar may stand on the line.
            words.for_each(|words| crate::output::note!("\n{words}"));
            let _ = emulate_default_handler(signal);
        }
    });
}
