//! What every request has in common: parameters, errors, versions, lists, expansion.

pub(crate) mod before_basil;
pub(crate) mod currency;
pub(crate) mod error;
pub(crate) mod expand;
pub(crate) mod form;
pub(crate) mod json;
pub(crate) mod list;
pub(crate) mod params;
pub(crate) mod version;
