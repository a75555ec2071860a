//! Tells the story, and keeps the account of what did not come out.

use std::fmt::Display;
use std::io::{self, Write};

/// Prints each step with its figures. A figure that is not the expected one is
/// printed as such and counted; the story goes on, so that one run tells of all.
pub struct Narrator {
    out: Box<dyn Write + Send>,
    figures: u32,
    wrong: Vec<String>,
}

impl Narrator {
    /// Tells the story to `out`.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self {
            out: Box::new(out),
            figures: 0,
            wrong: Vec::new(),
        }
    }

    /// Tells the story to standard output.
    pub fn to_stdout() -> Self {
        Self::new(io::stdout())
    }

    /// A part begins, of several steps.
    pub fn part(&mut self, title: &str) {
        self.line(&format!("\n━━ {title}"));
    }

    /// A step begins.
    pub fn step(&mut self, number: u8, title: &str) {
        self.line(&format!("\n{number}  {title}"));
    }

    /// Something happened.
    pub fn say(&mut self, text: impl Display) {
        self.line(&format!("   {text}"));
    }

    /// A figure, as it was read back, beside the one that it must be.
    pub fn figure<A: Display, E: Display>(&mut self, what: &str, actual: A, expected: E) {
        let (actual, expected) = (actual.to_string(), expected.to_string());
        self.figures += 1;
        if actual == expected {
            self.line(&format!("   ✓ {what}: {actual}"));
        } else {
            self.line(&format!("   ✗ {what}: {actual}, and not {expected}"));
            self.wrong
                .push(format!("{what}: {actual}, and not {expected}"));
        }
    }

    /// How many figures were read back so far.
    pub const fn figures(&self) -> u32 {
        self.figures
    }

    /// The figures that did not come out.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// A closed output does not end the story: its exit status still tells.
    fn line(&mut self, text: &str) {
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_that_is_off_is_counted() {
        let mut narrator = Narrator::new(io::sink());
        narrator.figure("units", 5, "5");
        assert!(narrator.wrong().is_empty());
        narrator.figure("units", 6, 5);
        assert_eq!(narrator.wrong(), ["units: 6, and not 5"]);
        assert_eq!(narrator.figures(), 2);
    }
}
