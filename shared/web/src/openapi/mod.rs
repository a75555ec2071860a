//! What the functions' parts of the API's description (OpenAPI 3.1) are made of.
//!
//! Each function describes its operations in a module `openapi`, from the types
//! that it reads and answers with. Nothing of this runs in a function: the
//! description is made at build time, checked in as `openapi.json` and served as
//! that file (`make openapi`).

mod operation;
mod part;
pub mod schema;

pub use operation::{Example, Operation};
pub use part::{Part, shared_components};

/// The name of the security scheme: an API key as a bearer token.
pub const API_KEY: &str = "api_key";
