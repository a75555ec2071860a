use serde_json::{Value, json};

use super::*;

fn parsed(settings: &Value, reach: Reach) -> Result<Settings, InvalidSettings> {
    let channels = "email,webhook".parse().unwrap();
    Settings::parse(&channels, &settings.to_string(), reach)
}

fn complete() -> Value {
    json!({
        "email": { "from": "billing@example.com" },
        "webhook": { "url": "https://hooks.example.com/meterline" },
    })
}

/// What is said of [`complete`] with `value` at `pointer`.
fn refusal(pointer: &str, value: &str) -> String {
    let mut settings = complete();
    let (parent, member) = pointer.rsplit_once('/').unwrap();
    settings.pointer_mut(parent).unwrap()[member] = json!(value);
    parsed(&settings, Reach::Public).unwrap_err().to_string()
}

#[test]
fn what_is_left_out_has_a_default() {
    let settings = parsed(&complete(), Reach::Public).unwrap();
    let email = settings.email.unwrap();
    assert_eq!(email.recipient, Recipient::Customer);
    assert_eq!((email.reply_to, email.configuration_set), (None, None));
    assert!(EMAIL_KINDS.iter().all(|kind| email.kinds.contains(kind)));
    assert!(settings.webhook.unwrap().kinds.contains("dispute"));
    let none = Settings::parse(&Channels::default(), "{}", Reach::Public);
    assert_eq!(none, Ok(Settings::default()));
}

#[test]
fn each_kind_is_on_or_off() {
    let mut settings = complete();
    settings["email"]["kinds"] = json!("receipt, suspended");
    let email = parsed(&settings, Reach::Public).unwrap().email.unwrap();
    assert!(email.kinds.contains("receipt") && email.kinds.contains("suspended"));
    assert!(!email.kinds.contains("past_due"));
    for (pointer, kind) in [
        ("/email/kinds", "receipts"),
        ("/email/kinds", "dispute"), // The customer is told of none.
        ("/webhook/kinds", "receipt,disputes"),
    ] {
        assert!(refusal(pointer, kind).contains(pointer.split('/').nth(1).unwrap()));
    }
}

#[test]
fn no_address_can_add_a_line_or_another_recipient() {
    for value in [
        "",
        "billing",
        "billing@localhost",
        "a@b.example, c@d.example",
        "a@b.example\r\nBcc: c@d.example",
        "Ada <a@b.example>",
        "a@b..example",
        "@b.example",
    ] {
        for member in ["from", "to"] {
            let said = refusal(&format!("/email/{member}"), value);
            assert!(said.starts_with(&format!("email.{member}")), "{said}");
        }
        assert!(!is_address(value), "{value}");
    }
    for name in [
        "A \"quoted\" name",
        "A\nname",
        "<a@b.example>",
        &"x".repeat(65),
    ] {
        assert!(refusal("/email/from_name", name).starts_with("email.from_name"));
    }
    assert!(is_address("ada.l+bills@mail.example.com"));
}

#[test]
fn an_address_of_the_operators_is_public_and_https() {
    for url in [
        "",
        "hooks.example.com",
        "http://hooks.example.com/",
        "ftp://hooks.example.com/",
        "https://user:secret@hooks.example.com/",
        "https://10.0.0.1/",
        "https://[::1]/",
        "https://2130706433/", // 127.0.0.1.
        "https://0x7f.1/",
    ] {
        assert!(
            refusal("/webhook/url", url).starts_with("webhook.url"),
            "{url}"
        );
    }
    let mut settings = complete();
    settings["webhook"]["url"] = json!("http://127.0.0.1:9000/hooks");
    assert!(parsed(&settings, Reach::Anywhere).is_ok());
}

#[test]
fn a_channel_that_is_set_wrongly_stops_no_other() {
    let each = |pointer: &str, value: Value| {
        let mut settings = complete();
        *settings.pointer_mut(pointer).unwrap() = value;
        let channels = "email,webhook".parse().unwrap();
        let (settings, invalid) =
            Settings::parse_each(&channels, &settings.to_string(), Reach::Public).unwrap();
        let [(channel, error)] = invalid.try_into().unwrap();
        let is_on = (settings.email.is_some(), settings.webhook.is_some());
        (channel, error.to_string(), is_on)
    };
    for (pointer, value, said) in [
        ("/webhook/url", json!("hooks"), "webhook.url"),
        ("/webhook/url", json!(1), "webhook: "),
        ("/webhook", json!({ "ulr": "" }), "webhook: unknown field"),
        ("/webhook", json!({}), "webhook.url"),
    ] {
        let (channel, error, is_on) = each(pointer, value);
        assert_eq!((channel, is_on), (Channel::Webhook, (true, false)));
        assert!(error.contains(said), "{error}");
    }
    let (channel, error, is_on) = each("/email/from", json!("billing"));
    assert_eq!((channel, is_on), (Channel::Email, (false, true)));
    assert!(error.contains("email.from"), "{error}");
}

#[test]
fn a_member_that_there_is_not_is_named() {
    let mut settings = complete();
    settings["email"]["form"] = json!("billing@example.com");
    let said = parsed(&settings, Reach::Public).unwrap_err().to_string();
    assert!(said.contains("form"), "{said}");
}
