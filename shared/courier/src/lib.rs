//! Brings stored notifications to people and programs: as mails through Amazon
//! SES, and as signed requests to an address of the operator's. See
//! `docs/notifications.md`.
//!
//! | module | does |
//! | --- | --- |
//! | [`settings`] | what the operator chose, checked |
//! | `email` | a mail from a template, to the address that Stripe has |
//! | [`webhook`] | a request that its receiver can verify, to public addresses only |
//! | `courier` | one run: what is due, tried once, and noted |

mod backoff;
mod courier;
mod email;
pub mod settings;
pub mod webhook;

pub use courier::{Courier, CourierError, Parts, Report};
pub use email::{EMAIL_KINDS, Mail, MailError, render};
