//! Gets the ONNX Runtime library, and its WebGPU provider, once, for all later runs.
//!
//! A library is one file out of a wheel of a pinned version.
//! The user's own pip fetches the wheel, so mirrors, proxies and certificates
//! configured there hold here too, and which Python runs pip does not matter.
//! pip checks the wheel against a pinned hash and so does this module; nothing
//! else of the wheel is unpacked or executed. Several processes may do this at
//! once: each works in a folder of its own and renames the finished file.

mod pip;
#[cfg(test)]
mod tests;
mod wheel;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tempfile::{NamedTempFile, TempDir};

use self::wheel::Wheel;

pub use wheel::Package;

/// Why the library could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// There is no wheel for this machine.
    #[error(
        "there is no {package} wheel for {os} on {arch}: build or install the library and set {} \
         to it", package.variable
    )]
    Platform {
        /// What has none.
        package: Package,
        /// The operating system.
        os: &'static str,
        /// The processor.
        arch: &'static str,
    },
    /// The user has no cache folder.
    #[error("no cache folder is known for this user: set LTXC_CACHE to a folder")]
    NoCache,
    /// No interpreter could be started.
    #[error(
        "setup runs pip and found no Python ({tried}): install Python with pip, or set PYTHON to \
         its interpreter"
    )]
    NoPython {
        /// What was tried.
        tried: String,
    },
    /// pip did not get the wheel.
    #[error(
        "pip could not get {package} ({words}): check the network and pip's configuration and try \
         again, or set {} to a library that you have", package.variable
    )]
    Pip {
        /// What it was to get.
        package: Package,
        /// pip's last words.
        words: String,
    },
    /// The wheel is not the pinned one.
    #[error(
        "the {package} wheel is not the expected one (sha256 should be {expected}; {found}): do not \
         use it, and check the package index that pip is configured for"
    )]
    Hash {
        /// What it should be.
        package: Package,
        /// The pinned hash.
        expected: String,
        /// The hash found, or pip's words about it.
        found: String,
    },
    /// The wheel lacks the library.
    #[error("the library cannot be unpacked from the {package} wheel: {reason}")]
    Wheel {
        /// Which wheel.
        package: Package,
        /// What is wrong with it.
        reason: String,
    },
    /// The cache folder cannot be used.
    #[error("{} cannot be written ({source}): set LTXC_CACHE to another folder", path.display())]
    Cache {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
}

/// Installs a library unless it is there, and returns its path.
///
/// # Errors
///
/// [`SetupError`] says in one sentence what to do.
pub fn setup(package: Package, report: &dyn Fn(&str)) -> Result<PathBuf, SetupError> {
    Installer::from_env(package)?.install(report)
}

/// Where [`setup`] puts a library.
///
/// # Errors
///
/// [`SetupError::NoCache`] or [`SetupError::Platform`].
pub fn installed_path(package: Package) -> Result<PathBuf, SetupError> {
    Ok(Installer::from_env(package)?.target())
}

/// One installation, with everything that comes from the environment.
struct Installer {
    wheel: Wheel,
    cache: PathBuf,
    /// Interpreters to try in turn.
    pythons: Vec<OsString>,
    /// Variables for pip beside the inherited ones.
    variables: Vec<(&'static str, OsString)>,
}

impl Installer {
    fn from_env(package: Package) -> Result<Installer, SetupError> {
        Ok(Installer {
            wheel: wheel::for_this_machine(package)?,
            cache: cache_folder()?,
            pythons: pip::interpreters(),
            variables: Vec::new(),
        })
    }

    fn target(&self) -> PathBuf {
        self.folder().join(self.wheel.library_name())
    }

    fn folder(&self) -> PathBuf {
        let package = self.wheel.package;
        self.cache.join(package.name).join(package.version)
    }

    fn install(&self, report: &dyn Fn(&str)) -> Result<PathBuf, SetupError> {
        let target = self.target();
        if target.is_file() {
            return Ok(target);
        }
        report(&format!(
            "getting {} with pip, once, into {}",
            self.wheel.package,
            target.display()
        ));
        let folder = self.folder();
        let at_folder = |source| SetupError::Cache {
            path: folder.clone(),
            source,
        };
        fs::create_dir_all(&folder).map_err(at_folder)?;
        let scratch = TempDir::with_prefix_in(".setup-", &folder).map_err(at_folder)?;
        let wheel = pip::download(self, scratch.path())?;
        self.check_hash(&wheel)?;
        let library = self.unpack(&wheel, &folder)?;
        keep(library, &target)?;
        report(&format!("{} is ready", self.wheel.package));
        Ok(target)
    }

    fn check_hash(&self, wheel: &Path) -> Result<(), SetupError> {
        let mut hash = Sha256::new();
        File::open(wheel)
            .and_then(|mut file| io::copy(&mut file, &mut hash))
            .map_err(|source| SetupError::Cache {
                path: wheel.to_path_buf(),
                source,
            })?;
        let found = format!("{:x}", hash.finalize());
        if found == self.wheel.sha256 {
            return Ok(());
        }
        Err(SetupError::Hash {
            package: self.wheel.package,
            expected: self.wheel.sha256.to_string(),
            found,
        })
    }

    fn unpack(&self, wheel: &Path, folder: &Path) -> Result<NamedTempFile, SetupError> {
        let package = self.wheel.package;
        let broken = |reason: String| SetupError::Wheel { package, reason };
        let at_folder = |source| SetupError::Cache {
            path: folder.to_path_buf(),
            source,
        };
        let file = File::open(wheel).map_err(at_folder)?;
        let mut archive = zip::ZipArchive::new(file).map_err(|error| broken(error.to_string()))?;
        let mut member = archive
            .by_name(self.wheel.member)
            .map_err(|error| broken(format!("{}: {error}", self.wheel.member)))?;
        let mut library = new_file(folder).map_err(at_folder)?;
        io::copy(&mut member, library.as_file_mut()).map_err(at_folder)?;
        Ok(library)
    }
}

/// Gives the finished library its name, unless another process was faster.
fn keep(library: NamedTempFile, target: &Path) -> Result<(), SetupError> {
    match library.persist_noclobber(target) {
        Ok(_) => Ok(()),
        Err(_) if target.is_file() => Ok(()),
        Err(error) => Err(SetupError::Cache {
            path: target.to_path_buf(),
            source: error.error,
        }),
    }
}

fn new_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".library-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o755));
    }
    builder.tempfile_in(folder)
}

fn cache_folder() -> Result<PathBuf, SetupError> {
    if let Some(folder) = std::env::var_os("LTXC_CACHE").filter(|folder| !folder.is_empty()) {
        return std::path::absolute(&folder).map_err(|source| SetupError::Cache {
            path: folder.into(),
            source,
        });
    }
    Ok(dirs::cache_dir().ok_or(SetupError::NoCache)?.join("ltxc"))
}
