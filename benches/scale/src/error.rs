//! Why the page cannot be reckoned.

use std::io;
use std::path::PathBuf;

/// Why the page cannot be reckoned or written.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// A file cannot be read, or the page not be written.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The data file or the template is not what this program reads.
    #[error("{}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: yaml_serde::Error,
    },
    /// Something that the figures need is not where it was.
    #[error("{wanted} is not in {place}")]
    Missing {
        /// What is looked for.
        wanted: String,
        /// Where.
        place: String,
    },
    /// Something that should be a number is none.
    #[error("{text:?} is no number: {place}")]
    NoNumber {
        /// What is there.
        text: String,
        /// Where.
        place: String,
    },
}

impl ScaleError {
    /// `wanted` is not in `place`.
    pub(crate) fn missing(wanted: impl Into<String>, place: impl Into<String>) -> Self {
        Self::Missing {
            wanted: wanted.into(),
            place: place.into(),
        }
    }
}
