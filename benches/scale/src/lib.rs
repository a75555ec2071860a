//! Reckons, on paper, what large loads take and cost, and writes it into
//! `docs/scale.md`.
//!
//! | module | does |
//! | --- | --- |
//! | [`facts`] | reads what others publish, and what is assumed |
//! | [`inputs`] | reads what this repository measured, sets and fixes |
//! | [`load`] | what a load takes in each service's units |
//! | [`limits`] | at how many events a second each limit is reached |
//! | [`cost`] | what a load costs in a month |
//! | [`page`] | tells it |

use std::path::Path;

pub mod cost;
mod error;
pub mod facts;
pub mod inputs;
pub mod limits;
pub mod load;
mod markdown;
mod number;
pub mod page;
mod table;

pub use error::ScaleError;

/// The text of the file at `path`.
pub(crate) fn read(path: &Path) -> Result<String, ScaleError> {
    std::fs::read_to_string(path).map_err(|source| ScaleError::File {
        path: path.to_owned(),
        source,
    })
}
