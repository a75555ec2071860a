//! Mails, through an SES that speaks HTTP.

use courier::Report;
use serde_json::json;

use crate::story::{ADDRESS, Answer, DAY_MS, MINUTE_MS, Story, a_bill};

#[tokio::test]
async fn a_receipt_goes_to_the_address_that_stripe_has_at_that_moment() {
    let story = Story::with("email").await;
    story.tell_of_receipt("evt_1").await;
    story.move_to("ada@new.example.com").await;
    assert_eq!(
        story.run().await,
        Report {
            sent: 1,
            ..Report::default()
        }
    );
    let [mail] = story.post.mails().try_into().unwrap();
    assert_eq!(mail["FromEmailAddress"], "\"Acme\" <billing@example.com>");
    assert_eq!(
        mail["Destination"],
        json!({ "ToAddresses": ["ada@new.example.com"] })
    );
    let simple = &mail["Content"]["Simple"];
    assert_eq!(simple["Subject"]["Data"], "Your payment to Acme: 20.10 USD");
    let text = simple["Body"]["Text"]["Data"].as_str().unwrap();
    assert!(
        text.contains("A1B2-0001") && text.contains("20.10 USD"),
        "{text}"
    );
    let html = simple["Body"]["Html"]["Data"].as_str().unwrap();
    assert!(html.contains("href=\"https:"), "{html}");
    let id = json!({ "Name": "X-Notification-Id", "Value": "evt_1:receipt" });
    assert_eq!(simple["Headers"][0], id);
    assert_eq!(
        mail["EmailTags"],
        json!([{ "Name": "kind", "Value": "receipt" }])
    );
    assert_eq!(story.outcome("evt_1").await.0, "sent");
    assert_eq!(story.run().await, Report::default());
}

#[tokio::test]
async fn the_address_is_in_no_table() {
    let story = Story::with("email").await;
    story.post.ses_answers([Answer::Status(400)]);
    story.tell_of_receipt("evt_1").await;
    assert_eq!(story.run().await.failed, 1);
    story.pass_ms(MINUTE_MS);
    assert_eq!(story.run().await.sent, 1);
    assert_eq!(
        story.post.mails()[0]["Destination"]["ToAddresses"][0],
        ADDRESS
    );
    for (_, table) in ledger::TableNames::VARIABLES {
        let rows = format!("{:?}", story.world.tables.scan(table).await);
        assert!(!rows.contains("example.com"), "{table}: {rows}");
    }
}

#[tokio::test]
async fn who_was_erased_or_deleted_or_has_no_address_gets_none() {
    let mut story = Story::with("email").await;
    story.tell_of_receipt("evt_1").await;
    let mut erased = story.customer.clone();
    erased.erased_at = Some(story.now());
    let ledger = &story.world.ledger;
    ledger
        .update_customer(&story.customer, erased)
        .await
        .unwrap();
    assert_eq!(
        story.run().await,
        Report {
            dropped: 1,
            ..Report::default()
        }
    );
    assert_eq!(
        story.outcome("evt_1").await,
        ("dropped", "erased".to_owned())
    );

    // Somebody new, without an address.
    story.customer = story.world.onboard(None).await;
    story.tell_of_receipt("evt_2").await;
    assert_eq!(story.run().await.dropped, 1);
    assert_eq!(
        story.outcome("evt_2").await,
        ("dropped", "no_address".to_owned())
    );

    story.move_to(ADDRESS).await;
    story.tell_of_receipt("evt_3").await;
    let path = format!("/v1/customers/{}", story.customer.customer_id);
    let url = format!("{}{path}", story.world.stripe_variables()[0].1);
    let key = stripe_simulator::DEFAULT_SECRET_KEY;
    let deleted = story.world.http.delete(url).bearer_auth(key).send().await;
    assert!(deleted.unwrap().status().is_success());
    assert_eq!(story.run().await.dropped, 1);
    assert_eq!(
        story.outcome("evt_3").await,
        ("dropped", "deleted".to_owned())
    );
    assert!(story.post.mails().is_empty());
}

#[tokio::test]
async fn only_the_kinds_that_are_on_are_told_and_to_whom_they_are_to_go() {
    let mut story = Story::with("email").await;
    story.settings["email"]["kinds"] = json!("suspended");
    story.settings["email"]["to"] = json!("operator@example.org");
    story.settings["email"]["reply_to"] = json!("help@example.com");
    story.settings["email"]["configuration_set"] = json!("bounces");
    story.tell_of_receipt("evt_1").await;
    story.tell("evt_2", "dispute", json!({})).await;
    story
        .tell("evt_3", "suspended", json!({ "status": "suspended" }))
        .await;
    assert_eq!(
        story.run().await,
        Report {
            sent: 1,
            dropped: 2,
            ..Report::default()
        }
    );
    for event_id in ["evt_1", "evt_2"] {
        assert_eq!(
            story.outcome(event_id).await,
            ("dropped", "kind_off".to_owned())
        );
    }
    let [mail] = story.post.mails().try_into().unwrap();
    assert_eq!(
        mail["Destination"]["ToAddresses"],
        json!(["operator@example.org"])
    );
    assert_eq!(mail["ReplyToAddresses"], json!(["help@example.com"]));
    assert_eq!(mail["ConfigurationSetName"], "bounces");
}

#[tokio::test]
async fn the_operator_is_told_which_customer_a_mail_is_about() {
    let mut story = Story::with("email").await;
    story.settings["email"]["to"] = json!("operator@example.org");
    let suspended = json!({ "status": "suspended" });
    story.customer.external_id = Some("acme".to_owned());
    let acme = story.customer.customer_id.clone();
    story.tell("evt_1", "suspended", suspended.clone()).await;
    story.customer = story.world.onboard(None).await;
    let nameless = story.customer.customer_id.clone();
    story.tell("evt_2", "suspended", suspended.clone()).await;
    assert_eq!(story.run().await.sent, 2);
    let mails = story.post.mails();
    let of = |id: &str| {
        let header = json!({ "Name": "X-Notification-Id", "Value": format!("{id}:suspended") });
        let is_it = |mail: &&serde_json::Value| mail["Content"]["Simple"]["Headers"][0] == header;
        let simple = &mails.iter().find(is_it).unwrap()["Content"]["Simple"];
        let subject = simple["Subject"]["Data"].as_str().unwrap().to_owned();
        let text = simple["Body"]["Text"]["Data"].as_str().unwrap();
        let first = text.lines().next().unwrap().to_owned();
        (subject, first)
    };
    let subject = "Your account with Acme is suspended";
    assert_eq!(
        of("evt_1"),
        (
            format!("{subject} [acme]"),
            format!("Customer: acme ({acme})")
        )
    );
    assert_eq!(
        of("evt_2"),
        (
            format!("{subject} [{nameless}]"),
            format!("Customer: {nameless}")
        )
    );

    // Customers know who they are.
    story.settings["email"]["to"] = json!("customer");
    story.move_to(ADDRESS).await;
    story.tell("evt_3", "suspended", suspended).await;
    assert_eq!(story.run().await.sent, 1);
    let mails = story.post.mails();
    let simple = &mails.last().unwrap()["Content"]["Simple"];
    assert_eq!(simple["Subject"]["Data"], subject);
    assert!(!simple["Body"].to_string().contains(nameless.as_str()));
}

#[tokio::test]
async fn what_ses_does_not_take_is_tried_with_growing_pauses_and_given_up_after_three_days() {
    let story = Story::with("email").await;
    story.post.ses_answers([Answer::Status(400); 100]);
    story.tell_of_receipt("evt_1").await;
    let since = story.now();
    let mut pauses_min = Vec::new();
    while story.outcome("evt_1").await.0 == "pending" {
        let failed = story.run().await;
        assert_eq!(failed.failed + failed.dead, 1, "{failed:?}");
        // Nobody tries before it is due.
        assert_eq!(story.run().await, Report::default());
        let due_at = story.deliveries("evt_1").await[0].due_at;
        pauses_min.push(due_at.ms_since(story.now()) / MINUTE_MS);
        story.pass_ms(due_at.ms_since(story.now()));
    }
    assert_eq!(pauses_min[..7], [1, 2, 4, 8, 16, 32, 60]);
    let [delivery] = story.deliveries("evt_1").await.try_into().unwrap();
    assert_eq!(delivery.state.as_str(), "dead");
    assert_eq!(delivery.reason.as_deref(), Some("MessageRejected"));
    let tried_ms = story.now().ms_since(since);
    assert!(tried_ms <= 3 * DAY_MS && tried_ms > 3 * DAY_MS - 60 * MINUTE_MS);
    story.pass_ms(DAY_MS);
    assert_eq!(story.run().await, Report::default());
    assert!(story.post.mails().is_empty());
}

#[tokio::test]
async fn an_answer_that_is_lost_makes_a_second_mail_with_the_same_id() {
    let story = Story::with("email").await;
    story.post.ses_answers([Answer::LostAfterTaking]);
    story.tell_of_receipt("evt_1").await;
    assert_eq!(story.run().await.failed, 1);
    story.pass_ms(MINUTE_MS);
    assert_eq!(story.run().await.sent, 1);
    let mails = story.post.mails();
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[0], mails[1]);
}

#[tokio::test]
async fn stripe_is_asked_again_where_it_does_not_give_the_address() {
    let story = Story::with("email").await;
    story.tell("evt_1", "receipt", a_bill()).await;
    let fault = json!({ "kind": "error_before", "status": 500, "path_prefix": "/v1/customers/", "times": 9 });
    story.world.break_stripe(fault).await;
    assert_eq!(story.run().await.failed, 1);
    assert_eq!(
        story.outcome("evt_1").await,
        ("pending", "stripe".to_owned())
    );
    story.world.repair_stripe().await;
    story.pass_ms(MINUTE_MS);
    assert_eq!(story.run().await.sent, 1);
}
