//! The videos of one run: which prompts and seeds, and where each goes.

use std::fs;
use std::path::{Path, PathBuf};

use ltxc_runtime::run::Job;

use crate::args::RunArgs;
use crate::failure::{Failure, Outcome};

/// Most videos of a run.
const MOST: usize = 10_000;
/// Longest file of prompts.
const LONGEST: u64 = 16 << 20;

/// One video to make.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub prompt: String,
    pub seed: u64,
    pub output: PathBuf,
    pub latents: Option<PathBuf>,
}

/// The prompts of `--prompts`: one a line; empty lines and lines that begin with `#` do not count.
pub fn prompts(path: &Path) -> Outcome<Vec<String>> {
    let refused = |why: String| Failure::Input(anyhow::anyhow!("{}: {why}", path.display()));
    let meta = fs::metadata(path).map_err(|e| refused(e.to_string()))?;
    if meta.len() > LONGEST || !meta.is_file() {
        return Err(refused("it is no text file of prompts".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(|e| refused(e.to_string()))?;
    let lines = text.lines().map(str::trim);
    let prompts: Vec<String> = lines
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    match prompts.is_empty() {
        true => Err(refused(
            "there is no prompt in it; write one a line".to_owned(),
        )),
        false => Ok(prompts),
    }
}

/// Every prompt with `--batch` seeds each, from the run's seed on.
pub fn takes(args: &RunArgs, job: &Job, prompts: &[String]) -> Outcome<Vec<Planned>> {
    let count = prompts.len().saturating_mul(args.batch);
    if count == 0 || count > MOST {
        let why = format!("a run makes 1 to {MOST} videos, not {count}; change --batch");
        return Err(Failure::Misuse(why));
    }
    let frames = job.geometry().asked.frames;
    let default = PathBuf::from(if frames == 1 { "out.png" } else { "out.mp4" });
    let output = args.output.clone().unwrap_or(default);
    let numbered = |path: &Path, index: usize| match count {
        1 => path.to_owned(),
        _ => numbered(path, index + 1),
    };
    let each = prompts
        .iter()
        .flat_map(|prompt| (0..args.batch).map(move |take| (prompt, take as u64)));
    let planned = each.enumerate().map(|(index, (prompt, take))| Planned {
        prompt: prompt.clone(),
        seed: job.seed().wrapping_add(take),
        output: numbered(&output, index),
        latents: args
            .save_latents
            .as_deref()
            .map(|path| numbered(path, index)),
    });
    Ok(planned.collect())
}

/// `out.mp4` becomes `out-2.mp4`, `frames/%05d.png` becomes `frames-2/%05d.png`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let name = |path: &Path| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    if name(path).contains('%') {
        let folder = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        return match folder {
            Some(folder) => folder
                .with_file_name(format!("{}-{number}", name(folder)))
                .join(name(path)),
            None => Path::new(&number.to_string()).join(name(path)),
        };
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let dotted = path
        .extension()
        .map_or_else(String::new, |e| format!(".{}", e.to_string_lossy()));
    path.with_file_name(format!("{stem}-{number}{dotted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_videos_have_numbered_names() {
        for (path, expected) in [
            ("out.mp4", "out-2.mp4"),
            ("a.b/out.gif", "a.b/out-2.gif"),
            ("frames/%05d.png", "frames-2/%05d.png"),
            ("%05d.png", "2/%05d.png"),
        ] {
            assert_eq!(numbered(Path::new(path), 2), Path::new(expected));
        }
    }

    #[test]
    fn prompts_are_lines_without_comments() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("prompts.txt");
        fs::write(&path, "# mine\n a cat \n\nb\n").expect("written");
        assert_eq!(prompts(&path).expect("prompts"), ["a cat", "b"]);
        fs::write(&path, "\n#\n").expect("written");
        assert!(prompts(&path).is_err());
    }
}
