//! Running the program as a user does, watched: exit code, output, time, memory.
#![allow(dead_code, clippy::panic, clippy::unwrap_used)]

pub mod safetensors;

use std::fs;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// What a run of the program did.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub seconds: f64,
    /// Largest resident memory in KiB, where the system tells.
    pub peak: u64,
}

impl Ran {
    /// Fails unless the program ended well; returns what it printed.
    pub fn fine(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// The program, to be run in the repository.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ltxc"));
    command.args(arguments).current_dir(root());
    command
}

/// The program under limits of the shell, such as `ulimit -v 1000000`.
pub fn limited(limits: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_ltxc"))
        .args(arguments)
        .env("LTXC_FFMPEG", "") // what is said must not depend on what else is installed
        .current_dir(root());
    command
}

/// Runs to the end, or fails after a while.
pub fn run(mut command: Command, limit: Duration) -> Ran {
    let start = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = collect(child.stdout.take().unwrap());
    let stderr = collect(child.stderr.take().unwrap());
    let (code, peak) = watch(&mut child, start + limit);
    Ran {
        code,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
        seconds: start.elapsed().as_secs_f64(),
        peak,
    }
}

/// Runs the program with time enough for everything.
pub fn ltxc(arguments: &[&str]) -> Ran {
    run(command(arguments), Duration::from_secs(600))
}

fn collect(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn watch(child: &mut Child, end: Instant) -> (Option<i32>, u64) {
    let mut peak = 0;
    loop {
        peak = peak.max(resident(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            return (status.code(), peak);
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it ran too long");
        }
        thread::sleep(Duration::from_millis(2));
    }
}

fn resident(id: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Starts the program and kills it after a while; says whether it was still at work.
pub fn killed(arguments: &[&str], after: Duration) -> bool {
    let mut child = command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let early = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    early
}

/// The latents that a run saves: the numbers behind the header.
pub fn saved_latents(run: &[&str]) -> Vec<f32> {
    let tmp = tempfile::TempDir::new().unwrap();
    let (file, out) = (tmp.path().join("a.safetensors"), tmp.path().join("a.png"));
    let saved = [
        "--save-latents",
        file.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
    ];
    ltxc(&[run, &saved].concat()).fine();
    let bytes = fs::read(file).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let numbers = bytes[8 + header..].chunks_exact(4);
    numbers
        .map(|n| f32::from_le_bytes(n.try_into().unwrap()))
        .collect()
}

/// The bundle of the tiny model, compiled once for each test program.
pub fn shapes() -> &'static Path {
    static BUNDLE: OnceLock<PathBuf> = OnceLock::new();
    BUNDLE.get_or_init(|| {
        let name = concat!(env!("CARGO_CRATE_NAME"), ".bundle");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let out = path.to_str().unwrap();
        ltxc(&["compile", "presets/shapes.yaml", "-o", out]).fine();
        path
    })
}

/// A copy that may be damaged; files are shared until they are replaced.
pub fn copy_of_shapes(to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(shapes()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// The cases of a folder: files with this extension, by name.
pub fn cases(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} has no .{extension}");
    files
}

/// Compares with `NAME.snap` in a folder of the repository; paths in `hidden` are shown by their names.
pub fn snapshot(folder: &str, name: &str, text: &str, hidden: &[(&Path, &str)]) {
    let mut text = text.to_owned();
    for (path, name) in hidden {
        text = text.replace(path.to_str().unwrap(), name);
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(root().join(folder));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Runs every case, then fails if one failed.
pub fn all<T>(cases: impl IntoIterator<Item = T>, mut check: impl FnMut(&T)) {
    let failed = cases
        .into_iter()
        .filter(|case| catch_unwind(AssertUnwindSafe(|| check(case))).is_err());
    let failed = failed.count();
    assert_eq!(failed, 0, "{failed} cases failed, see above");
}
