use serde_json::{Value, json};

use super::*;

fn bill() -> Value {
    json!({
        "invoice_id": "in_1", "number": "A1B2-0001", "currency": "usd",
        "total": "20.10", "amount_paid": "20.10", "amount_remaining": "0.00",
        "hosted_invoice_url": "https://invoice.stripe.com/i/1", "invoice_pdf": null,
    })
}

fn with(mut data: Value, more: &Value) -> Value {
    let more = more.as_object().unwrap().clone();
    data.as_object_mut().unwrap().extend(more);
    data
}

/// What each kind tells, as docs/webhooks.md has it.
fn data_of(kind: &str) -> Value {
    match kind {
        "receipt" | "payment_action_required" => bill(),
        "payment_failed" => with(
            bill(),
            &json!({
                "amount_remaining": "20.10", "failed_attempts": 1,
                "next_attempt_at": "2026-02-03T01:00:00Z", "grace_ends_at": "2026-02-15T01:00:00Z",
            }),
        ),
        "past_due" => json!({
            "status_before": "active", "status": "past_due",
            "grace_ends_at": "2026-02-15T01:00:00Z",
        }),
        "suspended" => json!({ "status_before": "past_due", "status": "suspended" }),
        "reactivated" => json!({ "status_before": "suspended", "status": "active" }),
        "limit_threshold_reached" => json!({
            "threshold_percent": 80, "used_percent": 84, "stopped": false, "currency": "usd",
            "period_start": "2026-02-01T00:00:00Z", "period_end": "2026-03-01T00:00:00Z",
            "limit": { "units": null, "amount": "50.00", "enforcement": "hard" },
            "used_units": 4200, "used_amount": "42.00",
        }),
        other => panic!("say what {other} tells"),
    }
}

fn mail_of(kind: &str, data: &Value) -> Mail {
    let message = json!({ "kind": kind, "data": data });
    render(kind, &message.to_string(), "Acme").unwrap()
}

#[test]
fn every_kind_has_a_mail_in_text_and_html() {
    for kind in EMAIL_KINDS {
        let mail = mail_of(kind, &data_of(kind));
        println!("── {kind}\n{}\n\n{}", mail.subject, mail.text);
        assert!(mail.subject.contains("Acme"), "{}", mail.subject);
        assert!(mail.text.ends_with("Acme\n"), "{:?}", mail.text);
        assert!(!mail.text.contains(['{', '}', '<']), "{}", mail.text);
        assert!(!mail.text.contains("none") && !mail.text.contains("null"));
        assert!(mail.html.starts_with("<!doctype html>"), "{}", mail.html);
        assert!(mail.html.trim_end().ends_with("</html>"), "{}", mail.html);
        // Both say the same: each paragraph of the text is in the page.
        for paragraph in mail.text.split("\n\n") {
            let first = paragraph.lines().next().unwrap_or_default();
            if !first.contains(": ") {
                assert!(
                    mail.html.contains(first),
                    "{first:?} is not in {}",
                    mail.html
                );
            }
        }
    }
}

#[test]
fn a_limit_is_told_of_in_its_own_terms() {
    let used = data_of("limit_threshold_reached");
    let mail = mail_of("limit_threshold_reached", &used);
    assert_eq!(mail.subject, "You have used 80% of your limit with Acme");
    for said in ["84%", "1 March 2026", "42.00 of 50.00 USD"] {
        assert!(mail.text.contains(said), "{}", mail.text);
        assert!(mail.html.contains(said), "{}", mail.html);
    }
    assert!(!mail.text.contains("Nothing more"), "{}", mail.text);
    let above = json!({ "threshold_percent": 150, "used_percent": 160 });
    let mail = mail_of("limit_threshold_reached", &with(used.clone(), &above));
    assert_eq!(
        mail.subject,
        "You have reached 150% of your limit with Acme"
    );
    let reached = json!({
        "threshold_percent": 100, "used_percent": 100, "stopped": true, "used_units": 10_000,
        "limit": { "units": 10_000, "amount": null, "enforcement": "hard" },
    });
    let mail = mail_of("limit_threshold_reached", &with(used, &reached));
    assert_eq!(mail.subject, "You have reached your limit with Acme");
    for said in ["10000 of 10000 units", "Nothing more can be used"] {
        assert!(mail.text.contains(said), "{}", mail.text);
        assert!(mail.html.contains(said), "{}", mail.html);
    }
}

#[test]
fn thresholds_that_are_crossed_at_once_are_told_apart() {
    let told = |threshold: u32| {
        let all = json!({ "threshold_percent": threshold, "used_percent": 100, "stopped": true });
        let data = with(data_of("limit_threshold_reached"), &all);
        mail_of("limit_threshold_reached", &data).subject
    };
    assert_eq!(
        [50, 80, 100].map(told),
        [
            "You have used 50% of your limit with Acme",
            "You have used 80% of your limit with Acme",
            "You have reached your limit with Acme",
        ]
    );
}

#[test]
fn a_limit_whose_rest_is_reserved_is_not_reached() {
    let held = json!({ "used_percent": 82, "used_amount": "41.00", "stopped": true });
    let data = with(data_of("limit_threshold_reached"), &held);
    let mail = mail_of("limit_threshold_reached", &data);
    assert_eq!(mail.subject, "You have used 80% of your limit with Acme");
    for said in [
        "82%",
        "The rest is reserved.",
        "until a reservation ends, the limit is raised",
    ] {
        assert!(mail.text.contains(said), "{}", mail.text);
        assert!(mail.html.contains(said), "{}", mail.html);
    }
    assert!(!mail.text.contains("reached"), "{}", mail.text);
}

#[test]
fn the_operator_reads_of_every_kind_whom_it_is_about() {
    let message = |kind: &str, customer: Value| {
        json!({ "kind": kind, "customer": customer, "data": data_of(kind) }).to_string()
    };
    for kind in EMAIL_KINDS {
        let named = message(
            kind,
            json!({ "customer_id": "cus_1", "external_id": "acme" }),
        );
        let to_customer = render(kind, &named, "Acme").unwrap();
        let mail = render_for_operator(kind, &named, "Acme").unwrap();
        assert_eq!(mail.subject, format!("{} [acme]", to_customer.subject));
        let first = "Customer: acme (cus_1)\n\n";
        assert_eq!(mail.text, format!("{first}{}", to_customer.text));
        let said = "Customer: <strong>acme</strong> (cus_1)</p>";
        assert!(mail.html.contains(said), "{}", mail.html);
        // The customer's own mail is what it is without.
        assert_eq!(to_customer, mail_of(kind, &data_of(kind)));
        assert!(!to_customer.html.contains("cus_1"), "{}", to_customer.html);

        let nameless = message(kind, json!({ "customer_id": "cus_2" }));
        let mail = render_for_operator(kind, &nameless, "Acme").unwrap();
        assert!(mail.subject.ends_with(" [cus_2]"), "{}", mail.subject);
        assert!(mail.text.starts_with("Customer: cus_2\n\n"));
        assert!(mail.html.contains("Customer: <strong>cus_2</strong></p>"));

        // About nobody in particular.
        let nobody = message(kind, Value::Null);
        let mail = render_for_operator(kind, &nobody, "Acme").unwrap();
        assert_eq!(mail, to_customer);
    }
}

#[test]
fn no_name_of_a_customer_is_markup_or_another_line() {
    let customer = json!({ "customer_id": "cus_1", "external_id": "<b>x</b>\r\nBcc: eve" });
    let message = json!({ "customer": customer, "data": data_of("suspended") });
    let mail = render_for_operator("suspended", &message.to_string(), "Acme").unwrap();
    assert!(mail.subject.ends_with("[<b>x</b>  Bcc: eve]"));
    let first = "Customer: <b>x</b>  Bcc: eve (cus_1)\n\n";
    assert!(mail.text.starts_with(first), "{}", mail.text);
    assert!(!mail.html.contains("<b>"), "{}", mail.html);
    assert!(mail.html.contains("&lt;b&gt;"), "{}", mail.html);
}

#[test]
fn what_there_is_nothing_of_is_left_out() {
    let nothing = json!({ "next_attempt_at": null, "grace_ends_at": null, "number": null,
        "hosted_invoice_url": null });
    let mail = mail_of("payment_failed", &with(data_of("payment_failed"), &nothing));
    assert!(
        !mail.text.contains("2026") && !mail.html.contains("2026"),
        "{}",
        mail.text
    );
    assert!(!mail.text.contains("https://") && !mail.html.contains("href"));
    let full = mail_of("payment_failed", &data_of("payment_failed"));
    assert!(full.text.contains("3 February 2026"), "{}", full.text);
    assert!(full.text.contains("15 February 2026"), "{}", full.text);
    // Of who was erased, the links are gone.
    let mut erased = data_of("receipt");
    erased.as_object_mut().unwrap().remove("hosted_invoice_url");
    assert!(!mail_of("receipt", &erased).text.contains("https://"));
}

#[test]
fn no_value_is_markup_a_script_or_a_header() {
    let hostile = json!({
        "number": "<script>alert(1)</script>\r\nBcc: eve@evil.example",
        "hosted_invoice_url": "javascript:alert(1)",
    });
    let mail = mail_of("receipt", &with(bill(), &hostile));
    assert!(!mail.html.contains("<script>"), "{}", mail.html);
    assert!(mail.html.contains("&lt;script&gt;"), "{}", mail.html);
    assert!(!mail.html.contains("javascript:"), "{}", mail.html);
    assert!(!mail.subject.contains(['\r', '\n']), "{:?}", mail.subject);
    let quoted = json!({ "hosted_invoice_url": "https://x.example/\" onclick=\"alert(1)" });
    let mail = mail_of("receipt", &with(bill(), &quoted));
    assert!(!mail.html.contains("onclick=\""), "{}", mail.html);
    let message = json!({ "data": bill() }).to_string();
    let mail = render("receipt", &message, "<b>Acme</b>").unwrap();
    assert!(!mail.html.contains("<b>Acme"), "{}", mail.html);
}

#[test]
fn what_no_mail_tells_is_refused() {
    let refused = |kind, message: &str| render(kind, message, "Acme").unwrap_err();
    assert!(matches!(refused("dispute", "{}"), MailError::NoTemplate));
    assert!(matches!(refused("layout", "{}"), MailError::NoTemplate));
    assert!(matches!(
        refused("receipt", "no JSON"),
        MailError::Message(_)
    ));
    assert!(matches!(
        refused("receipt", r#"{"data":{}}"#),
        MailError::Template(_)
    ));
}
