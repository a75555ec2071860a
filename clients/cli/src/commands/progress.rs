//! How far a long run is, for somebody who looks on.

use std::io::{self, IsTerminal, Stderr, Write};

/// A line on stderr that is written over and over; nothing where stderr is no
/// terminal.
pub(crate) struct Progress {
    terminal: Option<Stderr>,
}

impl Progress {
    /// On stderr, if somebody looks at it.
    pub(crate) fn new() -> Self {
        let stderr = io::stderr();
        Self {
            terminal: stderr.is_terminal().then_some(stderr),
        }
    }

    /// Says `how_far`. A terminal that is gone ends nothing.
    pub(crate) fn say(&mut self, how_far: &str) {
        if let Some(terminal) = &mut self.terminal {
            let _ = write!(terminal, "\r\x1b[K{how_far}");
            let _ = terminal.flush();
        }
    }

    /// Makes room for what is printed now.
    pub(crate) fn clear(&mut self) {
        self.say("");
    }
}
