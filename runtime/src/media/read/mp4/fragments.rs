//! Samples of fragmented files: each fragment (box `moof`) indexes its own.
//!
//! One fragment's index is held at a time, however many there are.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;

use super::boxes::{self, Boxes, Fields, find};

/// A fragment's index has 16 bytes a picture; more than this is no honest one.
const LARGEST: u64 = 16 << 20;
/// More boxes than this without a picture of the track are no honest file.
const MOST_BOXES: usize = 100_000;
const NOT_FINISHED: &str = "it has no pictures: it was not finished, or is cut off";

/// What a track says about all its fragments, or a fragment about all its samples.
#[derive(Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
}

/// Samples that lie behind one another.
struct Run {
    offset: u64,
    left: u32,
    /// The size of all, where `sizes` does not list them.
    size: u32,
    sizes: std::vec::IntoIter<u32>,
}

/// Gives the samples of a track, fragment by fragment.
pub struct Fragments {
    /// Where the next box begins, and where the file ends.
    at: u64,
    length: u64,
    track: u32,
    defaults: BTreeMap<u32, Defaults>,
    runs: VecDeque<Run>,
    /// Samples so far and the time they take.
    samples: u64,
    ticks: u64,
    ticks_a_second: Option<u32>,
}

impl Fragments {
    /// The fragments of a track; `extends` is the content of `mvex`.
    pub fn new(extends: &[u8], track: u32, ticks_a_second: Option<u32>) -> Self {
        let boxes = Boxes(extends).filter(|(kind, _)| kind == b"trex");
        Self {
            at: 0,
            length: 0,
            track,
            defaults: boxes.filter_map(|(_, body)| track_defaults(body)).collect(),
            runs: VecDeque::new(),
            samples: 0,
            ticks: 0,
            ticks_a_second,
        }
    }

    /// Looks for them from a place of a file on, to its end.
    pub fn within(mut self, at: u64, length: u64) -> Self {
        (self.at, self.length) = (at, length);
        self
    }

    /// Frames per second as far as is known by now.
    pub fn fps(&self) -> Option<f64> {
        let fps = self.samples as f64 * f64::from(self.ticks_a_second?) / self.ticks as f64;
        (fps.is_finite() && fps > 0.0).then_some(fps)
    }

    /// Offset and size of the next sample.
    pub fn next(&mut self, file: &mut File) -> Option<Result<(u64, u32), String>> {
        let mut boxes = 0;
        loop {
            if let Some(sample) = self.runs.front_mut().and_then(Run::next) {
                return Some(Ok(sample));
            }
            if self.runs.pop_front().is_some() {
                continue;
            }
            boxes += 1;
            match self.enter(file) {
                Ok(true) if boxes < MOST_BOXES => {}
                Ok(true) => return Some(Err("it has too many boxes without a picture".into())),
                Ok(false) if self.samples == 0 => return Some(Err(NOT_FINISHED.into())),
                Ok(false) => return None,
                Err(reason) => return Some(Err(reason)),
            }
        }
    }

    /// Goes past the next box, and into it where it is a fragment's index; false at the end.
    fn enter(&mut self, file: &mut File) -> Result<bool, String> {
        if self.at >= self.length {
            return Ok(false);
        }
        let unreadable = |error: io::Error| format!("a fragment cannot be read: {error}");
        let start = self.at;
        self.at = self.length;
        let found = boxes::top_level(file, start, self.length).map_err(unreadable)?;
        let Some((kind, body, end)) = found else {
            return Err(format!(
                "the file is cut off in a box header at byte {start}"
            ));
        };
        if &kind != b"moof" {
            self.at = end;
            return Ok(true);
        }
        if end > self.length {
            return Err("the file is cut off in the index of a fragment".into());
        }
        if end - body > LARGEST {
            let claimed = (end - body) >> 20;
            return Err(format!("the index of a fragment has {claimed} MiB"));
        }
        self.at = end;
        let index = boxes::content(file, body, end).map_err(unreadable)?;
        let known = self.index(&index, start);
        known.ok_or_else(|| format!("the fragment at byte {start} has no usable index"))?;
        Ok(true)
    }

    /// Reads the content of a `moof` that begins at `start`.
    fn index(&mut self, index: &[u8], start: u64) -> Option<()> {
        let mut end_of_last = start;
        for (_, of_track) in Boxes(index).filter(|(kind, _)| kind == b"traf") {
            let header = Header::read(find(of_track, b"tfhd")?, &self.defaults)?;
            let base = header.base(start, end_of_last);
            let mut at = base;
            for (_, body) in Boxes(of_track).filter(|(kind, _)| kind == b"trun") {
                let (run, ticks) = run(body, base, at, header.defaults)?;
                at = run.end();
                if header.track == self.track {
                    self.samples += u64::from(run.left);
                    self.ticks = self.ticks.saturating_add(ticks);
                    self.runs.push_back(run);
                }
            }
            end_of_last = at;
        }
        Some(())
    }
}

impl Run {
    fn next(&mut self) -> Option<(u64, u32)> {
        self.left = self.left.checked_sub(1)?;
        let (offset, size) = (self.offset, self.sizes.next().unwrap_or(self.size));
        self.offset = offset.saturating_add(size.into());
        Some((offset, size))
    }

    fn end(&self) -> u64 {
        let listed = self.sizes.as_slice();
        let bytes = match listed.is_empty() {
            true => u64::from(self.left) * u64::from(self.size),
            false => listed.iter().copied().map(u64::from).sum(),
        };
        self.offset.saturating_add(bytes)
    }
}

/// The content of `tfhd`.
struct Header {
    track: u32,
    data_offset: Option<u64>,
    from_the_fragment: bool,
    defaults: Defaults,
}

impl Header {
    fn read(body: &[u8], known: &BTreeMap<u32, Defaults>) -> Option<Self> {
        let mut fields = Fields(body);
        let flags = fields.u32()?;
        let track = fields.u32()?;
        let all = known.get(&track).copied().unwrap_or_default();
        let given = |flag: u32| flags & flag != 0;
        let data_offset = match given(0x1) {
            true => Some(fields.u64()?),
            false => None,
        };
        if given(0x2) {
            fields.u32()?;
        }
        let mut number = |flag: u32, usual: u32| match given(flag) {
            true => fields.u32(),
            false => Some(usual),
        };
        Some(Self {
            track,
            data_offset,
            from_the_fragment: given(0x2_0000),
            defaults: Defaults {
                duration: number(0x8, all.duration)?,
                size: number(0x10, all.size)?,
            },
        })
    }

    /// Where offsets count from: a place of the file, the fragment's start, or where the track before ends.
    fn base(&self, start: u64, end_of_last: u64) -> u64 {
        match (self.data_offset, self.from_the_fragment) {
            (Some(offset), _) => offset,
            (None, true) => start,
            (None, false) => end_of_last,
        }
    }
}

/// The samples of a `trun` and the time they take; without an offset they lie `at` a place.
fn run(body: &[u8], base: u64, at: u64, defaults: Defaults) -> Option<(Run, u64)> {
    let mut fields = Fields(body);
    let flags = fields.u32()?;
    let given = |flag: u32| flags & flag != 0;
    let count = fields.u32()?;
    let offset = match given(0x1) {
        true => base.checked_add_signed(i64::from(fields.u32()? as i32))?,
        false => at,
    };
    if given(0x4) {
        fields.u32()?;
    }
    let (mut sizes, mut ticks) = (Vec::new(), 0);
    if [0x100, 0x200, 0x400, 0x800].into_iter().any(given) {
        for _ in 0..count {
            let mut number = |flag: u32, usual: u32| match given(flag) {
                true => fields.u32(),
                false => Some(usual),
            };
            ticks += u64::from(number(0x100, defaults.duration)?);
            sizes.push(number(0x200, defaults.size)?);
            number(0x400, 0)?;
            number(0x800, 0)?;
        }
    } else {
        ticks = u64::from(count) * u64::from(defaults.duration);
    }
    let endless = sizes.is_empty() && count > 0 && defaults.size == 0;
    let run = Run {
        offset,
        left: count,
        size: defaults.size,
        sizes: sizes.into_iter(),
    };
    (!endless).then_some((run, ticks))
}

/// The content of `trex`.
fn track_defaults(body: &[u8]) -> Option<(u32, Defaults)> {
    let mut fields = Fields(body);
    fields.bytes(4)?;
    let track = fields.u32()?;
    fields.u32()?;
    let (duration, size) = (fields.u32()?, fields.u32()?);
    Some((track, Defaults { duration, size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn a_run_lists_sizes_or_says_one_for_all() {
        let usual = Defaults {
            duration: 10,
            size: 5,
        };
        let (mut run, ticks) = run(&words(&[0x201, 2, 8, 3, 4]), 100, 0, usual).unwrap();
        assert_eq!((run.end(), ticks), (115, 20));
        assert_eq!(
            [run.next(), run.next(), run.next()],
            [Some((108, 3)), Some((111, 4)), None]
        );
        let (mut run, ticks) = super::run(&words(&[0, u32::MAX]), 0, 7, usual).unwrap();
        assert_eq!((run.next(), ticks), (Some((7, 5)), 10 * 0xffff_ffff));
    }

    #[test]
    fn runs_without_an_end_or_without_their_samples_are_refused() {
        let none = Defaults::default();
        assert!(run(&words(&[0, 9]), 0, 0, none).is_none());
        assert!(run(&words(&[0x200, 2, 3]), 0, 0, none).is_none());
        assert!(run(&words(&[0x1, 1, -9_i32 as u32]), 8, 0, none).is_none());
    }

    #[test]
    fn offsets_count_from_the_fragment_or_from_a_place() {
        let header = |flags, rest: &[u32]| {
            let body = [&[flags, 1], rest].concat();
            Header::read(&words(&body), &BTreeMap::new()).unwrap()
        };
        assert_eq!(header(0x2_0000, &[]).base(50, 70), 50);
        assert_eq!(header(0, &[]).base(50, 70), 70);
        assert_eq!(header(0x1, &[1, 0]).base(50, 70), 1 << 32);
    }
}
