//! The box structure of MP4 and MOV files (ISO/IEC 14496-12).

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// More boxes than this before the index are no honest file.
const MOST_BOXES: usize = 100_000;
/// The index of a video of days is smaller.
const LARGEST_INDEX: u64 = 256 << 20;

/// The content of the `moov` box, wherever it stands in the file, and where the box ends.
pub fn read_index(file: &mut File, length: u64) -> io::Result<Result<(Vec<u8>, u64), String>> {
    let mut at = 0;
    for _ in 0..MOST_BOXES {
        if at >= length {
            break;
        }
        let Some((kind, start, end)) = top_level(file, at, length)? else {
            return Ok(Err(format!(
                "the file is cut off in a box header at byte {at}"
            )));
        };
        if end > length {
            let name = String::from_utf8_lossy(&kind).into_owned();
            let missing = end - length;
            return Ok(Err(format!(
                "the file is cut off: {missing} bytes are missing at the end of the box `{name}`"
            )));
        }
        if &kind == b"moov" {
            return match end - start {
                size if size > LARGEST_INDEX => {
                    Ok(Err(format!("its index has {} MiB", size >> 20)))
                }
                _ => Ok(Ok((content(file, start, end)?, end))),
            };
        }
        at = end;
    }
    let reason = "it has no index (box `moov`): it was not finished, or is cut off";
    Ok(Err(reason.into()))
}

/// The bytes from `start` to `end`.
pub fn content(file: &mut File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(end - start).read_to_end(&mut data)?;
    Ok(data)
}

/// Kind, start of the content and end of the box at a place of the file.
pub fn top_level(file: &mut File, at: u64, length: u64) -> io::Result<Option<([u8; 4], u64, u64)>> {
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(at))?;
    file.take(16).read_to_end(&mut head)?;
    let Some((kind, header, size)) = header(&head, length - at) else {
        return Ok(None);
    };
    Ok(Some((kind, at + header, at.saturating_add(size))))
}

/// Kind, size of the header and size of the whole; `room` is what a size of 0 means.
fn header(data: &[u8], room: u64) -> Option<([u8; 4], u64, u64)> {
    let kind = *data.get(4..)?.first_chunk()?;
    let (header, size) = match u32::from_be_bytes(*data.first_chunk()?) {
        0 => (8, room),
        1 => (16, u64::from_be_bytes(*data.get(8..)?.first_chunk()?)),
        size => (8, u64::from(size)),
    };
    (size >= header).then_some((kind, header, size))
}

/// The content of the first box of a kind.
pub fn find<'a>(data: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    Boxes(data)
        .find(|(name, _)| name == kind)
        .map(|(_, body)| body)
}

/// The content of the box reached by a path of kinds.
pub fn find_path<'a>(data: &'a [u8], path: &[&[u8; 4]]) -> Option<&'a [u8]> {
    path.iter().try_fold(data, |data, kind| find(data, kind))
}

/// Kinds and contents of boxes one behind the other; ends at the first that is damaged.
pub struct Boxes<'a>(pub &'a [u8]);

impl<'a> Iterator for Boxes<'a> {
    type Item = ([u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, header, size) = header(self.0, self.0.len() as u64)?;
        let size = usize::try_from(size).ok()?;
        let (whole, rest) = self.0.split_at_checked(size)?;
        self.0 = rest;
        Some((kind, &whole[header as usize..]))
    }
}

/// Reads big-endian numbers off the front of a slice.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    pub fn u8(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.bytes(2)?.first_chunk()?))
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(*self.bytes(4)?.first_chunk()?))
    }

    pub fn u64(&mut self) -> Option<u64> {
        let (high, low) = (self.u32()?, self.u32()?);
        Some(u64::from(high) << 32 | u64::from(low))
    }
}
