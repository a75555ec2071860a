//! What a restore of the audit log from a backup does to repeats: the tables go
//! back to an earlier state, and the agents send again. See docs/operations.md.

use billing::UsageStatus;
use serde_json::json;

use crate::story::{HOUR_MS, Story};
use crate::support::tables::Item;

const AUDIT_LOG: &str = "UsageEventsTable";

/// What a backup holds of the audit log.
async fn backup(story: &Story) -> Vec<Item> {
    story.world.tables.scan(AUDIT_LOG).await
}

/// Puts the audit log back to `backup`: what is not in it is gone.
async fn restore(story: &Story, backup: Vec<Item>) {
    let client = &story.world.tables.client;
    for row in story.world.tables.scan(AUDIT_LOG).await {
        let deleted = client.delete_item().table_name(AUDIT_LOG);
        let deleted = deleted.key("identifier", row["identifier"].clone());
        deleted.send().await.unwrap();
    }
    for row in backup {
        let put = client.put_item().table_name(AUDIT_LOG).set_item(Some(row));
        put.send().await.unwrap();
    }
}

#[tokio::test]
async fn within_a_day_repeats_bring_back_the_rows_that_a_restore_lost_and_count_nothing_twice() {
    let story = Story::start().await;
    story.emit(&story.event("job-1", 3)).await;
    let before = backup(&story).await;
    story.emit(&story.event("job-2", 5)).await;
    restore(&story, before).await;
    assert_eq!(story.status_in_log("job-2").await, None);

    story.world.clock.advance_ms(22 * HOUR_MS);
    for (event_id, quantity, is_known) in [("job-1", 3, true), ("job-2", 5, false)] {
        let (status, answer) = story.emit(&story.event(event_id, quantity)).await;
        assert_eq!((status, &answer["status"]), (200, &json!("delivered")));
        assert_eq!(answer["duplicate"], is_known, "{event_id}");
        let in_log = story.status_in_log(event_id).await;
        assert_eq!(in_log, Some(UsageStatus::Delivered));
    }
    assert_eq!(story.in_stripe().await, (2, 8));
}

/// The harm that the operator's page warns of. If this fails, the page is wrong.
#[tokio::test]
async fn after_more_than_a_day_a_repeat_of_a_lost_row_counts_again() {
    let story = Story::start().await;
    let before = backup(&story).await;
    story.emit(&story.event("job-1", 3)).await;
    restore(&story, before).await;

    story.world.clock.advance_ms(25 * HOUR_MS);
    let (status, answer) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!((status, &answer["duplicate"]), (200, &json!(false)));
    assert_eq!(story.in_stripe().await, (2, 6));
}

#[tokio::test]
async fn a_row_put_back_to_pending_is_sent_again_under_its_identifier_or_quarantined() {
    let story = Story::start().await;
    for event_id in ["job-1", "job-2"] {
        story.world.break_stream(503, 3).await;
        story.emit(&story.event(event_id, 3)).await;
        story.world.assert_faults_are_used_up().await;
    }
    let before = backup(&story).await;
    for event_id in ["job-1", "job-2"] {
        story.emit(&story.event(event_id, 3)).await;
    }
    restore(&story, before).await;
    assert_eq!(
        story.status_in_log("job-1").await,
        Some(UsageStatus::Pending)
    );

    let (status, _) = story.emit(&story.event("job-1", 3)).await;
    assert_eq!(status, 200);
    story.world.clock.advance_ms(25 * HOUR_MS);
    let (status, answer) = story.emit(&story.event("job-2", 3)).await;
    assert_eq!((status, &answer["status"]), (202, &json!("quarantined")));
    assert_eq!(story.in_stripe().await, (2, 6));
}
