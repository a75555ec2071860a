//! No test is left out: where a crate's tests are one program, every file of theirs is part of
//! it, and the examples of its documentation are run where there can be any. Nothing else would
//! tell of one that never runs.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

fn is_source(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "rs")
}

/// The folders of the workspace's crates, of which this is one.
fn crates() -> Vec<PathBuf> {
    let areas = [
        "benches",
        "clients",
        "examples",
        "functions",
        "local",
        "shared",
        "tests",
    ];
    let folders = areas.iter().flat_map(|area| entries(&root().join(area)));
    let folders = folders.chain([root().join("tests")]);
    let is_crate = |folder: &PathBuf| folder.join("Cargo.toml").is_file();
    folders.filter(is_crate).collect()
}

/// The name of the crate in `folder`.
fn name(folder: &Path) -> String {
    let manifest = manifest(folder);
    let mut lines = manifest.lines();
    let name = lines.find_map(|line| line.strip_prefix("name = \""));
    name.unwrap().trim_end_matches('"').to_owned()
}

fn manifest(folder: &Path) -> String {
    fs::read_to_string(folder.join("Cargo.toml")).unwrap()
}

/// The programs of a crate's tests that are made of several files.
fn mains(folder: &Path) -> Vec<PathBuf> {
    let tests = folder.join("tests");
    if !tests.is_dir() {
        return Vec::new();
    }
    let folders = entries(&tests).into_iter().chain([tests]);
    let mains = folders.map(|folder| folder.join("main.rs"));
    mains.filter(|main| main.is_file()).collect()
}

/// The files beside `main` that it does not name, and that are no program of their own.
fn left_out(main: &Path, manifest: &str) -> Vec<PathBuf> {
    let named = fs::read_to_string(main).unwrap();
    let is_named = |path: &Path| {
        let module = path.file_stem().unwrap().to_str().unwrap();
        let declaration = format!("mod {module};");
        let program = format!("path = \"tests/{module}.rs\"");
        named.lines().any(|line| line == declaration)
            || manifest.lines().any(|line| line == program)
    };
    let files = entries(main.parent().unwrap()).into_iter();
    files
        .filter(|path| is_source(path) && path != main && !is_named(path))
        .collect()
}

/// Whether rustdoc may find examples in a source below `folder`.
fn has_examples(folder: &Path) -> bool {
    entries(folder).iter().any(|path| {
        if path.is_dir() {
            return has_examples(path);
        }
        is_source(path) && fs::read_to_string(path).unwrap().lines().any(may_begin_one)
    })
}

fn may_begin_one(line: &str) -> bool {
    let line = line.trim_start();
    let comment = line
        .strip_prefix("///")
        .or_else(|| line.strip_prefix("//!"));
    let is_fence = comment.is_some_and(|text| text.trim_start().starts_with("```"));
    is_fence || line.starts_with("#![doc = include_str!(")
}

#[test]
fn every_file_of_a_test_program_is_part_of_it() {
    let mut programs = 0;
    for folder in crates() {
        let manifest = manifest(&folder);
        let has = |line: &str| manifest.lines().any(|it| it == line);
        // Without both, cargo would find programs by itself, or none.
        let looks_for_none = has("autotests = false");
        assert_eq!(
            looks_for_none,
            has("path = \"tests/main.rs\""),
            "{folder:?}"
        );
        for main in mains(&folder) {
            assert_eq!(left_out(&main, &manifest), [""; 0].map(PathBuf::from));
            programs += 1;
        }
    }
    assert!(programs > 14, "{programs}");
}

#[test]
fn a_file_that_is_left_out_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("main.rs");
    fs::write(&main, "mod support;\n\nmod named;\n").unwrap();
    for module in ["named", "alone", "forgotten"] {
        fs::write(folder.path().join(format!("{module}.rs")), "").unwrap();
    }
    let manifest = "[[test]]\nname = \"alone\"\npath = \"tests/alone.rs\"\n";
    let forgotten = [folder.path().join("forgotten.rs")];
    assert_eq!(left_out(&main, manifest), forgotten);
}

#[test]
fn the_examples_of_the_documentation_are_run() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut lines = makefile.lines();
    let tested = lines.find_map(|line| line.strip_prefix("DOC_TESTED := "));
    let mut with_examples = Vec::new();
    for folder in crates() {
        if folder.join("src/lib.rs").is_file() && has_examples(&folder.join("src")) {
            with_examples.push(name(&folder));
        }
    }
    with_examples.sort();
    assert_eq!(tested.unwrap(), with_examples.join(" "));
}
