//! The template's routes are the routers' routes, and those that are described:
//! one that only the template has would answer 404 in AWS, one that only a router
//! has could not be reached, and one that is not described would not be found.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

#[path = "routes/template.rs"]
mod template;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use stack::story::Api;
use stack::{Options, System};
use template::{Routes, root, template_routes};
use yaml_serde::Value;

/// Routes that are not the API's: the function URL of the webhook has no
/// routes in the template, and the local system serves the webhook under a path.
const WEBHOOK: &str = "webhook";

/// (function, method, path) of every operation of openapi.json.
fn described_routes() -> Routes {
    let text = fs::read_to_string(root().join("openapi.json")).unwrap();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut routes = Routes::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let function = operation["tags"][0].as_str().unwrap().to_owned();
            routes.insert((function, method.to_uppercase(), path.clone()));
        }
    }
    routes
}

/// (function, path) of every `.route("path", …)` in the functions' sources.
fn source_paths() -> Vec<(&'static str, String)> {
    let mut paths = Vec::new();
    for function in ["onboarding", "emission", "report"] {
        for file in rust_files(&root().join("functions").join(function).join("src")) {
            let source = fs::read_to_string(file).unwrap();
            for call in source.split(".route(").skip(1) {
                paths.push((function, call.split('"').nth(1).unwrap().to_owned()));
            }
        }
    }
    paths
}

/// (function, method, path) of what the running system serves on these paths:
/// asked without a key, which is refused, but not as an unknown path or method.
async fn served_routes(system: &System) -> Routes {
    let key = "none".to_owned().into();
    let api = Api::new(system.url(), key).unwrap();
    let mut routes = Routes::new();
    for (function, path) in source_paths() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            // A file of another version is served; one of another name is not there.
            let example = path.replace("{version}", "0123456789abcdef");
            let example = example.replace("{name}", "dashboard.css");
            let example = example.replace(['{', '}'], "");
            let answer = api.call(method, &example).await.unwrap();
            assert_ne!(answer.status, 404, "{method} {path}");
            if answer.status != 405 {
                routes.insert((function.to_owned(), method.to_owned(), path.clone()));
            }
        }
    }
    routes
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[tokio::test]
async fn template_routers_and_document_have_the_same_routes() {
    let template = template_routes();
    assert!(template.len() >= 8, "{template:?}");
    assert!(template.iter().all(|(function, ..)| function != WEBHOOK));
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(Options::manual(folder.path())).await.unwrap();
    assert_eq!(template, served_routes(&system).await);
    assert_eq!(template, described_routes());
    system.stop().await.unwrap();
}

#[test]
fn every_function_of_the_template_has_a_folder_and_a_sample_event() {
    let text = fs::read_to_string(root().join("template.yaml")).unwrap();
    let template: Value = yaml_serde::from_str(&text).unwrap();
    let resources = template["Resources"].as_mapping().unwrap();
    let functions: BTreeSet<String> = resources
        .values()
        .filter_map(|resource| resource["Properties"]["CodeUri"].as_str())
        .map(|uri| uri.trim_start_matches("functions/").to_owned())
        .collect();
    let folders: BTreeSet<String> = fs::read_dir(root().join("functions"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(functions, folders);
    for function in functions {
        let event = root().join("events").join(format!("{function}.json"));
        assert!(event.is_file(), "{}", event.display());
    }
}
