//! Requests to an address of the operator's, signed so that their receiver can tell
//! them from a stranger's (Standard Webhooks specification, 1.0.0).

mod address;
mod sender;
mod signature;

pub use address::is_public;
pub use sender::HttpClientError;
pub(crate) use sender::{REQUEST_TIMEOUT, Refusal, WebhookSender, http_client};
pub use signature::{InvalidSigningSecret, SigningSecrets};
