//! The independent count: what the agents were told, against what Stripe, the
//! audit log, the totals and the outbox hold. Nothing of the product is used:
//! identifiers and cells are computed here a second time.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::database::{Database, Item, number, text};

const HOUR_MS: i64 = 3_600_000;

/// Events of one page of the simulator.
const PAGE_EVENTS: usize = 10_000;

/// What an agent knows of an event that it emitted, or tried to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose usage.
    pub customer_id: String,
    /// The agent's id of it.
    pub event_id: String,
    /// Units used.
    pub quantity: i64,
    /// What was done.
    pub action_type: String,
    /// Whether a call for it was answered with a 2xx.
    pub acknowledged: bool,
    /// What has to become of it.
    pub fate: Fate,
}

/// What has to become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Stripe counts it.
    Billed,
    /// Stripe took it, and refused it later.
    Refused,
    /// It was voided: Stripe counts it no more.
    Cancelled,
    /// It was voided too late for that: its customer is credited.
    Credited,
}

impl Claim {
    /// The event's name everywhere: SHA-256 over customer and event id, each
    /// with its length in front.
    pub fn identifier(&self) -> String {
        let mut hasher = Sha256::new();
        for text in [&self.customer_id, &self.event_id] {
            hasher.update(u64::try_from(text.len()).unwrap().to_be_bytes());
            hasher.update(text.as_bytes());
        }
        hex::encode(hasher.finalize())
    }
}

/// An event that Stripe counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeterEvent {
    identifier: String,
    customer_id: String,
    quantity: i64,
}

/// A row of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    identifier: String,
    customer_id: String,
    event_id: String,
    quantity: i64,
    meter_event_name: String,
    action_type: String,
    status: String,
    pending_since: i64,
    period_start: Option<i64>,
    counted_at: i64,
}

/// Units and events of a cell, by the attribute that holds them.
type Cell = BTreeMap<String, i64>;

/// What was found where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// What Stripe counts.
    pub stripe: Vec<MeterEvent>,
    /// The audit log.
    pub audit: Vec<AuditRow>,
    /// The totals, by `{customer}/{period}#{hour}#{meter}#{action}`, slots added up.
    pub totals: BTreeMap<String, Cell>,
    /// What the outbox lists, by identifier: the time of the last entry that does.
    pub outbox: BTreeMap<String, i64>,
    /// Stream records that were set aside.
    pub set_aside: usize,
}

/// Something that is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It was acknowledged, and Stripe does not count it.
    Lost(Claim),
    /// Stripe counts it this many times.
    Doubled(Claim, usize),
    /// Stripe counts it, and nobody claims it.
    Unclaimed(MeterEvent),
    /// The audit log has it, and nobody claims it.
    UnclaimedRow(AuditRow),
    /// Stripe or the audit log holds other content than was emitted.
    Altered(Claim),
    /// Stripe and the audit log do not say the same of it.
    Disagreement {
        /// The event.
        claim: Claim,
        /// How often Stripe counts it.
        in_stripe: usize,
        /// Its status in the audit log, if it is there.
        status: Option<String>,
    },
    /// A cell of the totals is not the sum of the audit log.
    WrongTotal {
        /// The cell.
        cell: String,
        /// What the totals hold.
        counted: Cell,
        /// What the audit log adds up to.
        logged: Cell,
    },
    /// It is pending, and not in the outbox.
    NotInOutbox(String),
    /// It is in the outbox, and not pending, though redelivery has looked.
    StaleInOutbox(String),
    /// So many stream records were set aside.
    SetAside(usize),
}

impl Observed {
    /// Looks everywhere, with the stripe simulator's own count at `stripe_url`.
    pub async fn now(database: &Database, stripe: &Counter) -> Self {
        let rows = database.scan("UsageEventsTable").await;
        let audit = rows.iter().map(audit_row).collect();
        let mut in_stripe = stripe.meter_events().await;
        // A usage record has no identifier: the row that names it lends its own.
        // One that no row names, or two name, is found to be in excess.
        let mut recorded: BTreeMap<String, String> = rows
            .iter()
            .filter(|row| row.contains_key("stripe_record_id"))
            .map(|row| (text(row, "stripe_record_id"), text(row, "identifier")))
            .collect();
        for event in &mut in_stripe {
            if let Some(identifier) = recorded.remove(&event.identifier) {
                event.identifier = identifier;
            }
        }
        let mut totals: BTreeMap<String, Cell> = BTreeMap::new();
        let mut set_aside = 0;
        for item in database.scan("UsageTotalsTable").await {
            let customer_id = text(&item, "customer_id");
            if customer_id.starts_with("poison#") {
                set_aside += 1;
            } else if !customer_id.starts_with("checkpoint#") {
                add_total(&mut totals, &customer_id, &item);
            }
        }
        drop_zeros(&mut totals);
        Self {
            stripe: in_stripe,
            audit,
            totals,
            outbox: outbox(database).await,
            set_aside,
        }
    }

    /// The events that are pending.
    pub fn pending(&self) -> usize {
        let pending = self.audit.iter().filter(|row| row.status == "pending");
        pending.count()
    }

    /// Whether totals and outbox say what the audit log says; true at any
    /// moment at which the stream has been rolled up.
    pub fn of_the_stream(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut logged: BTreeMap<String, Cell> = BTreeMap::new();
        for row in &self.audit {
            let cell = logged.entry(row.cell()).or_default();
            *cell.entry(format!("{}_units", row.status)).or_default() += row.quantity;
            *cell.entry(format!("{}_events", row.status)).or_default() += 1;
        }
        drop_zeros(&mut logged);
        let cells: BTreeSet<&String> = self.totals.keys().chain(logged.keys()).collect();
        for cell in cells {
            let of =
                |totals: &BTreeMap<String, Cell>| totals.get(cell).cloned().unwrap_or_default();
            let (counted, logged) = (of(&self.totals), of(&logged));
            if counted != logged {
                findings.push(Finding::WrongTotal {
                    cell: cell.clone(),
                    counted,
                    logged,
                });
            }
        }
        // Redelivery takes an entry's word only for what was pending when it
        // was made.
        let is_listed = |row: &AuditRow| {
            let last = self.outbox.get(&row.identifier);
            last.is_some_and(|last| *last >= row.pending_since)
        };
        let pending = self.audit.iter().filter(|row| row.status == "pending");
        let missing = pending.filter(|row| !is_listed(row));
        findings.extend(missing.map(|row| Finding::NotInOutbox(row.identifier.clone())));
        if self.set_aside > 0 {
            findings.push(Finding::SetAside(self.set_aside));
        }
        findings
    }

    /// Everything, of a system at rest: what was acknowledged counts once, what
    /// was not at most once, and all books say the same.
    pub fn at_rest(&self, claims: &[Claim]) -> Vec<Finding> {
        let mut findings = self.of_the_stream();
        let pending = self.audit.iter().filter(|row| row.status == "pending");
        let pending: BTreeSet<&String> = pending.map(|row| &row.identifier).collect();
        let stale = self.outbox.keys().filter(|it| !pending.contains(it));
        findings.extend(stale.cloned().map(Finding::StaleInOutbox));
        let mut in_stripe: BTreeMap<&str, Vec<&MeterEvent>> = BTreeMap::new();
        for event in &self.stripe {
            in_stripe.entry(&event.identifier).or_default().push(event);
        }
        let mut rows: BTreeMap<&str, &AuditRow> = BTreeMap::new();
        for row in &self.audit {
            rows.insert(&row.identifier, row);
        }
        for claim in claims {
            let identifier = claim.identifier();
            let events = in_stripe.remove(identifier.as_str()).unwrap_or_default();
            let row = rows.remove(identifier.as_str());
            findings.extend(claim.judge(&events, row));
        }
        let unclaimed = in_stripe.into_values().flatten();
        findings.extend(unclaimed.map(|event| Finding::Unclaimed(event.clone())));
        let unclaimed = rows.into_values();
        findings.extend(unclaimed.map(|row| Finding::UnclaimedRow(row.clone())));
        findings
    }
}

impl Claim {
    fn judge(&self, events: &[&MeterEvent], row: Option<&AuditRow>) -> Vec<Finding> {
        let mut findings = Vec::new();
        let count = events.len();
        let (counts, status) = match self.fate {
            Fate::Billed => (1, "delivered"),
            Fate::Refused => (0, "rejected"),
            Fate::Cancelled => (0, "voided"),
            Fate::Credited => (1, "voided"),
        };
        if self.acknowledged && (count < counts || row.is_none()) {
            findings.push(Finding::Lost(self.clone()));
        }
        if count > counts {
            findings.push(Finding::Doubled(self.clone(), count));
        }
        let is_settled = match row {
            Some(row) => row.status == status && count == counts,
            None => count == 0,
        };
        if !is_settled {
            findings.push(Finding::Disagreement {
                claim: self.clone(),
                in_stripe: count,
                status: row.map(|row| row.status.clone()),
            });
        }
        let is_this_event = |event: &&MeterEvent| {
            (&event.customer_id, event.quantity) == (&self.customer_id, self.quantity)
        };
        let is_this_row = |row: &AuditRow| {
            (&row.customer_id, &row.event_id) == (&self.customer_id, &self.event_id)
                && (row.quantity, &row.action_type) == (self.quantity, &self.action_type)
        };
        if !events.iter().all(is_this_event) || !row.is_none_or(is_this_row) {
            findings.push(Finding::Altered(self.clone()));
        }
        findings
    }
}

impl AuditRow {
    fn cell(&self) -> String {
        let period = match self.period_start {
            Some(start_ms) => format!("{:010}", start_ms.div_euclid(1_000)),
            None => "held".to_owned(),
        };
        let hour = self.counted_at.div_euclid(HOUR_MS) * (HOUR_MS / 1_000);
        let (meter, action_type) = (&self.meter_event_name, &self.action_type);
        let customer_id = &self.customer_id;
        format!("{customer_id}/{period}#{hour:010}#{meter}#{action_type}")
    }
}

/// What the outbox lists; redelivery's leases lie beside it, under `lease`.
pub(crate) async fn outbox(database: &Database) -> BTreeMap<String, i64> {
    let mut listed = BTreeMap::new();
    for item in database.scan("OutboxTable").await {
        if text(&item, "bucket") == "lease" {
            continue;
        }
        let since = number(&item, "pending_since");
        for identifier in item["identifiers"]["BS"].as_array().unwrap() {
            let identifier = BASE64.decode(identifier.as_str().unwrap()).unwrap();
            let last = listed.entry(hex::encode(identifier)).or_insert(since);
            *last = since.max(*last);
        }
    }
    listed
}

fn audit_row(item: &Item) -> AuditRow {
    let optional = |name: &str| item.get(name).map(|_| number(item, name));
    AuditRow {
        identifier: text(item, "identifier"),
        customer_id: text(item, "customer_id"),
        event_id: text(item, "event_id"),
        quantity: number(item, "quantity"),
        meter_event_name: text(item, "meter_event_name"),
        action_type: text(item, "action_type"),
        status: text(item, "status"),
        pending_since: number(item, "pending_since"),
        period_start: optional("period_start"),
        counted_at: optional("billed_at").unwrap_or_else(|| number(item, "occurred_at")),
    }
}

/// Adds a row of the totals: a day, whose attributes are its hours, as `d07u`.
fn add_total(totals: &mut BTreeMap<String, Cell>, customer_id: &str, item: &Item) {
    let key = text(item, "total_key");
    if crate::holds::is_beside_the_totals(&key) {
        return;
    }
    let [period, day, meter, action, _slot] = key.split('#').collect::<Vec<_>>()[..] else {
        panic!("{key} is no key of the totals");
    };
    let day: i64 = day.parse().unwrap();
    // What reservations settled is counted by `holds`.
    let counts = item
        .keys()
        .filter(|name| name.len() == 4 && !name.starts_with('s'));
    for name in counts {
        let status = match &name[..1] {
            "p" => "pending",
            "d" => "delivered",
            "r" => "rejected",
            "q" => "quarantined",
            "h" => "held",
            "v" => "voiding",
            "x" => "voided",
            _ => panic!("{name} is no count"),
        };
        let hour = day + name[1..3].parse::<i64>().unwrap() * HOUR_MS / 1_000;
        let kind = if name.ends_with('u') {
            "units"
        } else {
            "events"
        };
        let cell = format!("{customer_id}/{period}#{hour:010}#{meter}#{action}");
        let cell = totals.entry(cell).or_default();
        *cell.entry(format!("{status}_{kind}")).or_default() += number(item, name);
    }
}

fn drop_zeros(totals: &mut BTreeMap<String, Cell>) {
    for cell in totals.values_mut() {
        cell.retain(|_, count| *count != 0);
    }
    totals.retain(|_, cell| !cell.is_empty());
}

/// The simulator's own count of what it holds.
#[derive(Clone, Debug)]
pub struct Counter {
    url: String,
    key: String,
    http: reqwest::Client,
}

impl Counter {
    /// Of the simulator at `url`.
    pub fn at(url: &str, key: &str, http: reqwest::Client) -> Self {
        Self {
            url: url.to_owned(),
            key: key.to_owned(),
            http,
        }
    }

    /// Every event that counts or will.
    pub async fn meter_events(&self) -> Vec<MeterEvent> {
        let (mut events, mut after) = (Vec::new(), 0);
        loop {
            let path = format!("meter_events?limit={PAGE_EVENTS}&after={after}");
            let page = self.get(&path).await;
            let data = page["data"].as_array().unwrap();
            for event in data {
                after = event["seq"].as_i64().unwrap();
                events.push(MeterEvent {
                    identifier: event["identifier"].as_str().unwrap().to_owned(),
                    customer_id: event["customer"].as_str().unwrap().to_owned(),
                    quantity: event["value"].as_i64().unwrap(),
                });
            }
            if data.len() < PAGE_EVENTS {
                return events;
            }
        }
    }

    /// Asks the simulator beside its API.
    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}/_simulator/{path}", self.url);
        let request = self.http.get(url).bearer_auth(&self.key);
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }

    /// Tells the simulator something beside its API.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}/_simulator/{path}", self.url);
        let request = self.http.post(url).bearer_auth(&self.key).json(body);
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        answer.json().await.unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(acknowledged: bool) -> Claim {
        Claim {
            customer_id: "cus_1".to_owned(),
            event_id: "job-7".to_owned(),
            quantity: 3,
            action_type: "read".to_owned(),
            acknowledged,
            fate: Fate::Billed,
        }
    }

    fn event() -> MeterEvent {
        MeterEvent {
            identifier: claim(true).identifier(),
            customer_id: "cus_1".to_owned(),
            quantity: 3,
        }
    }

    /// One event, everywhere as it has to be.
    fn observed() -> Observed {
        let row = AuditRow {
            identifier: claim(true).identifier(),
            customer_id: "cus_1".to_owned(),
            event_id: "job-7".to_owned(),
            quantity: 3,
            meter_event_name: "agent_operations".to_owned(),
            action_type: "read".to_owned(),
            status: "delivered".to_owned(),
            pending_since: 1,
            period_start: Some(1_769_860_800_000),
            counted_at: 1_769_864_400_001,
        };
        let cell = Cell::from([
            ("delivered_units".to_owned(), 3),
            ("delivered_events".to_owned(), 1),
        ]);
        let key = "cus_1/1769860800#1769864400#agent_operations#read".to_owned();
        Observed {
            stripe: vec![event()],
            audit: vec![row],
            totals: BTreeMap::from([(key, cell)]),
            ..Observed::default()
        }
    }

    #[test]
    fn one_event_that_counts_once_is_no_finding() {
        for acknowledged in [true, false] {
            assert_eq!(observed().at_rest(&[claim(acknowledged)]), []);
        }
        assert_eq!(Observed::default().at_rest(&[claim(false)]), []);
    }

    #[test]
    fn what_was_acknowledged_and_is_nowhere_is_lost() {
        let findings = Observed::default().at_rest(&[claim(true)]);
        assert_eq!(findings, [Finding::Lost(claim(true))]);
    }

    #[test]
    fn a_row_that_stripe_does_not_have_is_found_though_nobody_was_told() {
        let mut observed = observed();
        observed.stripe.clear();
        let disagreement = Finding::Disagreement {
            claim: claim(false),
            in_stripe: 0,
            status: Some("delivered".to_owned()),
        };
        assert_eq!(observed.at_rest(&[claim(false)]), [disagreement]);
    }

    #[test]
    fn a_second_count_and_another_quantity_are_found() {
        let mut twice = observed();
        twice.stripe.push(event());
        let findings = twice.at_rest(&[claim(false)]);
        assert!(findings.contains(&Finding::Doubled(claim(false), 2)));
        let mut altered = observed();
        altered.stripe[0].quantity = 4;
        let findings = altered.at_rest(&[claim(true)]);
        assert_eq!(findings, [Finding::Altered(claim(true))]);
    }

    #[test]
    fn totals_and_outbox_follow_the_audit_log() {
        let mut observed = observed();
        observed.audit[0].status = "pending".to_owned();
        let identifier = claim(true).identifier();
        let missing = Finding::NotInOutbox(identifier.clone());
        let findings = observed.of_the_stream();
        assert!(matches!(findings[0], Finding::WrongTotal { .. }));
        assert_eq!(findings[1], missing);
        // Listed, but by an entry of a time when it was pending before.
        let since = observed.audit[0].pending_since;
        observed.outbox.insert(identifier.clone(), since - 1);
        assert!(observed.of_the_stream().contains(&missing));
        observed.outbox.insert(identifier.clone(), since);
        assert!(!observed.of_the_stream().contains(&missing));
        observed.audit[0].status = "delivered".to_owned();
        assert_eq!(observed.of_the_stream(), []);
        let stale = [Finding::StaleInOutbox(identifier)];
        assert_eq!(observed.at_rest(&[claim(true)]), stale);
    }
}
