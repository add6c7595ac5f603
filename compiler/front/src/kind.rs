//! Which of the six kinds a file is.

use serde_json::Value as Json;

use crate::diagnostic::{Diagnostic, Source};
use crate::tree::{Kind, Tree, parse};

/// What kind of file a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A graph.
    Graph,
    /// A pipeline.
    Pipeline,
    /// A preset.
    Preset,
    /// A target.
    Target,
    /// A recipe.
    Recipe,
    /// A configuration file of the original program.
    Released,
}

impl FileKind {
    /// The keys that name a released config, which does not start with `ltxc`.
    const RELEASED: [&'static str; 2] = ["pipeline_type", "checkpoint_path"];
    /// The key that names a file of this kind, in the order of looking: a preset also names its pipeline and target.
    const KEYS: [(&'static str, Self); 5] = [
        ("preset", Self::Preset),
        ("graph", Self::Graph),
        ("pipeline", Self::Pipeline),
        ("target", Self::Target),
        ("recipe", Self::Recipe),
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Graph => "graph",
            Self::Pipeline => "pipeline",
            Self::Preset => "preset",
            Self::Target => "target",
            Self::Recipe => "recipe",
            Self::Released => "released config",
        }
    }
}

/// What a file says, without places and comments.
pub fn plain_value(source: &Source) -> Result<Json, Diagnostic> {
    Ok(parse(source)?.to_json())
}

/// What kind of file this is, by the key after `ltxc: 1`, or by the keys of a released config.
pub fn kind_of(source: &Source) -> Result<FileKind, Diagnostic> {
    kind_of_tree(source, &parse(source)?)
}

fn kind_of_tree(source: &Source, tree: &Tree) -> Result<FileKind, Diagnostic> {
    let has = |key: &str| tree.get(key).is_some();
    if !has("ltxc") && FileKind::RELEASED.into_iter().any(has) {
        return Ok(FileKind::Released);
    }
    // A preset without its name is still no pipeline.
    let nameless = has("pipeline") && !["components", "stages", "video"].into_iter().any(has);
    let found = FileKind::KEYS
        .iter()
        .find(|(key, kind)| has(key) || (*kind == FileKind::Preset && nameless));
    found.filter(|_| tree.get("ltxc").is_some()).map(|(_, kind)| *kind).ok_or_else(|| {
        let diagnostic = Diagnostic::new("file::kind", source, tree.span, "this is no ltxc file");
        diagnostic.help("start it with `ltxc: 1` and one of `graph: NAME`, `pipeline: NAME`, `preset: NAME`, `target: NAME`, `recipe: NAME`")
    })
}

/// Parses a file that must be of one kind.
pub fn parse_as(source: &Source, kind: FileKind) -> Result<Tree, Diagnostic> {
    let tree = parse(source)?;
    let found = kind_of_tree(source, &tree)?;
    if found == kind {
        return Ok(tree);
    }
    let span = match &tree.kind {
        Kind::Map(fields) => fields.iter().find(|(key, _)| key.name == found.name()),
        _ => None,
    };
    Err(Diagnostic::new(
        "file::other-kind",
        source,
        span.map_or(tree.span, |(key, _)| key.span),
        format!(
            "a {} must stand here; this is a {}",
            kind.name(),
            found.name()
        ),
    ))
}
