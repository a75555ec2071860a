//! The frame around every piece of news.

use billing::Timestamp;
use ledger::{CustomerRow, StoredNotification};
use serde::Serialize;

/// The version of the payloads. It counts changes that a reader of the one
/// before would stumble over; new members and new kinds are none.
pub const VERSION: u32 = 1;

/// Something new: it serialises to its `kind` and its `data`.
pub trait News: Serialize {
    /// The word of `kind`.
    fn kind(&self) -> &'static str;
}

/// Something to tell the operator. It is stored before it goes out, and repeated
/// as it stands.
#[derive(Debug, Serialize)]
struct Notification<'a, N> {
    version: u32,
    /// The same at each repeat, to drop repeats by.
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    stripe_event_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stripe_event_type: Option<&'a str>,
    /// When it happened: RFC 3339.
    created_at: String,
    /// Whom it is about, if it is about one customer.
    #[serde(skip_serializing_if = "Option::is_none")]
    customer: Option<Customer<'a>>,
    #[serde(flatten)]
    news: N,
}

#[derive(Debug, Serialize)]
struct Customer<'a> {
    customer_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
}

/// What news comes of.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// What the ids of its notifications begin with: the Stripe event's id, or
    /// another that the same news always has.
    pub id: &'a str,
    /// The Stripe event's type; none where no event of Stripe's is behind it.
    pub stripe_event_type: Option<&'a str>,
    /// When Stripe made the event, or when it happened.
    pub created_at: Timestamp,
}

impl Origin<'_> {
    /// `news` of this origin, about `customer`, as it is stored and sent. Its id is
    /// `{origin's id}:{kind}`.
    ///
    /// # Errors
    /// Those of `news`' own serialisation.
    pub fn notification<N: News>(
        self,
        customer: Option<&CustomerRow>,
        news: N,
    ) -> Result<StoredNotification, serde_json::Error> {
        let kind = news.kind();
        let notification = Notification {
            version: VERSION,
            id: format!("{}:{kind}", self.id),
            stripe_event_id: self.stripe_event_type.map(|_| self.id),
            stripe_event_type: self.stripe_event_type,
            created_at: self.created_at.to_string(),
            customer: customer.map(|row| Customer {
                customer_id: row.customer_id.as_str(),
                external_id: row.external_id.as_deref(),
            }),
            news,
        };
        let stored = StoredNotification {
            message: serde_json::to_string(&notification)?,
            id: notification.id,
            kind: kind.to_owned(),
        };
        // Whoever was erased is not written back by what happens later.
        let is_erased = customer.is_some_and(|row| row.erased_at.is_some());
        Ok(match is_erased {
            true => stored.without_personal_data(),
            false => stored,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[derive(Serialize)]
    #[serde(tag = "kind", content = "data", rename_all = "snake_case")]
    enum Weather {
        Storm { wind: u32 },
    }

    impl News for Weather {
        fn kind(&self) -> &'static str {
            "storm"
        }
    }

    fn message(origin: Origin<'_>) -> Value {
        let stored = origin.notification(None, Weather::Storm { wind: 9 });
        let stored = stored.unwrap();
        assert_eq!(
            (stored.id.as_str(), stored.kind.as_str()),
            ("w_1:storm", "storm")
        );
        serde_json::from_str(&stored.message).unwrap()
    }

    #[test]
    fn a_payload_says_whence_it_is_and_what_is_new() {
        let origin = Origin {
            id: "w_1",
            stripe_event_type: None,
            created_at: Timestamp::from_unix_s(1_769_860_800),
        };
        let news = json!({
            "version": 1, "id": "w_1:storm", "created_at": "2026-01-31T12:00:00Z",
            "kind": "storm", "data": { "wind": 9 },
        });
        assert_eq!(message(origin), news);

        let of_stripe = message(Origin {
            stripe_event_type: Some("weather.changed"),
            ..origin
        });
        assert_eq!(of_stripe["stripe_event_id"], "w_1");
        assert_eq!(of_stripe["stripe_event_type"], "weather.changed");
    }
}
