//! The mails that the deployed redelivery sends, as the emulator's SES keeps them.

use std::collections::BTreeMap;

use serde_json::Value;
use stack::story::{Api, Place};

use crate::cloud::Cloud;
use crate::failure::Failure;

/// What the operator has SES verify: the customers' addresses are of it, too.
pub(crate) const IDENTITY: &str = "example.com";
/// Whose mails they are.
const SENDER: &str = "Meterline of Example";
const FROM: &str = "billing@example.com";

/// The template's parameters that turn them on, for every kind that there is a mail for.
pub(crate) fn parameters() -> [String; 5] {
    [
        "NotificationChannels=email".to_owned(),
        format!("EmailIdentity={IDENTITY}"),
        format!("EmailFrom={FROM}"),
        format!("EmailFromName=\"{SENDER}\""),
        "EmailKinds=all".to_owned(),
    ]
}

/// A mail, as far as SES tells of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mail {
    from: String,
    to: String,
    subject: String,
    text: String,
}

/// The mails that should be there of what the topic has told, in order: each once, by
/// its template, to the address that Stripe has.
pub(crate) async fn due(place: &Place) -> Result<Vec<Mail>, Failure> {
    let file = &place.notifications_file;
    let told = std::fs::read_to_string(file);
    let told = told.map_err(Failure::io("what the topic told cannot be read"))?;
    let stripe = Api::new(&place.stripe_url, place.stripe_secret_key.clone())?;
    // The topic may repeat itself.
    let mut notifications = BTreeMap::new();
    for line in told.lines() {
        let message: Value =
            serde_json::from_str(line).map_err(|_| Failure::unexpected("what the topic told"))?;
        notifications.insert(text(&message["id"]), (message, line));
    }
    let mut mails = Vec::new();
    for (message, line) in notifications.values() {
        let kind = text(&message["kind"]);
        if !courier::EMAIL_KINDS.contains(&kind.as_str()) {
            continue;
        }
        let written = courier::render(&kind, line, SENDER);
        let written = written.map_err(|error| Failure::Unexpected(error.to_string()))?;
        let customer_id = text(&message["customer"]["customer_id"]);
        let customer = stripe.get(&format!("/v1/customers/{customer_id}")).await?;
        mails.push(Mail {
            from: format!("\"{SENDER}\" <{FROM}>"),
            to: text(&customer.body["email"]),
            subject: written.subject,
            text: written.text,
        });
    }
    mails.sort();
    Ok(mails)
}

/// The mails that SES has taken, in order.
pub(crate) async fn sent(cloud: &Cloud) -> Result<Vec<Mail>, Failure> {
    let api = Api::new(cloud.url(), "".into())?;
    let kept = api.get("/_ministack/ses/messages").await?;
    let accounts = kept.body["messages"].as_object();
    let accounts = accounts.ok_or_else(|| Failure::unexpected("what SES has sent"))?;
    let messages = accounts.values().filter_map(Value::as_array).flatten();
    let mut mails: Vec<Mail> = messages
        .map(|message| Mail {
            from: text(&message["Source"]),
            to: text(&message["To"][0]),
            subject: text(&message["Subject"]),
            text: text(&message["BodyText"]),
        })
        .collect();
    mails.sort();
    Ok(mails)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
