//! Invoices against what Stripe has: every event lies in a period whose final
//! invoice counts it, in the line of its meter.

use std::collections::HashMap;

use serde_json::Value;

use super::audit::{InStripe, Rows, Stripe};
use super::{Findings, Kind, Subject};
use crate::SoakError;
use crate::direct::{integer, text};

/// One line of a final invoice.
#[derive(Debug)]
struct Line {
    meter_event_name: String,
    start: i64,
    end: i64,
    finalized_at: i64,
    quantity: i64,
    /// What Stripe has of its time.
    counted: i64,
}

/// Each customer's final invoices.
pub(super) async fn compare(
    subject: Subject<'_>,
    rows: &Rows,
    (stripe, others): &Stripe,
    findings: &mut Findings,
) -> Result<(), SoakError> {
    let mut lines: Vec<Vec<Line>> = Vec::new();
    let meters = meters_by_price(subject).await?;
    for customer in subject.customers {
        lines.push(read(subject, &customer.id, &meters).await?);
    }
    for (identifier, event) in stripe {
        let name = || format!("{} ({event:?})", hex::encode(identifier));
        count(subject, event, &mut lines, findings, &name);
        if let Some(row) = rows.get(identifier) {
            findings.in_another_period +=
                u64::from(is_elsewhere(row.period_start_ms, event, &lines));
        }
    }
    for (identifier, event) in others {
        let name = || format!("{identifier} ({event:?})");
        count(subject, event, &mut lines, findings, &name);
    }
    for line in lines.iter().flatten() {
        findings.invoices += 1;
        if line.counted > line.quantity {
            findings.add(Kind::Unbilled, || {
                format!("Stripe has more than {line:?} bills")
            });
        }
        if line.counted < line.quantity {
            findings.add(Kind::Overbilled, || {
                format!("Stripe has less than {line:?} bills")
            });
        }
    }
    Ok(())
}

/// The event name of the meter behind each price.
async fn meters_by_price(subject: Subject<'_>) -> Result<HashMap<String, String>, SoakError> {
    let meters = subject
        .direct
        .stripe("/v1/billing/meters?limit=100")
        .await?;
    let mut names = HashMap::new();
    for meter in meters["data"].as_array().into_iter().flatten() {
        names.insert(text(meter, "id")?, text(meter, "event_name")?);
    }
    let prices = subject.direct.stripe("/v1/prices?limit=100").await?;
    let mut by_price = HashMap::new();
    for price in prices["data"].as_array().into_iter().flatten() {
        let name = names.get(text(&price["recurring"], "meter")?);
        let name = name.ok_or(SoakError::Missing("a price's meter"))?;
        by_price.insert(text(price, "id")?.to_owned(), (*name).to_owned());
    }
    Ok(by_price)
}

async fn read(
    subject: Subject<'_>,
    customer_id: &str,
    meters: &HashMap<String, String>,
) -> Result<Vec<Line>, SoakError> {
    let mut lines = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!("/v1/invoices?customer={customer_id}&limit=100{after}");
        let page = subject.direct.stripe(&path).await?;
        let invoices = page["data"].as_array().map_or(&[][..], Vec::as_slice);
        for invoice in invoices {
            // A draft is not final, and what has no time of it is none either.
            let finalized_at = invoice["status_transitions"]["finalized_at"].as_i64();
            let Some(finalized_at) = finalized_at else {
                continue;
            };
            for line in invoice["lines"]["data"].as_array().into_iter().flatten() {
                let price = text(&line["pricing"]["price_details"], "price")?;
                let meter_event_name = meters.get(price).cloned();
                lines.push(Line {
                    meter_event_name: meter_event_name
                        .ok_or(SoakError::Missing("the meter of a line"))?,
                    start: integer(&line["period"], "start")?,
                    end: integer(&line["period"], "end")?,
                    finalized_at,
                    quantity: integer(line, "quantity")?,
                    counted: 0,
                });
            }
        }
        match (&page["has_more"], invoices.last()) {
            (Value::Bool(true), Some(last)) => {
                after = format!("&starting_after={}", text(last, "id")?);
            }
            _ => return Ok(lines),
        }
    }
}

fn count(
    subject: Subject<'_>,
    event: &InStripe,
    lines: &mut [Vec<Line>],
    findings: &mut Findings,
    name: &dyn Fn() -> String,
) {
    let Some(customer) = event.customer else {
        return;
    };
    let lives_by_account = subject
        .customers
        .get(customer)
        .is_some_and(|it| it.test_clock.is_none());
    let lines = lines
        .get_mut(customer)
        .map_or(&mut [][..], Vec::as_mut_slice);
    let Some(line) = lines.iter_mut().find(|line| line.holds(event)) else {
        findings.add(Kind::Unbilled, || {
            format!("{} is in no final invoice's period", name())
        });
        return;
    };
    let times = i64::try_from(event.times).unwrap_or(i64::MAX);
    line.counted = line
        .counted
        .saturating_add(event.value.saturating_mul(times));
    // On a test clock the two times are not of one kind.
    if lives_by_account && event.received_ms / 1_000 > line.finalized_at {
        findings.add(Kind::Unbilled, || {
            format!("{} came after {line:?} was final", name())
        });
    }
}

/// Whether Stripe bills the event in another period than the log says.
fn is_elsewhere(period_start_ms: Option<i64>, event: &InStripe, lines: &[Vec<Line>]) -> bool {
    let lines = event.customer.and_then(|customer| lines.get(customer));
    let line = lines.and_then(|lines| lines.iter().find(|line| line.holds(event)));
    line.is_some_and(|line| Some(line.start) != period_start_ms.map(|at| at.div_euclid(1_000)))
}

impl Line {
    fn holds(&self, event: &InStripe) -> bool {
        let is_in_period = self.start <= event.timestamp && event.timestamp < self.end;
        is_in_period && self.meter_event_name == event.meter_event_name
    }
}
