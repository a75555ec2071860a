//! What a mail says: a template of `templates/` for each kind, as text and as HTML,
//! filled with what the notification tells.
//!
//! Values are escaped in HTML. A link is one only if it begins with `https://`.

use std::sync::LazyLock;

use minijinja::{Environment, UndefinedBehavior, Value, context};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The kinds that there are templates for: what a customer has to know.
pub const EMAIL_KINDS: [&str; 7] = [
    "receipt",
    "payment_failed",
    "payment_action_required",
    "past_due",
    "suspended",
    "reactivated",
    "limit_threshold_reached",
];

/// What the first line of a text begins with.
const SUBJECT: &str = "Subject: ";

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("../../templates/", $name)))),*]
    };
}

const TEMPLATES: [(&str, &str); 16] = templates![
    "layout.txt",
    "layout.html",
    "receipt.txt",
    "receipt.html",
    "payment_failed.txt",
    "payment_failed.html",
    "payment_action_required.txt",
    "payment_action_required.html",
    "past_due.txt",
    "past_due.html",
    "suspended.txt",
    "suspended.html",
    "reactivated.txt",
    "reactivated.html",
    "limit_threshold_reached.txt",
    "limit_threshold_reached.html",
];

/// The templates, parsed. None of them fails to parse: a test reads each.
static ENVIRONMENT: LazyLock<Result<Environment<'static>, minijinja::Error>> =
    LazyLock::new(environment);

/// A mail, but for its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// One line.
    pub subject: String,
    /// As plain text.
    pub text: String,
    /// As a page.
    pub html: String,
}

/// A mail cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// There is no template for news of this kind.
    #[error("there is no mail for news of this kind")]
    NoTemplate,
    /// The notification is no JSON.
    #[error("the notification is no JSON")]
    Message(#[from] serde_json::Error),
    /// The notification does not have what the template tells.
    #[error("the template cannot be filled")]
    Template(#[source] minijinja::Error),
    /// The text does not begin with a subject.
    #[error("the template has no subject")]
    NoSubject,
}

/// Whom a mail is about, for a reader who is somebody else.
#[derive(Debug, Deserialize, Serialize)]
struct About {
    customer_id: String,
    /// What the operator calls it; none of who was erased.
    #[serde(default)]
    external_id: Option<String>,
}

impl About {
    /// The customer of `message`, if it is about one.
    fn of(message: &serde_json::Value) -> Option<Self> {
        let about = Self::deserialize(message.get("customer")?).ok()?;
        // It stands in the subject, and in a line of the text.
        let in_a_line = |text: String| text.replace(char::is_control, " ");
        Some(Self {
            customer_id: in_a_line(about.customer_id),
            external_id: about.external_id.map(in_a_line),
        })
    }
}

/// The mail to the customer that tells `message`, a notification of `kind`, in the name
/// of `sender`.
///
/// # Errors
/// [`MailError`].
pub fn render(kind: &str, message: &str, sender: &str) -> Result<Mail, MailError> {
    filled(kind, &serde_json::from_str(message)?, sender, None)
}

/// As [`render`], to the operator, who has to know which customer it is about.
///
/// # Errors
/// [`MailError`].
pub(crate) fn render_for_operator(
    kind: &str,
    message: &str,
    sender: &str,
) -> Result<Mail, MailError> {
    let message = serde_json::from_str(message)?;
    filled(kind, &message, sender, About::of(&message))
}

fn filled(
    kind: &str,
    message: &serde_json::Value,
    sender: &str,
    customer: Option<About>,
) -> Result<Mail, MailError> {
    if !EMAIL_KINDS.contains(&kind) {
        return Err(MailError::NoTemplate);
    }
    let data = message.get("data").cloned().unwrap_or_default();
    let values = context! {
        sender,
        customer => Value::from_serialize(customer),
        data => Value::from_serialize(data),
    };
    let fill = |format: &str| {
        let environment = ENVIRONMENT.as_ref().map_err(copy)?;
        let template = environment.get_template(&format!("{kind}.{format}"));
        let filled = template.and_then(|template| template.render(&values));
        filled.map_err(MailError::Template)
    };
    let (text, html) = (fill("txt")?, fill("html")?);
    let (first, text) = text.split_once('\n').ok_or(MailError::NoSubject)?;
    let subject = first.strip_prefix(SUBJECT).ok_or(MailError::NoSubject)?;
    Ok(Mail {
        // A header ends with its line.
        subject: subject.chars().filter(|c| !c.is_control()).collect(),
        text: text.trim_start().to_owned(),
        html,
    })
}

fn copy(error: &minijinja::Error) -> MailError {
    MailError::Template(minijinja::Error::new(error.kind(), error.to_string()))
}

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    // A template that tells what is not there tells a customer nonsense.
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_keep_trailing_newline(true);
    environment.add_filter("day", day);
    environment.add_test("link", is_link);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    Ok(environment)
}

/// Whether `value` is an address that a mail may lead to.
fn is_link(value: String) -> bool {
    value.starts_with("https://")
}

/// `2026-02-01T01:00:04Z` as `1 February 2026`: the day, by UTC.
fn day(value: String) -> Result<String, minijinja::Error> {
    let at = OffsetDateTime::parse(&value, &Rfc3339);
    let at = at.map_err(|_| {
        let kind = minijinja::ErrorKind::InvalidOperation;
        minijinja::Error::new(kind, "a day is made of an RFC 3339 time")
    })?;
    Ok(format!("{} {} {}", at.day(), at.month(), at.year()))
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod tests;
