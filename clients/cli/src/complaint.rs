//! What goes to stderr when something fails.

use std::error::Error;
use std::io::{self, Write};

/// Says on stderr that `what`, and why: the error and its causes. There is
/// nowhere to report that stderr is closed.
pub fn complain(what: &str, error: &dyn Error) {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    let _ = writeln!(io::stderr(), "{what}: {text}");
}
