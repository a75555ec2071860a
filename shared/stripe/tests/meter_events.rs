//! Meter events by the endpoint that takes one at a time for each customer and
//! meter.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use stripe::{Client, Error, MeterEvent, MeterEventOutcome, RequestOptions};
use tokio::sync::Barrier;
use tokio::time::{Instant, timeout};

use crate::support::{Answer, Scripted};

/// Far enough that no test gets there.
const FAR: Duration = Duration::from_secs(20);

async fn send(
    client: &Client,
    customer_id: &str,
    event_name: &str,
) -> Result<MeterEventOutcome, Error> {
    let event = MeterEvent::new("id-1", event_name, 1_769_860_800_000, customer_id, 7);
    client
        .create_meter_event(&event, &RequestOptions::new())
        .await
}

#[tokio::test]
async fn customers_and_meters_do_not_wait_for_each_other() {
    // Nobody is answered before all three have asked.
    let all = Arc::new(Barrier::new(3));
    let answer = Answer::Together(all, Box::new(Answer::ok(&json!({}))));
    let stripe = Scripted::start(move |_| answer.clone()).await;
    let client = stripe.client();
    let sent = async {
        tokio::join!(
            send(&client, "cus_1", "pages"),
            send(&client, "cus_2", "pages"),
            send(&client, "cus_1", "words"),
        )
    };
    let (a, b, c) = timeout(FAR, sent).await.unwrap();
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
}

#[tokio::test]
async fn a_customers_call_waits_for_the_one_before_it_and_no_longer_than_its_deadline() {
    let stripe = Scripted::with([Answer::Silence, Answer::ok(&json!({}))]).await;
    let client = stripe.client();
    let event = MeterEvent::new("id-2", "pages", 1_769_860_800_000, "cus_1", 7);
    let no_time = RequestOptions::until(Instant::now());
    let unsent = async {
        while stripe.calls().is_empty() {
            tokio::task::yield_now().await;
        }
        client.clone().create_meter_event(&event, &no_time).await
    };
    let unsent = timeout(FAR, async {
        tokio::select! {
            biased;
            answered = send(&client, "cus_1", "pages") => { answered.unwrap(); None }
            unsent = unsent => Some(unsent),
        }
    });
    let unsent = unsent.await.unwrap().unwrap();
    assert!(matches!(unsent, Err(Error::DeadlineOver)), "{unsent:?}");
    assert_eq!(stripe.calls().len(), 1);

    // The first one has gone, unanswered: the line is free.
    let sent = timeout(FAR, send(&client, "cus_1", "pages")).await.unwrap();
    assert_eq!(sent.unwrap(), MeterEventOutcome::Created);
}
