//! What the operator is told, whoever tells it: the payloads of `docs/webhooks.md`
//! and the topic that they go to.
//!
//! Each function has news of its own. Here is what they have in common: a version,
//! an id to drop repeats by, the customer whom the news is about.

mod notification;
mod notifier;

pub use notification::{News, Origin, VERSION};
pub use notifier::{Notifier, NotifyError};
