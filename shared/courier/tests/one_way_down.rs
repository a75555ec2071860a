//! Two ways, one of which is down or cannot be used: the other goes on as if it were
//! alone, and whatever was due by the first goes out once it can.

use std::collections::HashSet;
use std::time::Duration;

use courier::CourierError;
use courier::settings::Reach;
use ledger::DeliveryState;
use serde_json::json;
use tokio::time::Instant;

use crate::story::{MINUTE_MS, Story};

/// More than a run lists at once, several times over.
const MANY: usize = 600;

/// Runs in each of so many minutes.
async fn minutes(story: &Story, count: u32) {
    for _ in 0..count {
        story.pass_ms(MINUTE_MS);
        story.run().await;
    }
}

/// Each of `count` was told, and none of them twice.
fn assert_each_once(told: &[String], count: usize) {
    let different: HashSet<&String> = told.iter().collect();
    assert_eq!((told.len(), different.len()), (count, count));
}

#[tokio::test]
async fn a_receiver_that_is_down_keeps_no_mail_waiting() {
    let story = Story::start().await;
    story.post.receiver_is_down();
    story.tell_of_receipts(MANY).await;
    minutes(&story, 3).await;
    assert_each_once(&story.post.mailed_ids(), MANY);
    // A few requests in each run, not one for each receipt.
    assert!(story.post.knocks() < 60, "{}", story.post.knocks());

    // What is new is not behind what waits.
    story.tell_of_receipt("evt_new").await;
    minutes(&story, 1).await;
    assert_each_once(&story.post.mailed_ids(), MANY + 1);

    story.post.receiver_recovers();
    minutes(&story, 10).await;
    assert_each_once(&story.post.posted_ids(), MANY + 1);
    assert_each_once(&story.post.mailed_ids(), MANY + 1);
}

#[tokio::test]
async fn an_ses_that_takes_nothing_keeps_no_request_waiting() {
    let story = Story::start().await;
    story.post.ses_is_down();
    story.tell_of_receipts(MANY).await;
    minutes(&story, 3).await;
    assert_each_once(&story.post.posted_ids(), MANY);
    assert!(story.post.mails().is_empty());

    story.post.ses_recovers();
    minutes(&story, 10).await;
    assert_each_once(&story.post.mailed_ids(), MANY);
    assert_each_once(&story.post.posted_ids(), MANY);
}

#[tokio::test]
async fn what_was_not_tried_counts_no_attempt_and_is_written_ever_more_rarely() {
    let story = Story::start().await;
    story.post.receiver_is_down();
    story.tell_of_receipts(40).await;
    let since = story.now();
    minutes(&story, 70).await;
    assert_each_once(&story.post.mailed_ids(), 40);
    for n in 0..40 {
        let deliveries = story.deliveries(&format!("evt_{n}")).await;
        let [mail, request] = deliveries.try_into().unwrap();
        assert_eq!(mail.state, DeliveryState::Sent);
        assert_eq!(request.state, DeliveryState::Pending);
        assert_eq!(request.since, since);
        // An hour at most until it is due, however long it has waited.
        let until_due_ms = request.due_at.ms_since(story.now());
        assert!((1..=60 * MINUTE_MS).contains(&until_due_ms));
        assert_eq!(request.attempts == 0, request.reason.is_none());
    }
    story.post.receiver_recovers();
    minutes(&story, 60).await;
    assert_each_once(&story.post.posted_ids(), 40);
}

#[tokio::test]
async fn where_both_are_down_what_waits_keeps_its_place() {
    let story = Story::start().await;
    story.post.receiver_is_down();
    story.post.ses_is_down();
    story.tell_of_receipts(100).await;
    let since = story.now();
    minutes(&story, 1).await;
    let mut untouched = 0;
    for n in 0..100 {
        let deliveries = story.deliveries(&format!("evt_{n}")).await;
        let is_as_stored = deliveries
            .iter()
            .all(|it| it.attempts == 0 && it.due_at == since);
        untouched += usize::from(is_as_stored);
    }
    // All but those that were under way when the last way failed.
    assert!(untouched >= 80, "{untouched}");
    story.post.receiver_recovers();
    story.post.ses_recovers();
    minutes(&story, 3).await;
    assert_each_once(&story.post.mailed_ids(), 100);
    assert_each_once(&story.post.posted_ids(), 100);
}

#[tokio::test]
async fn a_way_that_cannot_be_used_waits_and_the_other_goes_on() {
    let mut story = Story::start().await;
    let url = std::mem::take(&mut story.settings["webhook"]["url"]);
    story.settings["webhook"]["url"] = json!("hooks.example.com");
    story.tell_of_receipts(30).await;
    let report = story.run().await;
    assert_eq!((report.sent, report.failed, report.dropped), (30, 0, 0));
    assert_each_once(&story.post.mailed_ids(), 30);

    // The address is put right, and the secret is wrong.
    story.settings["webhook"]["url"] = url;
    let secrets = std::mem::replace(&mut story.secrets, "short".to_owned());
    minutes(&story, 1).await;
    assert_eq!(story.post.knocks(), 0);
    story.secrets = secrets;
    minutes(&story, 5).await;
    assert_each_once(&story.post.posted_ids(), 30);

    // The other way round.
    story.settings["email"]["from"] = json!("billing");
    story.tell_of_receipt("evt_new").await;
    story.run().await;
    assert_each_once(&story.post.posted_ids(), 31);
    story.settings["email"]["from"] = json!("billing@example.com");
    minutes(&story, 1).await;
    assert_each_once(&story.post.mailed_ids(), 31);
}

#[tokio::test]
async fn where_no_way_can_be_used_the_run_says_so_and_leaves_all_as_it_is() {
    let mut story = Story::start().await;
    story.settings["email"]["to"] = json!("nobody");
    story.reach = Reach::Public; // The receiver's address is by http.
    story.tell_of_receipt("evt_1").await;
    let stored = story.deliveries("evt_1").await;
    let run = story.courier();
    let run = run.run(Instant::now() + Duration::from_secs(55)).await;
    assert!(matches!(run, Err(CourierError::Settings(_))), "{run:?}");
    assert_eq!(story.deliveries("evt_1").await, stored);
}
