//! The catalog, as the operator writes and keeps it.
//!
//! | module | does |
//! | --- | --- |
//! | [`mod@file`] | reads what the operator wrote |
//! | `fields` | the JSON of that, field by field |
//! | [`setup`] | brings Stripe and the tables to it |
//! | [`changes`] | says what it changes |
//! | [`rule`] | says by which entry it covers an action |
//! | [`subscribe`] | gives the customers the items that they lack |

pub mod changes;
mod fields;
pub mod file;
pub mod rule;
pub mod setup;
pub mod subscribe;

pub use changes::Change;
pub use file::{CatalogFile, CatalogFileError, MeterEntry};
pub use rule::Rule;
pub use setup::{
    CatalogReport, CatalogSetupError, CatalogSetupOptions, MeterReport, set_up_catalog,
};
pub use subscribe::{AddedItem, SubscribeError, Subscribed, Subscriber};
