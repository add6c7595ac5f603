//! Pictures that are the frames of a video: a folder, or a pattern such as `frames/%05d.png`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::limits::Limits;
use super::sniff::{Format, sniff};
use super::{Frame, ReadError, Source, still};
use crate::media::output::parent;
use crate::media::sequence::Pattern;

const EXTENSIONS: [&str; 5] = ["png", "jpg", "jpeg", "webp", "bmp"];

/// Pictures in order; each is decoded when it is asked for.
#[derive(Debug)]
pub struct Numbered {
    pictures: std::vec::IntoIter<PathBuf>,
    current: PathBuf,
    limits: Limits,
}

/// The pictures of a folder in the order of the numbers in their names.
pub fn folder(path: &Path, limits: Limits) -> Result<Numbered, ReadError> {
    let mut names: Vec<String> = entries(path)?
        .into_iter()
        .filter_map(|name| name.into_string().ok())
        .filter(|name| is_picture(name))
        .collect();
    names.sort_by_cached_key(|name| natural_key(name));
    if names.is_empty() {
        let reason = format!(
            "the folder has no pictures; they end in .{}",
            EXTENSIONS.join(", .")
        );
        return Err(sequence_error(path, reason));
    }
    Ok(Numbered::new(path, names, limits))
}

/// The pictures that a pattern names, from the lowest number on without a gap.
pub fn pattern(path: &Path, limits: Limits) -> Result<Numbered, ReadError> {
    let pattern = Pattern::parse(path).map_err(ReadError::Pattern)?;
    let folder = parent(path);
    let mut numbers: Vec<u64> = entries(folder)?
        .into_iter()
        .filter_map(|name| pattern.number(name.to_str()?))
        .collect();
    numbers.sort_unstable();
    if numbers.is_empty() {
        let example = pattern.name(0);
        let reason = format!("no file has such a name; the first may be {example}");
        return Err(sequence_error(path, reason));
    }
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
        let reason = format!(
            "{} is missing, but {} is there; frames must be numbered without gaps",
            pattern.name(pair[0] + 1),
            pattern.name(pair[1])
        );
        return Err(sequence_error(path, reason));
    }
    let names = numbers.into_iter().map(|n| pattern.name(n)).collect();
    Ok(Numbered::new(folder, names, limits))
}

impl Numbered {
    fn new(folder: &Path, names: Vec<String>, limits: Limits) -> Self {
        let pictures: Vec<_> = names.iter().map(|name| folder.join(name)).collect();
        Self {
            pictures: pictures.into_iter(),
            current: folder.into(),
            limits,
        }
    }
}

impl Source for Numbered {
    fn next(&mut self) -> Result<Option<Frame>, ReadError> {
        let Some(path) = self.pictures.next() else {
            return Ok(None);
        };
        let format = match sniff(&path)? {
            Format::Unknown | Format::Mp4 => {
                let reason = "it is no PNG, JPEG, WebP, BMP or GIF";
                return Err(ReadError::broken(&path, "picture", reason));
            }
            format => format,
        };
        let frame = still::decode(&path, format, self.limits)?;
        self.current = path;
        Ok(Some(frame))
    }

    fn fps(&self) -> Option<f64> {
        None
    }

    fn place(&self) -> Option<&Path> {
        Some(&self.current)
    }
}

fn entries(folder: &Path) -> Result<Vec<OsString>, ReadError> {
    let list = fs::read_dir(folder).map_err(ReadError::io(folder))?;
    list.map(|entry| Ok(entry.map_err(ReadError::io(folder))?.file_name()))
        .collect()
}

fn sequence_error(path: &Path, reason: String) -> ReadError {
    ReadError::Sequence {
        path: path.into(),
        reason,
    }
}

fn is_picture(name: &str) -> bool {
    let extension = Path::new(name)
        .extension()
        .map(|e| e.to_string_lossy().to_ascii_lowercase());
    !name.starts_with('.') && extension.is_some_and(|e| EXTENSIONS.contains(&e.as_str()))
}

/// Runs of digits compare as numbers, however long; the name itself decides between equals.
fn natural_key(name: &str) -> (Vec<Part>, String) {
    let mut parts = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let digits = first.is_ascii_digit();
        let end = rest
            .find(|c: char| c.is_ascii_digit() != digits)
            .unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        parts.push(if digits {
            let number = run.trim_start_matches('0');
            Part::Number(number.len(), number.into())
        } else {
            Part::Text(run.into())
        });
        rest = after;
    }
    (parts, name.into())
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// Without zeros in front; the longer number is the larger.
    Number(usize, String),
    Text(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_as_numbers() {
        let mut names = [
            "f10.png", "f9.png", "f010.png", "f1b2.png", "f1.png", "1.png",
        ];
        names.sort_by_cached_key(|name| natural_key(name));
        assert_eq!(
            names,
            [
                "1.png", "f1.png", "f1b2.png", "f9.png", "f010.png", "f10.png"
            ]
        );
    }

    #[test]
    fn only_pictures_count() {
        assert!(is_picture("1.PNG"));
        for name in [".1.png", "notes.txt", "png", "1.png.part"] {
            assert!(!is_picture(name), "{name}");
        }
    }
}
