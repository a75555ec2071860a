//! The audit log and Stripe against what the agents were told.

use std::collections::{HashMap, HashSet};

use serde_json::{Value, json};

use super::{Findings, Identifier, Kind, Subject, identifier, parse_identifier, place_of};
use crate::SoakError;
use crate::agents::{ACTIONS, Told};
use crate::direct::{integer, text};

const TABLE: &str = "UsageEventsTable";

/// What the count needs of a row of the audit log.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) customer: usize,
    pub(super) quantity: i64,
    pub(super) status: &'static str,
    /// Its place in [`ACTIONS`].
    pub(super) action: usize,
    pub(super) occurred_at_ms: i64,
    pub(super) billed_at_ms: Option<i64>,
    pub(super) period_start_ms: Option<i64>,
}

/// Words of `docs/exactness.md`.
const STATUSES: [&str; 7] = [
    "pending",
    "delivered",
    "rejected",
    "quarantined",
    "held",
    "voiding",
    "voided",
];

/// What Stripe has under one identifier.
#[derive(Clone, Debug)]
pub(super) struct InStripe {
    pub(super) meter_event_name: String,
    pub(super) customer: Option<usize>,
    pub(super) value: i64,
    pub(super) timestamp: i64,
    pub(super) received_ms: i64,
    pub(super) times: u64,
}

/// Customer, value and time: what a copy has in common with its original.
type Looks = (Option<usize>, i64, i64);

impl InStripe {
    const fn looks(&self) -> Looks {
        (self.customer, self.value, self.timestamp)
    }
}

pub(super) type Rows = HashMap<Identifier, Row>;
/// By identifier, and what has none that is 64 hex digits.
pub(super) type Stripe = (HashMap<Identifier, InStripe>, Vec<(String, InStripe)>);

/// The whole audit log.
pub(super) async fn read_log(
    subject: Subject<'_>,
    findings: &mut Findings,
) -> Result<Rows, SoakError> {
    let mut rows = Rows::new();
    let parameters = json!({
        "ProjectionExpression": "identifier, customer_id, event_id, quantity, #status, \
            action_type, meter_event_name, occurred_at, billed_at, period_start, carried_over",
        "ExpressionAttributeNames": { "#status": "status" },
    });
    let take = |item: &Value| {
        let digits = text(&item["identifier"], "S")?;
        let (customer_id, event_id) = (
            text(&item["customer_id"], "S")?,
            text(&item["event_id"], "S")?,
        );
        let own = identifier(customer_id, event_id);
        if parse_identifier(digits) != Some(own) {
            findings.add(Kind::Stranger, || {
                format!("{digits} is not {event_id:?} of {customer_id}")
            });
        }
        match row(subject, item)? {
            Some(row) => {
                let by = text(&item["meter_event_name"], "S")?;
                if by != row.meter_event_name() {
                    findings.add(Kind::WrongMeter, || {
                        format!("the log counts {digits} by {by}: {row:?}")
                    });
                }
                findings.carried_over += u64::from(item["carried_over"]["BOOL"] == json!(true));
                rows.insert(own, row);
            }
            None => findings.add(Kind::Stranger, || format!("the log has {item}")),
        }
        Ok(())
    };
    subject.direct.scan(TABLE, &parameters, take).await?;
    Ok(rows)
}

/// None where its customer, status or action is none of this run.
fn row(subject: Subject<'_>, item: &Value) -> Result<Option<Row>, SoakError> {
    let customer = place_of(subject.customers, text(&item["customer_id"], "S")?);
    let status = text(&item["status"], "S")?;
    let status = STATUSES.into_iter().find(|known| *known == status);
    let action_type = text(&item["action_type"], "S")?;
    let action = ACTIONS.iter().position(|known| known.0 == action_type);
    let (Some(customer), Some(status), Some(action)) = (customer, status, action) else {
        return Ok(None);
    };
    let optional = |field: &str| number(&item[field]).ok();
    Ok(Some(Row {
        customer,
        status,
        action,
        quantity: number(&item["quantity"])?,
        occurred_at_ms: number(&item["occurred_at"])?,
        billed_at_ms: optional("billed_at"),
        period_start_ms: optional("period_start"),
    }))
}

impl Row {
    /// The meter that has to count it.
    pub(super) fn meter_event_name(&self) -> &'static str {
        ACTIONS.get(self.action).map_or("", |(_, meter)| meter)
    }
}

/// A number as DynamoDB writes it.
pub(super) fn number(value: &Value) -> Result<i64, SoakError> {
    let digits = text(value, "N")?;
    digits.parse().map_err(|_| SoakError::Missing("number"))
}

/// Every meter event that counts.
pub(super) async fn read_stripe(subject: Subject<'_>) -> Result<Stripe, SoakError> {
    let (mut known, mut others): Stripe = (HashMap::new(), Vec::new());
    let take = |event: &Value| {
        let found = InStripe {
            meter_event_name: text(event, "event_name")?.to_owned(),
            customer: place_of(subject.customers, text(event, "customer")?),
            value: integer(event, "value")?,
            timestamp: integer(event, "timestamp")?,
            received_ms: integer(event, "received_ms")?,
            times: 1,
        };
        let digits = text(event, "identifier")?;
        match parse_identifier(digits) {
            Some(identifier) => {
                let event = known.entry(identifier);
                event.and_modify(|it| it.times += 1).or_insert(found);
            }
            None => others.push((digits.to_owned(), found)),
        }
        Ok(())
    };
    subject.direct.meter_events(take).await?;
    Ok((known, others))
}

/// Each event that an agent sent, each that Stripe has, each row.
pub(super) fn compare(
    subject: Subject<'_>,
    rows: &Rows,
    (stripe, others): &Stripe,
    findings: &mut Findings,
) {
    let mut sent: HashSet<Identifier> = HashSet::with_capacity(subject.told.len());
    for told in subject.told {
        let customer_id = subject.customers.get(told.customer);
        let customer_id = customer_id.map_or("", |customer| customer.id.as_str());
        let identifier = identifier(customer_id, &told.event_id);
        sent.insert(identifier);
        let name = || {
            format!(
                "{} ({:?} of {customer_id})",
                hex::encode(identifier),
                told.event_id
            )
        };
        compare_event(
            told,
            rows.get(&identifier),
            stripe.get(&identifier),
            findings,
            &name,
        );
    }
    for identifier in rows.keys().filter(|it| !sent.contains(*it)) {
        findings.add(Kind::Stranger, || {
            format!("the log has {}", hex::encode(identifier))
        });
    }
    let (known, copies): (Vec<_>, Vec<_>) = stripe.iter().partition(|(it, _)| sent.contains(*it));
    let copies = copies
        .into_iter()
        .map(|(it, event)| (hex::encode(it), event.clone()));
    let copies: Vec<_> = copies.chain(others.iter().cloned()).collect();
    if !copies.is_empty() {
        let known = known.into_iter().map(|(_, event)| event.looks()).collect();
        compare_copies(&copies, &known, findings);
    }
    findings.in_stripe = stripe.values().map(|event| event.times).sum::<u64>();
    findings.in_stripe += others.len() as u64;
}

fn compare_event(
    told: &Told,
    row: Option<&Row>,
    in_stripe: Option<&InStripe>,
    findings: &mut Findings,
    name: &dyn Fn() -> String,
) {
    let Some(row) = row else {
        if told.acknowledged.is_some() {
            findings.add(Kind::Lost, || {
                format!("{} is acknowledged and not in the log", name())
            });
        } else if in_stripe.is_some() {
            findings.add(Kind::Stranger, || {
                format!("{} is in Stripe and not in the log", name())
            });
        }
        return;
    };
    let is = |quantity: u64| i64::try_from(quantity) == Ok(row.quantity);
    let is_sent = is(told.quantities.0) || told.quantities.1.is_some_and(is);
    if !is_sent || !told.acknowledged.is_none_or(is) {
        findings.add(Kind::WrongQuantity, || {
            format!("{}: {told:?}, {row:?}", name())
        });
    }
    if told.is_delivered && row.status != "delivered" {
        findings.add(Kind::Contradiction, || {
            format!("{} was said to be delivered and is {}", name(), row.status)
        });
    }
    match (row.status, in_stripe) {
        ("delivered", None) => findings.add(Kind::Lost, || format!("{} is not in Stripe", name())),
        ("delivered", Some(_)) => {}
        ("held", Some(_)) => {
            findings.add(Kind::Contradiction, || {
                format!("{} is held and in Stripe", name())
            });
        }
        (status @ ("quarantined" | "rejected" | "held"), in_stripe) => {
            *findings
                .named
                .entry((status, in_stripe.is_some()))
                .or_default() += 1;
        }
        (status, _) => findings.add(Kind::Unsettled, || format!("{} is {status}", name())),
    }
    let Some(event) = in_stripe else { return };
    if event.times > 1 {
        findings.add(Kind::Doubled, || {
            format!("{} is in Stripe {} times", name(), event.times)
        });
    }
    if event.meter_event_name != row.meter_event_name() {
        findings.add(Kind::WrongMeter, || {
            format!("{}: {event:?}, {row:?}", name())
        });
    }
    if event.value != row.quantity || event.customer != Some(row.customer) {
        findings.add(Kind::WrongQuantity, || {
            format!("{}: {event:?}, {row:?}", name())
        });
    }
}

/// What no agent sent: one that looks like a known event is a copy of it.
fn compare_copies(copies: &[(String, InStripe)], known: &HashSet<Looks>, findings: &mut Findings) {
    for (identifier, copy) in copies {
        let kind = if known.contains(&copy.looks()) {
            Kind::Doubled
        } else {
            Kind::Stranger
        };
        findings.add(kind, || format!("Stripe has {identifier}: {copy:?}"));
    }
}
