//! What the operator is told of a limit: the payloads of `docs/spending-limits.md`.

use std::ops::Range;

use billing::{Cap, SpendingLimit, Timestamp};
use ledger::{
    BillingEventRow, BillingEventState, Channel, CustomerRow, Delivery, RaisedAlert,
    StoredNotification, UntoldAlert,
};
use notify::{News, Origin};
use serde::Serialize;
use serde_json::{Value, json};

use crate::Standing;

/// A threshold is crossed.
const REACHED: &str = "limit_threshold_reached";
/// A threshold that was crossed matters no more.
const RESOLVED: &str = "limit_threshold_resolved";

/// Why a threshold matters no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resolution {
    /// Another limit was set, of which less is used, or another threshold.
    LimitChanged,
    /// There is no limit any more.
    LimitRemoved,
    /// The period is over.
    PeriodEnded,
}

impl Resolution {
    const fn as_str(self) -> &'static str {
        match self {
            Self::LimitChanged => "limit_changed",
            Self::LimitRemoved => "limit_removed",
            Self::PeriodEnded => "period_ended",
        }
    }
}

/// Whose threshold, and of which period: what the ids of its news are made of.
pub(crate) struct Subject<'a> {
    pub(crate) customer: &'a CustomerRow,
    pub(crate) period: &'a Range<Timestamp>,
}

impl Subject<'_> {
    /// A threshold of `standing`'s limit is crossed at `at`, in real time.
    pub(crate) fn reached(&self, percent: u16, standing: &Standing, at: Timestamp) -> UntoldAlert {
        let limit = &standing.limit;
        let mut data = self.data(percent);
        data["limit"] = limit_of(limit);
        data["used_units"] = json!(standing.used_units);
        data["used_amount"] = json!(standing.used_amount.to_string());
        data["currency"] = json!(standing.used_amount.currency().as_str());
        data["used_percent"] = json!(standing.used_percent);
        data["stopped"] = json!(standing.stops());
        self.untold(REACHED, percent, limit.revision, at, &data)
    }

    /// A threshold that was `raised` matters no more since `at`.
    pub(crate) fn resolved(
        &self,
        raised: &RaisedAlert,
        resolution: Resolution,
        at: Timestamp,
    ) -> UntoldAlert {
        let mut data = self.data(raised.percent);
        data["raised_at"] = json!(raised.raised_at.to_string());
        data["reason"] = json!(resolution.as_str());
        data["limit"] = match &self.customer.spending_limit {
            Some(limit) if resolution != Resolution::LimitRemoved => limit_of(limit),
            _ => Value::Null,
        };
        self.untold(RESOLVED, raised.percent, raised.revision, at, &data)
    }

    fn data(&self, percent: u16) -> Value {
        json!({
            "threshold_percent": percent,
            "period_start": self.period.start.to_string(),
            "period_end": self.period.end.to_string(),
        })
    }

    fn untold(
        &self,
        kind: &str,
        percent: u16,
        revision: u64,
        at: Timestamp,
        data: &Value,
    ) -> UntoldAlert {
        let (customer_id, start_s) = (&self.customer.customer_id, self.period.start.unix_s());
        UntoldAlert {
            id: format!("limit:{customer_id}:{start_s}:{revision}:{percent}"),
            kind: kind.to_owned(),
            at,
            data: data.to_string(),
        }
    }
}

fn limit_of(limit: &SpendingLimit) -> Value {
    let units = match limit.cap {
        Cap::Units(units) => Some(units),
        Cap::Amount { .. } => None,
    };
    let amount = limit.cap.money().map(|money| money.to_string());
    json!({ "units": units, "amount": amount, "enforcement": limit.enforcement.as_str() })
}

/// `untold` as it is sent: about `customer` as it is named now. And the row by which
/// it goes out by `channels`, as what comes of Stripe's events does; the topic is none
/// of them.
pub(crate) fn event(
    untold: &UntoldAlert,
    customer: &CustomerRow,
    channels: &[Channel],
    now: Timestamp,
) -> Result<(StoredNotification, BillingEventRow), serde_json::Error> {
    let origin = Origin {
        id: &untold.id,
        stripe_event_type: None,
        created_at: untold.at,
    };
    let news = LimitNews {
        kind: if untold.kind == RESOLVED {
            RESOLVED
        } else {
            REACHED
        },
        data: serde_json::from_str(&untold.data)?,
    };
    let notification = origin.notification(Some(customer), news)?;
    let notifications = vec![notification.clone()];
    let event = BillingEventRow {
        stripe_event_id: notification.id.clone(),
        event_type: notification.kind.clone(),
        customer_id: Some(customer.customer_id.clone()),
        created_at: untold.at,
        applied_at: now,
        state: BillingEventState::Done,
        deliveries: Delivery::of_all(&notifications, channels, now),
        notifications,
    };
    Ok((notification, event))
}

#[derive(Serialize)]
struct LimitNews {
    kind: &'static str,
    data: Value,
}

impl News for LimitNews {
    fn kind(&self) -> &'static str {
        self.kind
    }
}
