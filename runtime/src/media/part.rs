//! The part of a video that is there while the rest is made: `NAME.part.mp4` beside `NAME.mp4`.
//!
//! It is a fragmented MP4, so that players read as far as it goes: a run that is killed or fails
//! leaves a video of whole fragments. One of an older run is replaced. The file is made for the
//! first fragment, and nothing is left where there was none.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub struct Part {
    path: PathBuf,
    file: File,
    /// Where the samples of each fragment lie.
    data: Vec<Range<u64>>,
    length: u64,
}

impl Part {
    /// Begins the part of a target with what stands before the fragments.
    pub fn create(target: &Path, header: &[u8]) -> io::Result<Self> {
        let path = path_of(target);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&path)?;
        let mut part = Self {
            path,
            file,
            data: Vec::new(),
            length: 0,
        };
        part.file.write_all(header)?;
        part.length = header.len() as u64;
        Ok(part)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fragments so far.
    pub fn fragments(&self) -> usize {
        self.data.len()
    }

    /// Adds a fragment, wholly or not at all.
    pub fn append(&mut self, index: &[u8], samples: &[u8]) -> io::Result<()> {
        let whole = [index, samples].concat();
        if let Err(error) = self.file.write_all(&whole) {
            self.file.set_len(self.length)?;
            return Err(error);
        }
        let end = self.length + whole.len() as u64;
        self.data.push(self.length + index.len() as u64..end);
        self.length = end;
        Ok(())
    }

    /// The samples of all fragments, one behind the other.
    pub fn copy_samples(&mut self, to: &mut impl Write) -> io::Result<()> {
        for Range { start, end } in &self.data {
            self.file.seek(SeekFrom::Start(*start))?;
            io::copy(&mut (&mut self.file).take(end - start), to)?;
        }
        Ok(())
    }

    /// The video is whole elsewhere.
    pub fn remove(mut self) {
        self.data.clear();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if self.data.is_empty() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// `NAME.part.mp4` for `NAME.mp4`.
fn path_of(target: &Path) -> PathBuf {
    target.with_extension("part.mp4")
}
