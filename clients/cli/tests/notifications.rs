//! `meterline notifications` as a program: what was given up is listed, and sent again.

use ledger::{
    Applied, BillingEventRow, BillingEventState, Channel, Delivery, DeliveryState,
    StoredNotification,
};
use serde_json::Value;

use crate::story::Story;

impl Story {
    /// An event whose mail and request stand at `states`.
    async fn event(&self, event_id: &str, states: [DeliveryState; 2]) {
        let id = format!("{event_id}:receipt");
        let channels = [Channel::Email, Channel::Webhook];
        let deliveries = channels.into_iter().zip(states);
        let deliveries = deliveries.map(|(channel, state)| Delivery {
            state,
            attempts: 77,
            reason: Some("http_500".to_owned()),
            ..Delivery::new(&id, channel, self.now())
        });
        let event = BillingEventRow {
            stripe_event_id: event_id.to_owned(),
            event_type: "invoice.paid".to_owned(),
            customer_id: Some(self.customer_id.clone()),
            created_at: self.now(),
            applied_at: self.now(),
            state: BillingEventState::Done,
            deliveries: deliveries.collect(),
            notifications: vec![StoredNotification {
                id: id.clone(),
                kind: "receipt".to_owned(),
                message: "{}".to_owned(),
            }],
        };
        let applied = self.system.ledger().apply_billing_event(&event, None).await;
        assert_eq!(applied.unwrap(), Applied::Done);
    }

    async fn states(&self, event_id: &str) -> Vec<(DeliveryState, u32)> {
        let event = self.system.ledger().billing_event(event_id).await.unwrap();
        let deliveries = event.unwrap().deliveries.into_iter();
        deliveries.map(|it| (it.state, it.attempts)).collect()
    }

    /// What `meterline notifications` prints, and its status.
    async fn notifications(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let (status, out, err) = self
            .meterline(&[&["notifications"], arguments].concat())
            .await;
        assert!(status != Some(2), "{err}");
        (status, out)
    }

    /// What `list --json` prints, by event and channel.
    async fn listed(&self, state: &str) -> Vec<String> {
        let (status, out) = self
            .notifications(&["list", "--state", state, "--json"])
            .await;
        assert_eq!(status, Some(0), "{out}");
        let lines = out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut listed: Vec<String> = lines
            .map(|line| format!("{} {}", line["event_id"], line["channel"]).replace('"', ""))
            .collect();
        listed.sort();
        listed
    }
}

#[tokio::test]
async fn what_was_given_up_is_listed_and_sent_again() {
    use DeliveryState::{Dead, Dropped, Pending, Sent};
    let story = Story::start().await;
    story.event("evt_dead", [Sent, Dead]).await;
    story.event("evt_both", [Dead, Dead]).await;
    story.event("evt_sent", [Sent, Sent]).await;
    story.event("evt_waits", [Dropped, Pending]).await;
    let dead = ["evt_both email", "evt_both webhook", "evt_dead webhook"];
    assert_eq!(story.listed("dead").await, dead);
    assert_eq!(story.listed("pending").await, ["evt_waits webhook"]);
    let (_, out) = story.notifications(&["list"]).await;
    assert!(
        out.contains("evt_dead:receipt") && out.contains("http_500"),
        "{out}"
    );

    // One way alone, of one event.
    let one = ["resend", "evt_both", "--channel", "email"];
    assert_eq!(story.notifications(&one).await.0, Some(0));
    assert_eq!(story.states("evt_both").await, [(Pending, 0), (Dead, 77)]);
    assert_eq!(
        story.listed("pending").await,
        ["evt_both email", "evt_waits webhook"]
    );

    let (status, out) = story.notifications(&["resend", "--all-dead"]).await;
    assert_eq!(status, Some(0), "{out}");
    assert_eq!(story.states("evt_dead").await, [(Sent, 77), (Pending, 0)]);
    assert_eq!(story.listed("dead").await, [""; 0]);

    // What was sent is sent again only where that is said.
    let (status, out) = story
        .notifications(&["resend", "evt_sent", "evt_nowhere"])
        .await;
    assert_eq!(status, Some(1), "{out}");
    assert!(
        out.contains("evt_sent  left: nothing of it was given up"),
        "{out}"
    );
    assert!(
        out.contains("evt_nowhere  left: there is no such event"),
        "{out}"
    );
    let even = ["resend", "evt_sent", "--even-sent", "--json"];
    let (status, out) = story.notifications(&even).await;
    assert_eq!(status, Some(0), "{out}");
    let line: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(line["due"].as_array().unwrap().len(), 2);
    assert_eq!(story.states("evt_sent").await, [(Pending, 0), (Pending, 0)]);
    story.system.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_not_said_is_not_done() {
    let story = Story::start().await;
    for arguments in [&["resend"][..], &["resend", "evt_1", "--all-dead"]] {
        let arguments = [&["notifications"], arguments].concat();
        let (status, _, err) = story.meterline(&arguments).await;
        assert_eq!(status, Some(2), "{err}");
    }
    story.system.stop().await.unwrap();
}
