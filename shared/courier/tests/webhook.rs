//! Requests to the operator's address, over HTTP.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use courier::Report;
use courier::settings::Reach;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use crate::story::{Answer, DAY_MS, MINUTE_MS, SECRET, Story, run};
use crate::support::lossy::{Loss, Lossy};
use crate::support::tables::Tables;

/// What a receiver does: as docs/notifications.md has it, word for word.
fn is_ours(secret: &str, id: &str, timestamp: &str, signatures: &str, body: &[u8]) -> bool {
    let Ok(key) = STANDARD.decode(secret.trim_start_matches("whsec_")) else {
        return false;
    };
    signatures.split(' ').any(|signature| {
        let given = STANDARD.decode(signature.trim_start_matches("v1,"));
        let Ok(mut mac) = Hmac::<sha2::Sha256>::new_from_slice(&key) else {
            return false;
        };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        // In constant time.
        given.is_ok_and(|given| mac.verify_slice(&given).is_ok())
    })
}

fn is_signed_with(secret: &str, request: &crate::story::Request) -> bool {
    let header = |name| request.header(name);
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signatures = header("webhook-signature");
    is_ours(secret, id, timestamp, signatures, request.body.as_bytes())
}

#[tokio::test]
async fn a_notification_arrives_as_it_is_stored_and_signed() {
    let story = Story::with("webhook").await;
    story.tell_of_receipt("evt_1").await;
    assert_eq!(
        story.run().await,
        Report {
            sent: 1,
            ..Report::default()
        }
    );
    let [request] = story.post.requests().try_into().unwrap();
    assert_eq!(request.header("webhook-id"), "evt_1:receipt");
    assert_eq!(
        request.header("webhook-timestamp"),
        story.now().unix_s().to_string()
    );
    assert_eq!(request.header("content-type"), "application/json");
    let event = story
        .world
        .ledger
        .billing_event("evt_1")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(request.body, event.notifications[0].message);
    let body: Value = serde_json::from_str(&request.body).unwrap();
    assert_eq!(
        (&body["kind"], &body["data"]["total"]),
        (&json!("receipt"), &json!("20.10"))
    );

    assert!(is_signed_with(SECRET, &request));
    assert!(!is_signed_with(&"A".repeat(32), &request));
    let altered = crate::story::Request {
        body: request.body.replace("20.10", "0.10"),
        ..request
    };
    assert!(!is_signed_with(SECRET, &altered));
}

#[tokio::test]
async fn while_a_secret_is_rotated_receivers_of_either_believe_it() {
    let mut story = Story::with("webhook").await;
    let new = "B".repeat(44);
    story.secrets = format!("{new},{SECRET}");
    story.tell_of_receipt("evt_1").await;
    assert_eq!(story.run().await.sent, 1);
    let [request] = story.post.requests().try_into().unwrap();
    assert!(is_signed_with(SECRET, &request) && is_signed_with(&new, &request));
}

#[tokio::test]
async fn what_is_not_taken_comes_again_under_the_same_id_and_signed_anew() {
    let story = Story::with("webhook").await;
    story
        .post
        .receiver_answers([Answer::LostAfterTaking, Answer::Status(503)]);
    story.tell_of_receipt("evt_1").await;
    for minutes in [1, 2] {
        assert_eq!(story.run().await.failed, 1);
        assert_eq!(story.run().await, Report::default());
        story.pass_ms(minutes * MINUTE_MS);
    }
    assert_eq!(
        story.outcome("evt_1").await,
        ("pending", "http_503".to_owned())
    );
    assert_eq!(story.run().await.sent, 1);
    let [first, last] = story.post.requests().try_into().unwrap();
    assert_eq!(first.header("webhook-id"), last.header("webhook-id"));
    assert_eq!(first.body, last.body);
    assert_ne!(
        first.header("webhook-timestamp"),
        last.header("webhook-timestamp")
    );
    assert!(is_signed_with(SECRET, &last));
}

#[tokio::test]
async fn after_three_days_and_where_the_receiver_is_gone_it_is_given_up() {
    let story = Story::with("webhook").await;
    story
        .post
        .receiver_answers([Answer::Status(410), Answer::Status(500)]);
    story.tell_of_receipt("evt_gone").await;
    assert_eq!(
        story.run().await,
        Report {
            dead: 1,
            ..Report::default()
        }
    );
    assert_eq!(
        story.outcome("evt_gone").await,
        ("dead", "http_410".to_owned())
    );

    story.tell_of_receipt("evt_late").await;
    // As if nobody had been able to run for so long.
    story.pass_ms(3 * DAY_MS);
    assert_eq!(
        story.run().await,
        Report {
            dead: 1,
            ..Report::default()
        }
    );
    assert_eq!(
        story.outcome("evt_late").await,
        ("dead", "http_500".to_owned())
    );
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let story = Story::with("webhook").await;
    story.post.receiver_answers([Answer::Redirect]);
    story.tell_of_receipt("evt_1").await;
    assert_eq!(story.run().await.failed, 1);
    assert_eq!(
        story.outcome("evt_1").await,
        ("pending", "http_307".to_owned())
    );
    assert_eq!((story.post.knocks(), story.post.requests().len()), (1, 0));
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_not_connected_to() {
    let mut story = Story::with("webhook").await;
    let port = story.post.receiver_url();
    let port = port.rsplit(':').next().unwrap().to_owned();
    story.settings["webhook"]["url"] = json!(format!("https://localhost:{port}"));
    story.reach = Reach::Public;
    story.tell_of_receipt("evt_1").await;
    assert_eq!(story.run().await.failed, 1);
    assert_eq!(
        story.outcome("evt_1").await,
        ("pending", "no_public_address".to_owned())
    );
    // Were it to go anywhere, it would have come as far as TLS.
    story.reach = Reach::Anywhere;
    story.pass_ms(MINUTE_MS);
    assert_eq!(story.run().await.failed, 1);
    assert_eq!(
        story.outcome("evt_1").await,
        ("pending", "unreachable".to_owned())
    );
}

#[tokio::test]
async fn two_runs_at_once_send_everything_once() {
    let story = Story::with("webhook").await;
    for n in 0..40 {
        story.tell_of_receipt(&format!("evt_{n}")).await;
    }
    let (one, other) = (story.courier(), story.courier());
    let (one, other) = tokio::join!(run(&one), run(&other));
    assert_eq!(one.sent + other.sent, 40, "{one:?} {other:?}");
    assert_eq!(story.post.requests().len(), 40);
}

#[tokio::test]
async fn a_receiver_that_is_down_holds_up_neither_the_mails_nor_the_run() {
    let story = Story::start().await;
    story.post.receiver_answers([Answer::Status(500); 30]);
    for n in 0..30 {
        story.tell_of_receipt(&format!("evt_{n}")).await;
    }
    let report = story.run().await;
    assert_eq!(report.sent, 30, "{report:?}");
    assert_eq!(story.post.mails().len(), 30);
    // Those that were under way when the third one failed.
    assert!(story.post.knocks() < 30, "{}", story.post.knocks());
    let knocks = story.post.knocks();
    // The next minutes bring the rest.
    for _ in 0..60 {
        story.pass_ms(MINUTE_MS);
        story.run().await;
    }
    assert!(story.post.knocks() > knocks);
    assert_eq!(story.post.requests().len(), 30);
    assert_eq!(story.post.mails().len(), 30);
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_holds_until_it_is_over() {
    let story = Story::with("webhook").await;
    let lossy = Lossy::start(&story.world.tables.url).await;
    let courier = story.courier_of(Tables::at(&lossy.url).ledger);
    story.tell_of_receipt("evt_1").await;
    lossy.lose("UpdateItem", Loss::Answer);
    assert_eq!(run(&courier).await, Report::default());
    assert_eq!(story.post.requests().len(), 0);
    story.pass_ms(2 * MINUTE_MS);
    assert_eq!(run(&courier).await.sent, 1);
    assert_eq!(story.outcome("evt_1").await.0, "sent");
    let [request] = story.post.requests().try_into().unwrap();
    assert_eq!(request.header("webhook-id"), "evt_1:receipt");
}
