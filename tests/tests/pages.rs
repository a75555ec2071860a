//! The pages: a link leads somewhere, and a page of docs/ is found from their index.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Parser, Tag, TagEnd};

/// Folders that hold what was built or installed.
const NOT_OURS: [&str; 4] = ["target", "node_modules", "dist", "build"];

/// What a page of Markdown has.
#[derive(Default)]
struct Page {
    links: Vec<String>,
    /// Of its headings, as GitHub makes them.
    anchors: BTreeSet<String>,
}

impl Page {
    fn of(text: &str) -> Self {
        let mut page = Self::default();
        let mut heading = None;
        for event in Parser::new(text) {
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    page.anchors
                        .insert(anchor(&heading.take().unwrap_or_default()));
                }
                Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                    page.links.push(dest_url.into_string());
                }
                Event::Text(text) | Event::Code(text) => {
                    if let Some(heading) = &mut heading {
                        heading.push_str(&text);
                    }
                }
                _ => {}
            }
        }
        page
    }
}

fn anchor(heading: &str) -> String {
    let heading = heading.to_lowercase();
    let kept = heading
        .chars()
        .filter(|it| it.is_alphanumeric() || " -_".contains(*it));
    kept.collect::<String>().replace(' ', "-")
}

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap()
}

fn pages(folder: &Path, found: &mut BTreeMap<PathBuf, Page>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
        let is_folder = entry.file_type().unwrap().is_dir();
        if is_folder && !name.starts_with('.') && !NOT_OURS.contains(&name.as_str()) {
            pages(&path, found);
        } else if !is_folder && name.ends_with(".md") {
            let text = fs::read_to_string(&path).unwrap();
            found.insert(path, Page::of(&text));
        }
    }
}

fn all_pages() -> BTreeMap<PathBuf, Page> {
    let mut found = BTreeMap::new();
    pages(&root(), &mut found);
    found
}

/// `link` of a page in `folder`, without what goes up and down again.
fn target(folder: &Path, link: &str) -> PathBuf {
    let mut path = folder.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            other => path.push(other),
        }
    }
    path
}

/// Why `link` of `page` leads nowhere, if so. What is elsewhere is not looked at.
fn fault(pages: &BTreeMap<PathBuf, Page>, page: &Path, link: &str) -> Option<&'static str> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = match file {
        "" => page.to_owned(),
        file => target(page.parent().unwrap(), file),
    };
    if !path.exists() {
        return Some("there is no such file");
    }
    let has_anchor = |page: &Page| anchor.is_empty() || page.anchors.contains(anchor);
    let is_found = pages.get(&path).is_none_or(has_anchor);
    (!is_found).then_some("the page has no such heading")
}

#[test]
fn every_link_leads_somewhere() {
    let pages = all_pages();
    let mut faults = Vec::new();
    let mut links = 0;
    for (path, page) in &pages {
        for link in &page.links {
            links += 1;
            if let Some(fault) = fault(&pages, path, link) {
                faults.push(format!("{}: {link}: {fault}", path.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(links > 200, "too few are found to be all of them: {links}");
}

#[test]
fn a_link_that_leads_nowhere_is_found() {
    // A page that is there, with other words.
    let page = root().join("docs/README.md");
    let text = "# One `page`\n\n[this](#one-page) [no](#two) [other](stripe.md) [gone](gone.md) [far](https://a.b)";
    let pages = BTreeMap::from([(page.clone(), Page::of(text))]);
    let links = pages[&page].links.iter();
    let faults = links.filter_map(|link| fault(&pages, &page, link));
    let expected = ["the page has no such heading", "there is no such file"];
    assert_eq!(faults.collect::<Vec<_>>(), expected);
}

#[test]
fn the_index_names_every_page_of_the_docs() {
    let docs = root().join("docs");
    let pages = all_pages();
    let index = docs.join("README.md");
    let named = pages[&index].links.iter();
    let named: BTreeSet<PathBuf> = named.map(|link| target(&docs, link)).collect();
    let of_docs = pages.keys().filter(|path| path.starts_with(&docs));
    let of_docs = of_docs.filter(|path| **path != index).cloned();
    assert_eq!(named, of_docs.collect());
}
