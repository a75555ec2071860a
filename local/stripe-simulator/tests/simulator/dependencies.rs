//! A referee shares no code with what it judges.

use std::process::Command;

use serde_json::Value;

#[test]
fn no_crate_of_shared_is_depended_on() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .args(["--manifest-path", manifest])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let simulator = packages
        .iter()
        .find(|package| package["name"] == "stripe-simulator")
        .unwrap();
    let dependencies = simulator["dependencies"].as_array().unwrap();
    assert!(dependencies.len() > 10, "the list was found");
    // A crate of this workspace has a path; one from a registry has none.
    let own: Vec<&Value> = dependencies
        .iter()
        .filter(|dependency| dependency["path"].is_string())
        .map(|dependency| &dependency["name"])
        .collect();
    assert!(own.is_empty(), "{own:?}");
}
