//! The routes of the template.
#![allow(dead_code, reason = "each test program uses a part")]
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use yaml_serde::Value;

/// (function, method, path), each once.
pub(crate) type Routes = BTreeSet<(String, String, String)>;

/// (function, method, path) of every HTTP event in template.yaml.
pub(crate) fn template_routes() -> Routes {
    let text = fs::read_to_string(root().join("template.yaml")).unwrap();
    let template: Value = yaml_serde::from_str(&text).unwrap();
    let mut routes = Routes::new();
    for resource in template["Resources"].as_mapping().unwrap().values() {
        let properties = &resource["Properties"];
        let Some(function) = properties["CodeUri"].as_str() else {
            continue;
        };
        let function = function.trim_start_matches("functions/").to_owned();
        let Some(events) = properties["Events"].as_mapping() else {
            continue;
        };
        for event in events.values() {
            if event["Type"].as_str() == Some("HttpApi") {
                let properties = &event["Properties"];
                routes.insert((
                    function.clone(),
                    properties["Method"].as_str().unwrap().to_owned(),
                    properties["Path"].as_str().unwrap().to_owned(),
                ));
            }
        }
    }
    routes
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
