//! A customer to tell, an SES that takes mails, a receiver of the operator's.

mod post_office;

use std::time::Duration;

use billing::{Clock, Timestamp};
use courier::settings::Reach;
use courier::{Courier, Parts, Report};
use ledger::{
    Applied, BillingEventRow, BillingEventState, CustomerRow, Delivery, Ledger, StoredNotification,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use stripe::{RequestOptions, UpdateCustomer};
use tokio::time::Instant;
use web::RotatedSecret;

pub(crate) use post_office::{Answer, PostOffice, Request};

use crate::support::world::World;

pub(crate) const MINUTE_MS: i64 = 60_000;
pub(crate) const DAY_MS: i64 = 24 * 60 * MINUTE_MS;
/// Where the customer is reached.
pub(crate) const ADDRESS: &str = "ada@mail.example.com";
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct Story {
    pub(crate) world: World,
    pub(crate) customer: CustomerRow,
    pub(crate) post: PostOffice,
    /// Of notifications, as JSON.
    pub(crate) settings: Value,
    pub(crate) channels: &'static str,
    pub(crate) secrets: String,
    pub(crate) reach: Reach,
}

impl Story {
    pub(crate) async fn start() -> Self {
        let world = World::start().await;
        let customer = world.onboard(None).await;
        let post = PostOffice::start().await;
        let settings = json!({
            "email": { "from": "billing@example.com", "from_name": "Acme" },
            "webhook": { "url": post.receiver_url() },
        });
        let story = Self {
            world,
            customer,
            post,
            settings,
            channels: "email,webhook",
            secrets: SECRET.to_owned(),
            reach: Reach::Anywhere,
        };
        story.move_to(ADDRESS).await;
        story
    }

    /// With one way alone.
    pub(crate) async fn with(channels: &'static str) -> Self {
        Self {
            channels,
            ..Self::start().await
        }
    }

    /// Stripe has another address of the customer from now on.
    pub(crate) async fn move_to(&self, address: &str) {
        let changes = UpdateCustomer {
            email: Some(address.to_owned()),
            ..UpdateCustomer::default()
        };
        let id = self.customer.customer_id.as_str();
        let options = RequestOptions::new();
        let moved = self.world.stripe.update_customer(id, &changes, &options);
        moved.await.unwrap();
    }

    pub(crate) fn courier(&self) -> Courier {
        self.courier_of(self.world.ledger.clone())
    }

    /// One that reaches the tables by `ledger`.
    pub(crate) fn courier_of(&self, ledger: Ledger) -> Courier {
        let fixed = |text: &str| RotatedSecret::new(SecretString::from(text), None);
        let parts = Parts {
            ledger,
            stripe: self.world.stripe.clone(),
            ses: self.post.ses_client(),
            channels: self.channels.parse().unwrap(),
            settings: fixed(&self.settings.to_string()),
            signing: Some(fixed(&self.secrets)),
            reach: self.reach,
            clock: self.world.clock(),
        };
        Courier::new(parts).unwrap()
    }

    pub(crate) async fn run(&self) -> Report {
        run(&self.courier()).await
    }

    /// An event with news of `kind`, to go out by every channel: what the webhook
    /// function stores.
    pub(crate) async fn tell(&self, event_id: &str, kind: &str, data: Value) {
        let (customer_id, now) = (&self.customer.customer_id, self.world.clock.now());
        let id = format!("{event_id}:{kind}");
        let mut customer = json!({ "customer_id": customer_id });
        if let Some(external_id) = &self.customer.external_id {
            customer["external_id"] = json!(external_id);
        }
        let message = json!({
            "version": 1, "id": id, "kind": kind, "stripe_event_id": event_id,
            "created_at": now.to_string(), "customer": customer, "data": data,
        });
        let notifications = vec![StoredNotification {
            id,
            kind: kind.to_owned(),
            message: message.to_string(),
        }];
        let channels: notify::Channels = self.channels.parse().unwrap();
        let event = BillingEventRow {
            stripe_event_id: event_id.to_owned(),
            event_type: "invoice.paid".to_owned(),
            customer_id: Some(customer_id.clone()),
            created_at: now,
            applied_at: now,
            state: BillingEventState::Done,
            deliveries: Delivery::of_all(&notifications, channels.as_slice(), now),
            notifications,
        };
        let applied = self.world.ledger.apply_billing_event(&event, None).await;
        assert_eq!(applied.unwrap(), Applied::Done);
    }

    /// A payment of $20.10.
    pub(crate) async fn tell_of_receipt(&self, event_id: &str) {
        self.tell(event_id, "receipt", a_bill()).await;
    }

    /// So many payments, all at once.
    pub(crate) async fn tell_of_receipts(&self, count: usize) {
        for n in 0..count {
            self.tell_of_receipt(&format!("evt_{n}")).await;
        }
    }

    pub(crate) async fn deliveries(&self, event_id: &str) -> Vec<Delivery> {
        let event = self.world.ledger.billing_event(event_id).await.unwrap();
        event.unwrap().deliveries
    }

    /// State and reason of the one delivery of an event.
    pub(crate) async fn outcome(&self, event_id: &str) -> (&'static str, String) {
        let [delivery] = self.deliveries(event_id).await.try_into().unwrap();
        let reason = delivery.reason.unwrap_or_default();
        (delivery.state.as_str(), reason)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.world.now()
    }

    pub(crate) fn pass_ms(&self, duration_ms: i64) {
        self.world.clock.advance_ms(duration_ms);
    }
}

pub(crate) async fn run(courier: &Courier) -> Report {
    courier
        .run(Instant::now() + Duration::from_secs(55))
        .await
        .unwrap()
}

pub(crate) fn a_bill() -> Value {
    json!({
        "invoice_id": "in_1", "number": "A1B2-0001", "currency": "usd",
        "total": "20.10", "amount_paid": "20.10", "amount_remaining": "0.00",
        "hosted_invoice_url": "https://invoice.stripe.com/i/1", "invoice_pdf": null,
    })
}
