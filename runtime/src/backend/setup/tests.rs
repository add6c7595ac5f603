//! Setup without a network: pip cut off from every index, and a stand-in pip.

#![allow(clippy::unwrap_used)]

use std::ffi::OsString;
use std::path::Path;

use super::{Installer, Package, SetupError, wheel};

fn installer(cache: &Path) -> Installer {
    Installer {
        wheel: wheel::for_this_machine(Package::ONNX_RUNTIME).unwrap(),
        cache: cache.to_path_buf(),
        pythons: vec!["python3".into(), "python".into()],
        variables: Vec::new(),
    }
}

fn leftovers(cache: &Path) -> usize {
    let folder = cache
        .join("onnxruntime")
        .join(Package::ONNX_RUNTIME.version);
    folder.read_dir().map_or(0, Iterator::count)
}

#[test]
fn without_python_the_message_says_what_to_set() {
    let cache = tempfile::tempdir().unwrap();
    let mut installer = installer(cache.path());
    installer.pythons = vec!["no-such-python".into()];
    let error = installer.install(&|_| {}).unwrap_err();
    assert!(matches!(error, SetupError::NoPython { .. }));
    assert!(error.to_string().contains("set PYTHON"), "{error}");
    assert_eq!(leftovers(cache.path()), 0);
}

#[test]
fn without_network_the_message_carries_the_words_of_pip() {
    let cache = tempfile::tempdir().unwrap();
    let mut installer = installer(cache.path());
    let offline = [
        ("PIP_CONFIG_FILE", "/dev/null"),
        ("PIP_INDEX_URL", "http://127.0.0.1:9/simple"),
        ("PIP_EXTRA_INDEX_URL", ""),
        ("PIP_FIND_LINKS", ""),
        ("PIP_RETRIES", "1"),
        ("PIP_DEFAULT_TIMEOUT", "1"),
        ("PIP_NO_CACHE_DIR", "1"),
        ("no_proxy", "127.0.0.1"),
    ];
    installer.variables = offline
        .map(|(name, value)| (name, OsString::from(value)))
        .to_vec();
    let error = installer.install(&|_| {}).unwrap_err();
    assert!(matches!(error, SetupError::Pip { .. }), "{error}");
    assert!(error.to_string().contains("onnxruntime==1.31.1"), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
    assert_eq!(leftovers(cache.path()), 0);
}

#[test]
#[ignore = "downloads the wheels of every platform"]
fn every_pinned_wheel_holds_its_library() {
    for wheel in wheel::WHEELS {
        let cache = tempfile::tempdir().unwrap();
        let installer = Installer {
            wheel: wheel.clone(),
            ..installer(cache.path())
        };
        let library = installer.install(&|_| {}).unwrap();
        assert!(
            library.metadata().unwrap().len() > 10_000_000,
            "{}",
            wheel.platform
        );
    }
}

#[cfg(unix)]
mod stand_in {
    //! pip played by a shell script that copies a file to `--dest`.

    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use sha2::{Digest, Sha256};

    use super::super::{Installer, SetupError};
    use super::{installer, leftovers};

    /// Copied by another process: while this one holds a script open for
    /// writing, a child forked by another test could make it unusable.
    fn script(folder: &Path, body: &str) -> PathBuf {
        let (text, path) = (folder.join("python.txt"), folder.join("python"));
        let dest = "for arg; do dest=$arg; done";
        fs::write(&text, format!("#!/bin/sh\n{dest}\n{body}\n")).unwrap();
        fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(
            Command::new("cp")
                .args([&text, &path])
                .status()
                .unwrap()
                .success()
        );
        path
    }

    fn wheel(folder: &Path, member: &str) -> PathBuf {
        let path = folder.join("small.zip");
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        zip.start_file(member, stored).unwrap();
        zip.write_all(b"the library").unwrap();
        zip.finish().unwrap();
        path
    }

    /// An installer whose pip delivers a wheel with `member` in it.
    fn delivering(folder: &Path, member: &str) -> Installer {
        let wheel = wheel(folder, member);
        let copy = format!("cp '{}' \"$dest/onnxruntime.whl\"", wheel.display());
        let mut installer = installer(&folder.join("cache"));
        installer.pythons = vec![script(folder, &copy).into()];
        let hash = format!("{:x}", Sha256::digest(fs::read(wheel).unwrap()));
        installer.wheel.sha256 = hash.leak();
        installer
    }

    #[test]
    fn the_library_lands_in_the_cache_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let mut installer = delivering(folder.path(), "capi/lib.so");
        installer.wheel.member = "capi/lib.so";
        let path = installer.install(&|_| {}).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"the library");
        assert_eq!(leftovers(&installer.cache), 1);

        installer.pythons = Vec::new();
        assert_eq!(installer.install(&|_| {}).unwrap(), path);
    }

    #[test]
    fn two_installers_at_once_agree() {
        let folder = tempfile::tempdir().unwrap();
        let mut installer = delivering(folder.path(), "capi/lib.so");
        installer.wheel.member = "capi/lib.so";
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| installer.install(&|_| {})))
                .collect();
            for run in runs {
                assert_eq!(
                    fs::read(run.join().unwrap().unwrap()).unwrap(),
                    b"the library"
                );
            }
        });
        assert_eq!(leftovers(&installer.cache), 1);
    }

    #[test]
    fn another_wheel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut installer = delivering(folder.path(), "capi/lib.so");
        installer.wheel.sha256 = "00";
        let error = installer.install(&|_| {}).unwrap_err();
        assert!(matches!(error, SetupError::Hash { .. }), "{error}");
        assert_eq!(leftovers(&installer.cache), 0);
    }

    #[test]
    fn a_wheel_without_the_library_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let installer = delivering(folder.path(), "something/else");
        let error = installer.install(&|_| {}).unwrap_err();
        assert!(
            error.to_string().contains(installer.wheel.member),
            "{error}"
        );
        assert_eq!(leftovers(&installer.cache), 0);
    }

    #[test]
    fn a_hash_that_pip_refuses_is_a_hash_error() {
        let folder = tempfile::tempdir().unwrap();
        let said = "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.";
        let mut installer = installer(folder.path());
        let refuse = format!("echo '{said}' >&2; exit 1");
        installer.pythons = vec![script(folder.path(), &refuse).into()];
        let error = installer.install(&|_| {}).unwrap_err();
        assert!(matches!(error, SetupError::Hash { .. }), "{error}");
    }

    #[test]
    fn a_python_without_pip_is_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let mut installer = installer(folder.path());
        let refuse = "echo 'python: No module named pip' >&2; exit 1";
        installer.pythons = vec![script(folder.path(), refuse).into()];
        let error = installer.install(&|_| {}).unwrap_err();
        assert!(error.to_string().contains("No module named pip"), "{error}");
    }
}
