//! What is printed while measuring, and written into the page of results.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use crate::Failure;

/// Between these, the page holds the last run's results; around them, what
/// people wrote about them.
const BEGIN: &str = "<!-- results: written by make bench -->";
const END: &str = "<!-- end of results -->";

/// Markdown, shown as it grows.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// A heading.
    pub(crate) fn heading(&mut self, title: &str) -> io::Result<()> {
        self.line(&format!("\n### {title}\n"))
    }

    /// A line of text.
    pub(crate) fn line(&mut self, line: &str) -> io::Result<()> {
        let mut out = io::stdout();
        writeln!(out, "{line}")?;
        out.flush()?;
        // A string takes whatever is written to it.
        let _ = writeln!(self.text, "{line}");
        Ok(())
    }

    /// The first row of a table.
    pub(crate) fn columns(&mut self, names: &[&str]) -> io::Result<()> {
        self.row(names.iter().map(|name| (*name).to_owned()))?;
        self.row(names.iter().enumerate().map(|(column, _)| {
            let is_text = column == 0;
            if is_text { "---" } else { "---:" }.to_owned()
        }))
    }

    /// A row of a table.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) -> io::Result<()> {
        let mut row = "|".to_owned();
        for cell in cells {
            let _ = write!(row, " {cell} |");
        }
        self.line(&row)
    }

    /// What is going on, for whoever waits; not for the page.
    pub(crate) fn progress(&self, what: &str) -> io::Result<()> {
        writeln!(io::stderr(), "  … {what}")
    }

    /// Puts everything into the page at `path`, in place of the results there.
    pub(crate) fn write_into(&self, path: &Path) -> Result<(), Failure> {
        let page = std::fs::read_to_string(path)?;
        let (before, rest) = page.split_once(BEGIN).ok_or("the page has no results")?;
        let (_, after) = rest.split_once(END).ok_or("the results have no end")?;
        let results = self.text.trim();
        let page = format!("{before}{BEGIN}\n\n{results}\n\n{END}{after}");
        Ok(std::fs::write(path, page)?)
    }
}
