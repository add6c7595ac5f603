//! One PNG picture per frame, named by a pattern such as `frames/%05d.png`.
//!
//! The pictures are written into a hidden folder beside their final place and moved one by one
//! on `finish`; an earlier drop removes them. Pictures of an older, longer video with the same
//! names stay.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::output::scratch_folder;
use super::png::encode_png;
use super::{FrameWriter, MediaError, VideoSpec};

/// Whether the file name counts frames, well or badly spelled.
pub fn is_pattern(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.to_string_lossy().contains('%'))
}

pub struct Sequence {
    spec: VideoSpec,
    path: PathBuf,
    pattern: Pattern,
    folder: TempDir,
    frames: u64,
}

impl Sequence {
    pub fn create(path: &Path, spec: VideoSpec) -> Result<Self, MediaError> {
        let pattern = Pattern::parse(path)?;
        Ok(Self {
            spec,
            path: path.into(),
            pattern,
            folder: scratch_folder(path)?,
            frames: 0,
        })
    }
}

impl FrameWriter for Sequence {
    fn write(&mut self, rgb: &[u8]) -> Result<(), MediaError> {
        let name = self.pattern.name(self.frames);
        let target = self.path.with_file_name(&name);
        let file = File::create(self.folder.path().join(&name))
            .map_err(MediaError::io("create", &target))?;
        let mut output = BufWriter::new(file);
        encode_png(&mut output, &target, self.spec, rgb)?;
        let file = output
            .into_inner()
            .map_err(|e| MediaError::io("write", &target)(e.into_error()))?;
        file.sync_all().map_err(MediaError::io("write", &target))?;
        self.frames += 1;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), MediaError> {
        if self.frames == 0 {
            return Err(MediaError::NoFrames { path: self.path });
        }
        for frame in 0..self.frames {
            let name = self.pattern.name(frame);
            let target = self.path.with_file_name(&name);
            fs::rename(self.folder.path().join(&name), &target)
                .map_err(MediaError::io("rename the finished file to", &target))?;
        }
        let folder = self.folder.path().to_path_buf();
        self.folder
            .close()
            .map_err(MediaError::io("remove the temporary folder", &folder))
    }
}

/// A file name around one counter of at least `digits` digits.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    before: String,
    digits: usize,
    after: String,
}

impl Pattern {
    pub fn parse(path: &Path) -> Result<Self, MediaError> {
        let error = |reason| MediaError::Pattern {
            path: path.into(),
            reason,
        };
        let Some(name) = path.file_name().and_then(|n| n.to_str()) else {
            return Err(error("the file name is not Unicode text"));
        };
        let Some((before, rest)) = name.split_once('%') else {
            return Err(error("the file name has no counter"));
        };
        let Some((digits, after)) = rest.split_once('d') else {
            return Err(error("the counter does not end in `d`"));
        };
        if after.contains('%') {
            return Err(error("there is more than one counter"));
        }
        let Some(digits) = counter_digits(digits) else {
            return Err(error(
                "the counter is neither %d nor %0Nd with N from 1 to 9",
            ));
        };
        Ok(Self {
            before: before.into(),
            digits,
            after: after.into(),
        })
    }

    pub fn name(&self, frame: u64) -> String {
        let Self {
            before,
            digits,
            after,
        } = self;
        format!("{before}{frame:0digits$}{after}")
    }

    /// The frame that has this name.
    pub fn number(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        let frame = digits.parse().ok()?;
        (self.name(frame) == name).then_some(frame)
    }
}

/// The `N` of `%0Nd`; 1 for `%d`.
fn counter_digits(flags: &str) -> Option<usize> {
    match flags.as_bytes() {
        [] => Some(1),
        [b'0', digit @ b'1'..=b'9'] => Some(usize::from(digit - b'0')),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_fill_with_zeros() {
        let name = |path, frame| Pattern::parse(Path::new(path)).unwrap().name(frame);
        assert_eq!(name("a/%05d.png", 7), "00007.png");
        assert_eq!(name("x-%d-y.png", 12), "x-12-y.png");
        assert_eq!(name("%02d.png", 123), "123.png");
    }

    #[test]
    fn names_give_their_number_back() {
        let pattern = Pattern::parse(Path::new("f-%03d.png")).unwrap();
        assert_eq!(pattern.number("f-007.png"), Some(7));
        assert_eq!(pattern.number("f-1234.png"), Some(1234));
        for name in ["f-7.png", "f-+07.png", "f-.png", "007.png", "f-0123.png"] {
            assert_eq!(pattern.number(name), None, "{name}");
        }
    }

    #[test]
    fn badly_spelled_counters_are_refused() {
        for path in ["%5d.png", "%s.png", "%d%d.png", "%d/a.png", "%.png"] {
            assert!(Pattern::parse(Path::new(path)).is_err(), "{path}");
        }
    }
}
