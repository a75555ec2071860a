//! Mails: a template, an address, Amazon SES.

mod header;
mod mail;
mod mailer;

pub use mail::{EMAIL_KINDS, Mail, MailError, render};
pub(crate) use mailer::{Mailer, SendError};
