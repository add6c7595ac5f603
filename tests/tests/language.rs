//! The language reference says what the compiler accepts: its examples parse, its table is generated.

use std::fs;
use std::path::PathBuf;

use ltxc_bundle::{Settings, StageOp};
use ltxc_front::{
    Diagnostic, FileKind, GraphFile, PassEntry, PipelineFile, PresetFile, RecipeFile, Source,
    TargetFile, kind_of,
};
use ltxc_ir::op::{Arity, OpReference, Port, REFERENCE};
use ltxc_passes::{Capabilities, PassSpec};

const MARKER: &str = "<!-- ops -->\n";

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../graphs/README.md")
}

fn reference() -> String {
    fs::read_to_string(path()).expect("the language reference is part of the repository")
}

fn port(port: &Port) -> String {
    let mark = match port.arity {
        Arity::One => "",
        Arity::Optional => "?",
        Arity::Many => "..",
    };
    format!("`{}{mark}`", port.name)
}

fn row(op: &OpReference) -> String {
    let ports: Vec<String> = op.ports.iter().map(port).collect();
    let attributes: Vec<String> = op.attributes.iter().map(|a| format!("`{a}`")).collect();
    let words: Vec<&str> = op.doc.split_whitespace().collect();
    let doc = words.join(" ").replace('|', "\\|");
    let (ports, attributes) = (ports.join(", "), attributes.join(", "));
    format!("| `{}` | {ports} | {attributes} | {doc} |\n", op.name)
}

fn table() -> String {
    let rows: String = REFERENCE.iter().map(row).collect();
    format!("| operation | ports | attributes | meaning |\n| --- | --- | --- | --- |\n{rows}")
}

#[test]
fn the_table_of_operations_is_the_one_in_the_code() {
    let text = reference();
    let (before, rest) = text.split_once(MARKER).expect("the table has a first line");
    let (written, after) = rest.split_once(MARKER).expect("the table has a last line");
    let table = table();
    if std::env::var_os("UPDATE").is_some() {
        let updated = format!("{before}{MARKER}{table}{MARKER}{after}");
        fs::write(path(), updated).expect("the reference can be written");
        return;
    }
    assert_eq!(
        written, table,
        "run UPDATE=1 cargo test -p ltxc-tests --test language"
    );
}

/// The examples that are whole files, each under the line it starts in.
fn examples() -> Vec<Source> {
    let text = reference();
    let (mut found, mut rest, mut line) = (Vec::new(), text.as_str(), 1);
    while let Some((before, after)) = rest.split_once("```yaml\n") {
        line += before.lines().count() + 1;
        let (example, next) = after.split_once("```\n").expect("every fence is closed");
        if ["ltxc: 1\n", "pipeline_type: "]
            .iter()
            .any(|start| example.starts_with(start))
        {
            found.push(Source::new(format!("graphs/README.md:{line}"), example));
        }
        line += example.lines().count() + 1;
        rest = next;
    }
    found
}

/// Reads a file with the parts of it that other crates give a meaning; a graph is expanded with an empty config.
fn read(source: &Source) -> Result<FileKind, Vec<Diagnostic>> {
    let kind = kind_of(source).map_err(|mistake| vec![mistake])?;
    match kind {
        FileKind::Graph => {
            let file = GraphFile::read(source)?;
            ltxc_front::expand(&file, &serde_json::json!({}), &Default::default())?;
        }
        FileKind::Pipeline => {
            for (_, stage) in PipelineFile::read(source)?.stages {
                stage.read::<StageOp>()?;
            }
        }
        FileKind::Preset | FileKind::Released => {
            PresetFile::read(source, &[])?.defaults.read::<Settings>()?;
        }
        FileKind::Target => {
            let target = TargetFile::read(source)?;
            target.capabilities.read::<Capabilities>()?;
            target.passes.iter().for_each(assert_known);
        }
        FileKind::Recipe => {
            let recipe = RecipeFile::read(source)?;
            recipe.passes.iter().for_each(assert_known);
        }
    }
    Ok(kind)
}

fn assert_known(entry: &PassEntry) {
    let (pass, with, because) = (&entry.pass, &entry.with, &entry.because);
    let found = ltxc_passes::find(&PassSpec {
        pass: pass.clone(),
        with: with.clone(),
        because: because.clone(),
    });
    assert!(found.is_ok(), "{pass}: {:?}", found.err());
}

#[test]
fn every_example_is_accepted_and_every_kind_of_file_has_one() {
    let mut kinds = Vec::new();
    for source in examples() {
        let kind = read(&source);
        assert!(kind.is_ok(), "{}: {kind:#?}", source.name);
        kinds.extend(kind);
    }
    for kind in [
        FileKind::Graph,
        FileKind::Pipeline,
        FileKind::Preset,
        FileKind::Target,
        FileKind::Released,
    ] {
        assert!(kinds.contains(&kind), "no example of a {kind:?}");
    }
}

/// serde lists every name that settings go by, those of the original program included.
#[test]
fn every_setting_is_in_the_reference() {
    let unknown = serde_json::from_str::<Settings>(r#"{"?": 1}"#).expect_err("no setting is `?`");
    let text = reference();
    let said = unknown.to_string();
    let names: Vec<&str> = said.split('`').skip(3).step_by(2).collect();
    assert!(
        names.contains(&"prompt") && names.contains(&"num_frames"),
        "{said}"
    );
    for name in names {
        assert!(
            text.contains(&format!("`{name}`")),
            "`{name}` is not in the reference"
        );
    }
}

#[test]
fn every_form_is_in_the_reference_and_in_an_example() {
    let text = reference();
    let examples: String = examples().iter().map(|s| s.text.to_string()).collect();
    for form in ["call", "repeat", "sequence", "unbind", "draw"] {
        assert!(text.contains(&format!("**`{form}`**")), "{form}");
        let used = [format!("{{{form}: "), format!("    {form}:\n")];
        assert!(used.iter().any(|used| examples.contains(used)), "{form}");
    }
    for word in [
        "config", "item", "product", "by", "one_of", "when", "scalar", "then",
    ] {
        assert!(examples.contains(&format!("{word}: ")), "{word}");
    }
}
