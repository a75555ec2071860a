//! Where a crate's tests are one program, every file of theirs is part of it: one that
//! `main.rs` does not name would never run, and nothing else would tell.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::fs;
use std::path::{Path, PathBuf};

fn folders(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_dir()).collect()
}

/// The `main.rs` of every crate whose tests are one program.
fn programs() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let areas = [
        "benches",
        "clients",
        "examples",
        "functions",
        "local",
        "shared",
        "tests",
    ];
    let crates = areas.iter().flat_map(|area| folders(&root.join(area)));
    let programs = crates.map(|package| package.join("tests/main.rs"));
    programs.filter(|main| main.is_file()).collect()
}

/// The files beside `main` that it does not name.
fn left_out(main: &Path) -> Vec<PathBuf> {
    let named = fs::read_to_string(main).unwrap();
    let files = fs::read_dir(main.parent().unwrap()).unwrap();
    let mut left_out = Vec::new();
    for path in files.map(|file| file.unwrap().path()) {
        let module = path.file_stem().unwrap().to_str().unwrap();
        let is_source = path.extension().is_some_and(|extension| extension == "rs");
        let is_named = named.lines().any(|line| line == format!("mod {module};"));
        if is_source && path != main && !is_named {
            left_out.push(path);
        }
    }
    left_out
}

#[test]
fn every_file_of_a_test_program_is_part_of_it() {
    let programs = programs();
    assert!(programs.len() > 10, "{programs:?}");
    let left_out: Vec<_> = programs.iter().flat_map(|main| left_out(main)).collect();
    assert!(left_out.is_empty(), "{left_out:?}");
}

#[test]
fn a_file_that_is_left_out_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("main.rs");
    fs::write(&main, "mod support;\n\nmod named;\n").unwrap();
    for module in ["named", "forgotten"] {
        fs::write(folder.path().join(format!("{module}.rs")), "").unwrap();
    }
    assert_eq!(left_out(&main), [folder.path().join("forgotten.rs")]);
}
