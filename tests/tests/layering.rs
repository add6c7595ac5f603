//! Which crate may know which, and under which licences the others come.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// Edges between the crates of this repository; the program and the tests may know all.
const EDGES: &[(&str, &[&str])] = &[
    ("ltxc-ir", &[]),
    ("ltxc-bundle", &[]),
    ("ltxc-front", &["ltxc-ir"]),
    ("ltxc-passes", &["ltxc-ir"]),
    ("ltxc-export", &["ltxc-ir", "ltxc-bundle"]),
    ("ltxc-runtime", &["ltxc-bundle"]),
];

/// The only crates that may know a library.
const OWNERS: &[(&str, &[&str])] = &[
    ("petgraph", &["ltxc-ir"]),
    ("prost", &["ltxc-export"]),
    ("ort", &["ltxc-runtime"]),
    ("tract-onnx", &["ltxc-runtime"]),
    ("miette", &["ltxc-front", "ltxc"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn packages(arguments: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .args(arguments)
        .current_dir(root())
        .output()
        .expect("cargo runs, as it runs this test");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {errors}");
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    list(&metadata, "packages").to_vec()
}

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value[field].as_array().map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// `(crate, what it depends on)` for every declared dependency, optional ones included, that is no dev-dependency.
fn edges() -> Vec<(String, String)> {
    let mut edges = Vec::new();
    for package in packages(&["--no-deps", "--offline"]) {
        for dependency in list(&package, "dependencies") {
            if text(dependency, "kind") != "dev" {
                let to = text(dependency, "name").to_owned();
                edges.push((text(&package, "name").to_owned(), to));
            }
        }
    }
    edges
}

#[test]
fn our_crates_know_only_the_layers_below_them() {
    let edges = edges();
    assert!(!edges.is_empty());
    for (from, to) in edges {
        if !to.starts_with("ltxc") || from == "ltxc" || from == "ltxc-tests" {
            continue;
        }
        let allowed = EDGES.iter().find(|(name, _)| *name == from);
        let allowed = allowed.is_some_and(|(_, names)| names.contains(&to.as_str()));
        assert!(allowed, "{from} must not depend on {to}");
    }
}

#[test]
fn a_library_behind_an_interface_has_one_owner() {
    let edges = edges();
    for (library, owners) in OWNERS {
        let mut users: Vec<&str> = edges
            .iter()
            .filter(|(_, to)| to == library)
            .map(|(from, _)| from.as_str())
            .collect();
        assert!(!users.is_empty(), "nothing depends on {library}");
        users.retain(|user| !owners.contains(user));
        assert!(
            users.is_empty(),
            "{users:?} must not depend on {library}; {owners:?} may"
        );
    }
}

/// Whether an SPDX expression can be met by allowed licences; `/` is the old way to write `OR`.
fn satisfiable(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    any_of(&mut words, allowed) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn any_of(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut met = all_of(words, allowed);
    while words.next_if_eq(&"OR").is_some() {
        met |= all_of(words, allowed);
    }
    met
}

fn all_of(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let mut met = licence(words, allowed);
    while words.next_if_eq(&"AND").is_some() {
        met &= licence(words, allowed);
    }
    met
}

/// One licence, or an expression in parentheses. An exception only permits more, so it is not looked at.
fn licence(words: &mut Words<'_>, allowed: &[&str]) -> bool {
    let met = match words.next() {
        Some("(") => any_of(words, allowed) & words.next_if_eq(&")").is_some(),
        Some(name) => allowed.contains(&name),
        None => false,
    };
    if words.next_if_eq(&"WITH").is_some() {
        words.next();
    }
    met
}

#[test]
fn licence_expressions_mean_what_spdx_says() {
    let allowed = ["MIT", "Zlib", "Apache-2.0"];
    for (expression, met) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND Zlib", true),
        ("GPL-3.0 OR MIT AND ISC", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MIT Zlib", false),
        ("", false),
    ] {
        assert_eq!(satisfiable(expression, &allowed), met, "{expression}");
    }
}

/// Looks at every platform's and every feature's crates; cargo may have to fetch those not built here.
#[test]
fn every_dependency_comes_under_an_allowed_licence() {
    let list = std::fs::read_to_string(root().join(".ci/licences.txt"))
        .expect("the list of licences is part of the repository");
    let allowed: Vec<&str> = list.lines().filter(|line| !line.is_empty()).collect();
    let packages = packages(&["--all-features"]);
    assert!(!packages.is_empty());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !satisfiable(text(package, "license"), &allowed))
        .map(|p| format!("{} ({})", text(p, "name"), text(p, "license")))
        .collect();
    assert!(
        refused.is_empty(),
        "not in .ci/licences.txt: {}",
        refused.join(", ")
    );
}
