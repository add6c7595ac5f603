//! Folders that a killed compile left behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A partial folder nobody has touched for this long belongs to no running compile.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);

/// Removes abandoned partial folders of the bundle `name`; what cannot be removed stays.
pub fn remove(parent: &Path, name: &str) {
    let now = SystemTime::now();
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let partial = file.starts_with(&format!(".{name}.")) && file.ends_with(".partial");
        if partial && is_folder(&entry) && age(&entry.path(), now) > ABANDONED {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_folder(entry: &fs::DirEntry) -> bool {
    entry.file_type().is_ok_and(|kind| kind.is_dir())
}

/// Time since the newest file of a folder was written; none where that cannot be told.
fn age(folder: &Path, now: SystemTime) -> Duration {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = files.map(|file| file.path()).chain([folder.to_owned()]);
    let written = paths.filter_map(|path| fs::metadata(path).ok()?.modified().ok());
    let ages = written.map(|time| now.duration_since(time).unwrap_or_default());
    ages.min().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_old_partial_folders_of_that_bundle_go() {
        let parent = tempfile::tempdir().expect("a temporary folder");
        let make = |name: &str, days: u64| {
            let folder = parent.path().join(name);
            fs::create_dir(&folder).expect("a folder");
            let time = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60);
            let file = fs::File::open(&folder).expect("a folder opens");
            file.set_modified(time).expect("its time can be set");
        };
        for (name, days) in [
            (".a.x1.partial", 2),
            (".a.x2.partial", 0),
            (".b.x1.partial", 2),
            ("a", 2),
        ] {
            make(name, days);
        }
        remove(parent.path(), "a");
        let mut left: Vec<_> = fs::read_dir(parent.path())
            .expect("it is there")
            .map(|entry| entry.expect("it lists").file_name())
            .collect();
        left.sort();
        assert_eq!(left, [".a.x2.partial", ".b.x1.partial", "a"]);
    }
}
