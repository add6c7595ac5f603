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
    let (name, target) = (&project.preset.name, &project.target.name);
    let folder = format!("{name}-{target}-{}", key(project)?);
    Ok(root()?.join("bundles").join(folder))
}

/// A hash of all that a bundle is made from.
fn key(project: &Project) -> Outcome<String> {
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
        .chain(project.recipes.iter().map(|recipe| &recipe.source))
        .chain(project.graphs.values().map(|graph| &graph.source))
        .for_each(|source| add(source.text.as_bytes()));
    add(project.preset.defaults.to_json().to_string().as_bytes());
    add(serde_json::json!(project.options).to_string().as_bytes());
    if let Some((text, _)) = tokenizer(project)? {
        add(text.as_bytes());
    }
    let checkpoints = project.open_checkpoints()?;
    for path in checkpoints.values().flat_map(Checkpoint::sources) {
        add(&identity(path)?);
    }
    for lora in checkpoints.values().flat_map(Checkpoint::loras) {
        add(&identity(lora.path())?);
        add(&lora.weight().to_le_bytes());
    }
    add(format!(
        "{:?}",
        (project.fp8, project.size, project.rows, project.budget)
    )
    .as_bytes());
    if let Some(scales) = &project.scales {
        add(scales.to_text().as_bytes());
    }
    add(&[u8::from(project.hoist)]);
    Ok(hex(&hasher.finalize()[..8]))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::CompileOptions;
    use ltxc_export::checkpoint::Fp8;

    fn key_of(loras: &[(&str, f64)], fp8: Option<Fp8>) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let fixture = root.join("tests/fixtures");
        let file = "0.9.8-distilled-like/ltxv-2b-0.9.8-distilled.safetensors";
        let options = CompileOptions {
            preset: "ltxv".to_owned(),
            checkpoints: [(ltxc_front::Role::Model, fixture.join(file))].into(),
            only: vec!["transformer".to_owned()],
            loras: loras
                .iter()
                .map(|(name, weight)| (fixture.join("lora").join(name), *weight))
                .collect(),
            fp8,
            ..CompileOptions::default()
        };
        let project = Project::open(&options).expect("a project");
        key(&project).expect("its files are there")
    }

    #[test]
    fn loras_their_weights_their_order_and_the_basis_count() {
        let (peft, kohya) = ("peft.safetensors", "kohya.safetensors");
        let keys = [
            key_of(&[], None),
            key_of(&[], Some(Fp8::Plain)),
            key_of(&[(peft, 1.0)], None),
            key_of(&[(peft, 0.5)], None),
            key_of(&[(kohya, 1.0)], None),
            key_of(&[(peft, 1.0), (kohya, 1.0)], None),
            key_of(&[(kohya, 1.0), (peft, 1.0)], None),
        ];
        let different: std::collections::BTreeSet<&String> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_eq!(key_of(&[(peft, 0.5)], None), keys[3]);
    }
}
