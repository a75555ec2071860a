//! The page says what is measured, set and published now.

use std::path::Path;

use scale::page;

#[test]
fn the_page_is_what_its_figures_come_to() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let fresh = page::fresh(&root).unwrap();
    let page = std::fs::read_to_string(root.join(page::FILE)).unwrap();
    assert!(
        page == fresh,
        "docs/scale.md is stale: something that it is reckoned from has changed. Run `make scale`."
    );
}
