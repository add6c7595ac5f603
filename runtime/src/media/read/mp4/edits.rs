//! Which frames of a track an edit list shows.

use super::boxes::{Fields, find, find_path};

/// More samples than this are not looked at; a day has 5 million at 60 frames per second.
const MOST_SAMPLES: u32 = 20_000_000;

/// Frames in the order of display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    /// Frames that are left out at the start.
    pub skip: u64,
    /// Frames that are shown then, at most.
    pub count: u64,
}

/// Every frame.
pub const ALL: Shown = Shown {
    skip: 0,
    count: u64::MAX,
};

/// Follows an edit list that shows one stretch of the track; others show all of it.
pub fn shown(movie: &[u8], track: &[u8], tables: &[u8], samples: u32) -> Shown {
    let stretch = || {
        let mut edits = edits(find_path(track, &[b"edts", b"elst"])?)?;
        edits.retain(|edit| edit.start >= 0);
        let [edit] = &edits[..] else { return None };
        let scale = ticks_a_second(find_path(track, &[b"mdia", b"mdhd"])?)? as f64
            / ticks_a_second(find(movie, b"mvhd")?)? as f64;
        let length = match edit.duration {
            0 => i64::MAX,
            duration => (duration as f64 * scale).ceil() as i64,
        };
        count(
            edit.start,
            edit.start.saturating_add(length),
            tables,
            samples,
        )
    };
    stretch().unwrap_or(ALL)
}

fn count(start: i64, end: i64, tables: &[u8], samples: u32) -> Option<Shown> {
    let mut durations = Runs::new(find(tables, b"stts")?)?;
    let mut offsets = find(tables, b"ctts").and_then(Runs::new);
    let mut shown = Shown { skip: 0, count: 0 };
    let mut time = 0i64;
    for _ in 0..samples.min(MOST_SAMPLES) {
        let offset = offsets.as_mut().and_then(Runs::next).unwrap_or(0) as i32;
        let display = time.saturating_add(offset.into());
        shown.skip += u64::from(display < start);
        shown.count += u64::from((start..end).contains(&display));
        time = time.saturating_add(durations.next().unwrap_or(0).into());
    }
    (shown.count > 0).then_some(shown)
}

/// Values with how often each stands, one by one.
struct Runs<'a> {
    table: Fields<'a>,
    left: u32,
    value: u32,
}

impl<'a> Runs<'a> {
    fn new(body: &'a [u8]) -> Option<Self> {
        let mut table = Fields(body);
        table.bytes(8)?;
        Some(Self {
            table,
            left: 0,
            value: 0,
        })
    }

    fn next(&mut self) -> Option<u32> {
        while self.left == 0 {
            (self.left, self.value) = (self.table.u32()?, self.table.u32()?);
        }
        self.left -= 1;
        Some(self.value)
    }
}

struct Edit {
    /// In the movie's ticks.
    duration: u64,
    /// In the track's ticks; negative for a pause.
    start: i64,
}

fn edits(body: &[u8]) -> Option<Vec<Edit>> {
    let mut fields = Fields(body);
    let wide = fields.u8()? == 1;
    fields.bytes(7)?;
    let mut edit = || {
        let (duration, start) = if wide {
            (fields.u64()?, fields.u64()? as i64)
        } else {
            (fields.u32()?.into(), i64::from(fields.u32()? as i32))
        };
        fields.bytes(4)?;
        Some(Edit { duration, start })
    };
    Some(std::iter::from_fn(&mut edit).collect())
}

/// The time scale in `mvhd` or `mdhd`.
pub fn ticks_a_second(header: &[u8]) -> Option<u32> {
    let mut fields = Fields(header);
    let times = if fields.u8()? == 1 { 16 } else { 8 };
    fields.bytes(3 + times)?;
    fields.u32().filter(|ticks| *ticks > 0)
}
