//! The repository's own rules about rules.

use std::fs;
use std::path::Path;

use ltxc_passes::{Fidelity, Roots, find, rules};
use ltxc_tests::fixture;

fn rule_folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../compiler/passes/src/rules")
}

/// `drop-identities` is `DropIdentities`.
fn struct_name(id: &str) -> String {
    let capital = |word: &str| word[..1].to_uppercase() + &word[1..];
    id.split('-').map(capital).collect()
}

#[test]
fn ids_files_and_structs_agree() {
    for rule in rules() {
        let id = rule.meta().id;
        let path = rule_folder().join(format!("{}.rs", id.replace('-', "_")));
        let source = fs::read_to_string(&path).unwrap_or_default();
        let name = struct_name(id);
        assert!(
            source.contains(&format!("impl Rule for {name} {{")),
            "{} has no {name}",
            path.display()
        );
        assert!(
            source.contains(&format!("id: \"{id}\"")),
            "{} does not say {id}",
            path.display()
        );
    }
}

#[test]
fn every_rule_file_is_registered_once() {
    let files = fs::read_dir(rule_folder())
        .map(Iterator::count)
        .unwrap_or_default();
    let ids: Vec<_> = rules().iter().map(|rule| rule.meta().id).collect();
    assert_eq!(files, ids.len());
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

#[test]
fn every_rule_shows_its_equation_and_has_a_summary() {
    for rule in rules() {
        let meta = rule.meta();
        let path = rule_folder().join(format!("{}.rs", meta.id.replace('-', "_")));
        let source = fs::read_to_string(&path).unwrap_or_default();
        let doc: String = source
            .lines()
            .filter(|line| line.starts_with("///"))
            .collect();
        assert!(
            doc.contains("->"),
            "{} shows no `before` -> `after`",
            meta.id
        );
        assert!(meta.summary.ends_with('.'), "{} has no sentence", meta.id);
    }
}

#[test]
fn every_rule_has_fixtures_that_fire_decline_and_count() {
    let fixtures = fixture::all();
    for rule in rules() {
        for kind in ["fires", "declines", "numbers"] {
            let id = rule.meta().id;
            let found = fixtures
                .iter()
                .any(|f| f.rule == id && f.case.starts_with(kind));
            assert!(found, "tests/rewrites/{id} has no `{kind}..ltxir`");
        }
    }
}

#[test]
fn every_fixture_belongs_to_a_rule() {
    for fixture in fixture::all() {
        assert!(
            find(&fixture.passes()[0]).is_ok(),
            "no rule {}",
            fixture.rule
        );
        let kinds = ["fires", "declines", "numbers"];
        assert!(
            kinds.iter().any(|kind| fixture.case.starts_with(kind)),
            "{}",
            fixture.case
        );
    }
}

#[test]
fn lossy_rules_state_how_far_they_move_the_numbers_and_exact_ones_do_not() {
    for fixture in fixture::all() {
        let Ok(rule) = find(&fixture.passes()[0]) else {
            continue;
        };
        let lossy =
            rule.meta().fidelity == Fidelity::Lossy && !fixture.case.starts_with("declines");
        let at = format!("{}/{}", fixture.rule, fixture.case);
        let stated = fixture.bound.is_some() || fixture.expected.is_some();
        assert_eq!(stated, lossy, "{at}");
    }
}

#[test]
fn roots_are_operations() {
    for rule in rules() {
        let Roots::Named(names) = rule.roots() else {
            continue;
        };
        for name in names {
            assert!(
                ltxc_ir::op::REFERENCE.iter().any(|op| op.name == *name),
                "no op {name}"
            );
        }
    }
}
