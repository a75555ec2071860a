//! Lines, headings and tables of Markdown.

use std::fmt::Write as _;

/// A heading, with empty lines around it.
pub(crate) fn heading(text: &mut String, title: &str) {
    line(text, &format!("\n### {title}\n"));
}

/// A line.
pub(crate) fn line(text: &mut String, line: &str) {
    // A string takes whatever is written to it.
    let _ = writeln!(text, "{line}");
}

/// The first row of a table, of whose columns so many hold text; then numbers.
pub(crate) fn columns(text: &mut String, names: &[&str], of_text: usize) {
    row(text, names.iter().map(|name| (*name).to_owned()));
    let is_text = |index: usize, name: &str| index < of_text || name == "what to change";
    let rule = names.iter().enumerate();
    row(
        text,
        rule.map(|(index, name)| if is_text(index, name) { "---" } else { "---:" }.to_owned()),
    );
}

/// A row of a table.
pub(crate) fn row(text: &mut String, cells: impl IntoIterator<Item = String>) {
    let mut row = "|".to_owned();
    for cell in cells {
        let _ = write!(row, " {cell} |");
    }
    line(text, &row);
}
