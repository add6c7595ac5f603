//! Bundles that `ltxc run` compiles for itself, found again by what they were made from.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ltxc_bundle::hex;
use ltxc_export::checkpoint::Checkpoint;
use sha2::{Digest, Sha256};

use crate::compile::Project;
use crate::failure::{Failure, Outcome};
use crate::write::tokenizer;

/// Files up to this size count by their content, larger ones by header, size and time of change.
const WHOLE: u64 = 64 << 20;
/// How much of a large file is read; a safetensors header fits.
const HEAD: u64 = 8 << 20;

/// Where this program keeps what it can make again: `$LTXC_CACHE`, or the user's cache folder.
pub fn root() -> Outcome<PathBuf> {
    let own = std::env::var_os("LTXC_CACHE")
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    let found = own.or_else(|| dirs::cache_dir().map(|dir| dir.join("ltxc")));
    found.ok_or_else(|| {
        Failure::Misuse("there is no cache folder; set LTXC_CACHE to one".to_owned())
    })
}

/// Where the bundle of a project belongs.
pub fn bundle_path(project: &Project) -> Outcome<PathBuf> {
    let mut hasher = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hasher.update((bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    // Another build of this program may lower differently, so it counts as another compiler.
    add(&identity(&std::env::current_exe()?)?);
    let settings = [
        &project.preset.source,
        &project.pipeline.source,
        &project.target.source,
    ];
    settings
        .into_iter()
        .chain(project.graphs.values().map(|graph| &graph.source))
        .for_each(|source| add(source.text.as_bytes()));
    add(project.preset.defaults.to_json().to_string().as_bytes());
    if let Some((text, _)) = tokenizer(project)? {
        add(text.as_bytes());
    }
    for path in project
        .checkpoints()?
        .values()
        .flat_map(Checkpoint::sources)
    {
        add(&identity(path)?);
    }
    let hash = hex(&hasher.finalize()[..8]);
    Ok(root()?.join("bundles").join(format!(
        "{}-{}-{hash}",
        project.preset.name, project.target.name
    )))
}

fn identity(path: &Path) -> Outcome<Vec<u8>> {
    let meta = fs::metadata(path)?;
    let mut bytes = Vec::new();
    File::open(path)?
        .take(if meta.len() <= WHOLE { WHOLE } else { HEAD })
        .read_to_end(&mut bytes)?;
    let mut hash = Sha256::digest(&bytes).to_vec();
    hash.extend(meta.len().to_le_bytes());
    if meta.len() > WHOLE {
        let changed = meta
            .modified()?
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        hash.extend(changed.as_nanos().to_le_bytes());
    }
    Ok(hash)
}
