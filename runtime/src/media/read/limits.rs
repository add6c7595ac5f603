//! What an input may cost.

use std::path::Path;

use super::ReadError;

/// How large frames may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most columns, and the most rows.
    pub side: u32,
    /// The most bytes of all frames that are kept, and of one frame while it is decoded.
    pub bytes: u64,
}

impl Default for Limits {
    /// 16384 pixels a side, 4 GiB.
    fn default() -> Self {
        Self {
            side: 16384,
            bytes: 4 << 30,
        }
    }
}

impl Limits {
    /// Whether one frame may have this size, before anything is allocated for it.
    pub(super) fn check_frame(
        &self,
        path: &Path,
        width: u64,
        height: u64,
    ) -> Result<(u32, u32), ReadError> {
        let side = |length: u64| {
            u32::try_from(length)
                .ok()
                .filter(|side| (1..=self.side).contains(side))
        };
        let (Some(columns), Some(rows)) = (side(width), side(height)) else {
            return Err(ReadError::TooLarge {
                path: path.into(),
                width,
                height,
                max_side: self.side,
            });
        };
        self.check_all(path, columns, rows, 1)?;
        Ok((columns, rows))
    }

    /// Whether so many frames may be kept.
    pub(super) fn check_all(
        &self,
        path: &Path,
        width: u32,
        height: u32,
        frames: usize,
    ) -> Result<(), ReadError> {
        let frame = (u64::from(width) * u64::from(height)).saturating_mul(3);
        let needed = frame.saturating_mul(frames as u64);
        if needed <= self.bytes {
            return Ok(());
        }
        Err(ReadError::TooMuch {
            path: path.into(),
            frames,
            width,
            height,
            needed,
            limit: self.bytes,
        })
    }
}
