//! Runs the user's pip to fetch one wheel.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Installer, SetupError, wheel};

/// `PYTHON` alone if it is set, else the usual names.
pub(super) fn interpreters() -> Vec<OsString> {
    match std::env::var_os("PYTHON").filter(|python| !python.is_empty()) {
        Some(python) => vec![python],
        None => vec!["python3".into(), "python".into()],
    }
}

/// Downloads the wheel into `folder` and returns its path.
pub(super) fn download(installer: &Installer, folder: &Path) -> Result<PathBuf, SetupError> {
    let at_folder = |source| SetupError::Cache {
        path: folder.to_path_buf(),
        source,
    };
    let requirements = folder.join("requirements.txt");
    let package = installer.wheel.package;
    let pin = format!(
        "{}=={} --hash=sha256:{}\n",
        package.name, package.version, installer.wheel.sha256
    );
    fs::write(&requirements, pin).map_err(at_folder)?;
    let output = run(installer, &requirements, folder)?;
    if !output.status.success() {
        return Err(failure(installer, &output));
    }
    find_wheel(folder)
        .map_err(at_folder)?
        .ok_or_else(|| SetupError::Pip {
            package,
            words: "it reported success but left no wheel".to_owned(),
        })
}

fn run(installer: &Installer, requirements: &Path, folder: &Path) -> Result<Output, SetupError> {
    let mut tried = Vec::new();
    for python in &installer.pythons {
        match command(python, installer, requirements, folder).output() {
            Ok(output) => return Ok(output),
            Err(error) => tried.push(format!("{}: {error}", python.to_string_lossy())),
        }
    }
    Err(SetupError::NoPython {
        tried: tried.join("; "),
    })
}

fn command(
    python: &OsString,
    installer: &Installer,
    requirements: &Path,
    folder: &Path,
) -> Command {
    let mut command = Command::new(python);
    command
        .args(["-m", "pip", "download", "--no-input", "--progress-bar=off"])
        .args([
            "--disable-pip-version-check",
            "--no-deps",
            "--only-binary=:all:",
        ])
        .args(["--implementation=cp", "--python-version", wheel::PYTHON])
        .args(["--platform", installer.wheel.platform])
        .args(["--require-hashes", "--requirement"])
        .arg(requirements)
        .arg("--dest")
        .arg(folder)
        .envs(
            installer
                .variables
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .stdin(Stdio::null());
    command
}

fn find_wheel(folder: &Path) -> io::Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn failure(installer: &Installer, output: &Output) -> SetupError {
    let text = String::from_utf8_lossy(&output.stderr);
    let (words, package) = (last_words(&text), installer.wheel.package);
    if text.contains("DO NOT MATCH THE HASHES") {
        let expected = installer.wheel.sha256.to_string();
        return SetupError::Hash {
            package,
            expected,
            found: words,
        };
    }
    SetupError::Pip { package, words }
}

/// pip's errors, and the broken connection that it mentions only in a warning.
fn last_words(text: &str) -> String {
    let cause = text
        .lines()
        .rev()
        .find_map(|line| line.split_once("connection broken by "));
    let cause = cause.map(|(_, cause)| plain(cause));
    let errors = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("ERROR:"));
    let mut words: Vec<&str> = cause.into_iter().chain(errors).map(str::trim).collect();
    if words.is_empty() {
        words.extend(
            text.lines()
                .rev()
                .map(str::trim)
                .find(|line| !line.is_empty()),
        );
    }
    if words.is_empty() {
        words.push("it said nothing");
    }
    words.join("; ").chars().take(600).collect()
}

/// The cause without the Python objects that pip prints around it.
fn plain(cause: &str) -> &str {
    let start = cause.rsplit_once(">: ").map_or(cause, |(_, rest)| rest);
    start.split_once("')'").map_or(start, |(words, _)| words)
}
