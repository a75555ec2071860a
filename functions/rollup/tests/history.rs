//! Totals and outbox against an independent count, over random histories that
//! arrive as a stream may bring them: split, repeated, overlapping, at once.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use billing::{ActionType, CustomerId, EventId, Identifier, Timestamp, UsageStatus};
use fastrand::Rng;
use ledger::{Ledger, SettledHold};
use rollup::{Change, Image, Rollup, RollupError, SequenceNumber, StreamRecord};

use crate::lossy::{Loss, Lossy};
use crate::tables::Tables;

const SHARD: &str = "shardId-1";
const HOUR_MS: i64 = 3_600_000;
const START: Timestamp = Timestamp::from_unix_s(1_769_860_800);

/// Stands in place of a status for what reservations settled.
const SETTLED: &str = "settled";

/// Cell (customer, period, hour, meter, action) and status, to units and events.
type Count = BTreeMap<(String, i64, i64, String, String, &'static str), (u64, u64)>;

/// A stream's records, and what they must come to.
#[derive(Default)]
struct History {
    records: Vec<StreamRecord>,
    /// Every row as it stands at the end, by identifier.
    rows: BTreeMap<String, Image>,
    next_sequence_number: u128,
}

impl History {
    /// A random one: `events` rows that go random ways through the statuses.
    fn random(rng: &mut Rng, events: usize) -> Self {
        let mut history = Self {
            // Soon the numbers have one digit more.
            next_sequence_number: 999_999_999_999_999_999_990,
            ..Self::default()
        };
        let mut open: Vec<Image> = (0..events).map(|n| an_image(rng, n)).collect();
        let mut born = BTreeSet::new();
        while !open.is_empty() {
            let chosen = rng.usize(..open.len());
            let identifier = open[chosen].identifier.clone();
            if born.insert(identifier.as_str().to_owned()) {
                history.push(rng, None, open[chosen].clone());
                continue;
            }
            let old = open[chosen].clone();
            match next_image(rng, &old) {
                Some(new) => {
                    history.push(rng, Some(old), new.clone());
                    open[chosen] = new;
                }
                None => {
                    open.swap_remove(chosen);
                }
            }
        }
        history
    }

    fn push(&mut self, rng: &mut Rng, old: Option<Image>, new: Image) {
        self.rows
            .insert(new.identifier.as_str().to_owned(), new.clone());
        self.next_sequence_number += u128::from(rng.u64(1..1_000));
        self.records.push(StreamRecord {
            sequence_number: SequenceNumber::parse(&self.next_sequence_number.to_string()).unwrap(),
            change: Change::Row {
                old: old.map(Box::new),
                new: Some(Box::new(new)),
            },
        });
    }

    /// The naive count: one pass over the rows as they stand, no transitions.
    fn count(&self) -> Count {
        let mut count = Count::new();
        for row in self.rows.values() {
            let hour_of = |at: Timestamp| at.unix_ms() / HOUR_MS * HOUR_MS / 1_000;
            let cell = (
                row.customer_id.as_str().to_owned(),
                row.period_start.map_or(0, Timestamp::unix_s),
                hour_of(row.billed_at.unwrap_or(row.occurred_at)),
                row.meter_event_name.clone(),
                row.action_type.as_str().to_owned(),
                row.status.as_str(),
            );
            let (units, events) = count.entry(cell).or_default();
            *units += row.quantity;
            *events += 1;
            if let Some(settled) = &row.settled {
                let cell = (
                    row.customer_id.as_str().to_owned(),
                    settled.period_start.unix_s(),
                    hour_of(row.occurred_at),
                    settled.meter_event_name.clone(),
                    row.action_type.as_str().to_owned(),
                    SETTLED,
                );
                count.entry(cell).or_default().0 += settled.quantity;
            }
        }
        count
    }

    /// What is pending at the end, by identifier, and since when.
    fn pending(&self) -> BTreeMap<String, i64> {
        let pending = self.rows.iter();
        let pending = pending.filter(|(_, row)| row.status == UsageStatus::Pending);
        pending
            .map(|(identifier, row)| (identifier.clone(), row.pending_since.unix_ms()))
            .collect()
    }
}

fn an_image(rng: &mut Rng, n: usize) -> Image {
    let customer_id = CustomerId::parse(&format!("cus_{}", rng.u8(..3))).unwrap();
    let event_id = EventId::parse(&format!("job-{n}")).unwrap();
    let occurred_at = START.plus_ms(rng.i64(0..5 * HOUR_MS));
    let is_held = rng.u8(..8) == 0;
    Image {
        identifier: Identifier::of(&customer_id, &event_id),
        customer_id,
        meter_event_name: a_meter(rng),
        action_type: ActionType::parse(["read", "write"][rng.usize(..2)]).unwrap(),
        quantity: rng.u64(1..1_000),
        status: if is_held {
            UsageStatus::Held
        } else {
            UsageStatus::Pending
        },
        occurred_at,
        billed_at: (!is_held).then_some(occurred_at),
        period_start: (!is_held).then_some(START),
        pending_since: occurred_at.plus_ms(1),
        settled: (rng.u8(..3) == 0).then(|| SettledHold {
            quantity: rng.u64(1..1_000),
            meter_event_name: a_meter(rng),
            period_start: START,
        }),
    }
}

fn a_meter(rng: &mut Rng) -> String {
    ["operations", "tokens"][rng.usize(..2)].to_owned()
}

/// Where a row may go next; nowhere, at random or because that is its end.
fn next_image(rng: &mut Rng, old: &Image) -> Option<Image> {
    if rng.u8(..6) == 0 {
        return None;
    }
    let next: &[UsageStatus] = match old.status {
        UsageStatus::Pending => &[
            UsageStatus::Delivered,
            UsageStatus::Delivered,
            UsageStatus::Rejected,
            UsageStatus::Quarantined,
            UsageStatus::Voiding,
        ],
        UsageStatus::Delivered => &[UsageStatus::Voiding, UsageStatus::Rejected],
        UsageStatus::Quarantined | UsageStatus::Held | UsageStatus::Rejected => {
            &[UsageStatus::Pending]
        }
        UsageStatus::Voiding => &[UsageStatus::Voided],
        UsageStatus::Voided => return None,
    };
    let status = *rng.choice(next).unwrap();
    let mut new = Image {
        status,
        ..old.clone()
    };
    if status == UsageStatus::Pending {
        // A redrive: a new time of billing, a new place in the outbox, and
        // another meter where the catalog has changed.
        new.meter_event_name = a_meter(rng);
        let redriven_at = START.plus_ms(rng.i64(5 * HOUR_MS..9 * HOUR_MS));
        new.billed_at = Some(redriven_at);
        new.period_start = Some(START.plus_ms(5 * HOUR_MS));
        new.pending_since = redriven_at;
    }
    Some(new)
}

/// What the tables hold, by their items alone.
async fn counted(tables: &Tables) -> Count {
    let mut customers = BTreeSet::new();
    for item in tables.scan("UsageTotalsTable").await {
        customers.insert(item["customer_id"].as_s().unwrap().clone());
    }
    customers.retain(|customer| !customer.contains('#'));
    let mut sums: BTreeMap<_, ledger::Tally> = BTreeMap::new();
    for customer in customers {
        let customer_id = CustomerId::parse(&customer).unwrap();
        let (from, to) = (Timestamp::from_unix_s(0), START.plus_ms(99 * HOUR_MS));
        let mut totals = ledger_totals(&tables.ledger, &customer_id, from, to).await;
        for total in totals.drain(..) {
            sums.entry(total.key).or_default().add(&total.tally);
        }
    }
    let mut count = Count::new();
    for (key, tally) in sums {
        let cell = |what| {
            (
                key.customer_id.as_str().to_owned(),
                key.period_start.map_or(0, Timestamp::unix_s),
                key.hour.unix_s(),
                key.meter_event_name.clone(),
                key.action_type.as_str().to_owned(),
                what,
            )
        };
        for status in UsageStatus::ALL {
            let (units, events) = (tally.units(status), tally.events(status));
            if events > 0 {
                count.insert(cell(status.as_str()), (units, events));
            }
        }
        if tally.settled_units() != 0 {
            let units = u64::try_from(tally.settled_units()).unwrap();
            count.insert(cell(SETTLED), (units, 0));
        }
    }
    count
}

async fn ledger_totals(
    ledger: &Ledger,
    customer_id: &CustomerId,
    from: Timestamp,
    to: Timestamp,
) -> Vec<ledger::Total> {
    let mut totals = ledger.totals_of_range(customer_id, from, to).await.unwrap();
    totals.extend(ledger.held_totals(customer_id).await.unwrap());
    totals
}

/// What the outbox lists: the time of the latest entry that does.
async fn in_outbox(tables: &Tables) -> BTreeMap<String, i64> {
    let mut listed = BTreeMap::new();
    for item in tables.scan("OutboxTable").await {
        let since: i64 = item["pending_since"].as_n().unwrap().parse().unwrap();
        for identifier in item["identifiers"].as_bs().unwrap() {
            let last = listed.entry(hex::encode(identifier)).or_insert(since);
            *last = since.max(*last);
        }
    }
    listed
}

/// The outbox lists all that is pending. It may list more: redelivery looks at
/// each, and forgets what is settled.
async fn assert_in_outbox(tables: &Tables, history: &History) {
    let listed = in_outbox(tables).await;
    for (identifier, since) in history.pending() {
        let last = listed.get(&identifier);
        assert!(last.is_some_and(|last| *last >= since), "{identifier}");
    }
    let strangers = listed.keys().find(|it| !history.rows.contains_key(*it));
    assert_eq!(strangers, None);
}

async fn assert_counted(tables: &Tables, history: &History, seed: u64) {
    assert_eq!(counted(tables).await, history.count(), "seed {seed}");
    assert_in_outbox(tables, history).await;
}

/// Batches as a stream brings them: they begin at or before the end of the last.
fn batches(rng: &mut Rng, records: &[StreamRecord]) -> Vec<Vec<StreamRecord>> {
    let mut batches = Vec::new();
    let mut read_to = 0;
    while read_to < records.len() {
        let from = read_to.saturating_sub(rng.usize(..20));
        let to = (read_to + rng.usize(1..60)).min(records.len());
        batches.push(records[from..to].to_vec());
        read_to = to;
    }
    batches
}

#[tokio::test]
async fn split_repeated_and_overlapping_batches_count_once() {
    for seed in 0..4 {
        let mut rng = Rng::with_seed(seed);
        let history = History::random(&mut rng, 120);
        let tables = Tables::start().await;
        let rollup = Rollup::new(tables.ledger.clone());
        let mut counted_records = 0;
        for batch in batches(&mut rng, &history.records) {
            for _ in 0..rng.u8(1..3) {
                let applied = rollup.apply(SHARD, batch.clone()).await.unwrap();
                assert_eq!(applied.records + applied.skipped, batch.len());
                counted_records += applied.records;
            }
        }
        assert_eq!(counted_records, history.records.len(), "seed {seed}");
        assert_counted(&tables, &history, seed).await;
    }
}

#[tokio::test]
async fn two_at_once_count_once() {
    for seed in 10..13 {
        let mut rng = Rng::with_seed(seed);
        let history = History::random(&mut rng, 120);
        let tables = Tables::start().await;
        let run = async |batches: Vec<Vec<StreamRecord>>| {
            let rollup = Rollup::new(tables.ledger.clone());
            let mut records = 0;
            for batch in batches {
                records += rollup.apply(SHARD, batch).await.unwrap().records;
            }
            records
        };
        let (one, other) = tokio::join!(
            run(batches(&mut rng, &history.records)),
            run(batches(&mut rng, &history.records))
        );
        assert!(one + other >= history.records.len(), "seed {seed}");
        assert_counted(&tables, &history, seed).await;
    }
}

#[tokio::test]
async fn lost_answers_and_lost_requests_count_once() {
    for seed in 20..23 {
        let mut rng = Rng::with_seed(seed);
        let history = History::random(&mut rng, 60);
        let tables = Tables::start().await;
        let lossy = Lossy::start(&tables.url).await;
        let rollup = Rollup::new(Tables::at(&lossy.url).ledger);
        for batch in batches(&mut rng, &history.records) {
            let loss = *rng.choice([Loss::Answer, Loss::Request]).as_ref().unwrap();
            lossy.lose("TransactWriteItems", loss);
            let applied = rollup.apply(SHARD, batch.clone()).await.unwrap();
            lossy.assert_all_lost();
            assert_eq!(applied.records + applied.skipped, batch.len());
        }
        assert_counted(&tables, &history, seed).await;
    }
}

#[tokio::test]
async fn a_failing_table_gives_the_batch_back_and_the_repeat_finishes_it() {
    let seed = 30;
    let history = History::random(&mut Rng::with_seed(seed), 60);
    let tables = Tables::start().await;
    let lossy = Lossy::start(&tables.url).await;
    let rollup = Rollup::new(Tables::at(&lossy.url).ledger);
    for _ in 0..4 {
        lossy.lose("TransactWriteItems", Loss::Request);
    }
    let failed = rollup.apply(SHARD, history.records.clone()).await;
    assert!(failed.is_err());
    lossy.assert_all_lost();
    rollup.apply(SHARD, history.records.clone()).await.unwrap();
    assert_counted(&tables, &history, seed).await;
}

#[tokio::test]
async fn a_checkpoint_that_is_none_fails_instead_of_turning_in_circles() {
    let history = History::random(&mut Rng::with_seed(31), 5);
    let tables = Tables::start().await;
    let text = |text: &str| AttributeValue::S(text.to_owned());
    let put = tables.client.put_item().table_name("UsageTotalsTable");
    put.item("customer_id", text(&format!("checkpoint#{SHARD}")))
        .item("total_key", text("checkpoint"))
        .item("sequence_number", AttributeValue::Bool(true))
        .send()
        .await
        .unwrap();
    let rollup = Rollup::new(tables.ledger.clone());
    let failed = rollup.apply(SHARD, history.records.clone()).await;
    assert!(matches!(failed, Err(RollupError::Checkpoint)));
    assert!(counted(&tables).await.is_empty());
}

/// A shard and its two children, each with its records.
type Line = [(String, Vec<StreamRecord>); 3];

/// A history as several shards bring it, each of which was split in two on the
/// way: the parent, then its children. A row's records are all in one line.
fn split_shards(history: &History) -> [Line; 3] {
    let digit = |record: &StreamRecord| match &record.change {
        Change::Row { new: Some(row), .. } => u8::from_str_radix(row.identifier.bucket(), 16).ok(),
        _ => None,
    };
    let (early, late) = history.records.split_at(history.records.len() / 2);
    let of = |records: &[StreamRecord], modulus: u8, remainder: u8| -> Vec<StreamRecord> {
        let records = records.iter();
        let records = records.filter(|record| digit(record).unwrap() % modulus == remainder);
        records.cloned().collect()
    };
    [0, 1, 2].map(|n| {
        [
            (format!("shard-{n}"), of(early, 3, n)),
            (format!("shard-{n}-even"), of(late, 6, n)),
            (format!("shard-{n}-odd"), of(late, 6, n + 3)),
        ]
    })
}

#[tokio::test]
async fn several_shards_at_once_and_their_children_add_up() {
    for seed in 40..43 {
        let history = History::random(&mut Rng::with_seed(seed), 150);
        let tables = Tables::start().await;
        let roll_up = async |shard_id: &str, records: &[StreamRecord], seed: u64| {
            let rollup = Rollup::new(tables.ledger.clone());
            for batch in batches(&mut Rng::with_seed(seed), records) {
                rollup.apply(shard_id, batch).await.unwrap();
            }
        };
        // As Lambda reads them: all shards at once, children after their parent.
        let line = async |[parent, even, odd]: &Line| {
            roll_up(&parent.0, &parent.1, seed).await;
            tokio::join!(
                roll_up(&even.0, &even.1, seed + 1),
                roll_up(&odd.0, &odd.1, seed + 2)
            );
        };
        let [one, two, three] = &split_shards(&history);
        tokio::join!(line(one), line(two), line(three));
        assert_counted(&tables, &history, seed).await;
    }
}

#[tokio::test]
async fn children_before_their_parent_would_leave_no_more_than_stale_entries() {
    let seed = 45;
    let history = History::random(&mut Rng::with_seed(seed), 150);
    let tables = Tables::start().await;
    let rollup = Rollup::new(tables.ledger.clone());
    for [parent, even, odd] in split_shards(&history) {
        for (shard_id, records) in [even, odd, parent] {
            rollup.apply(&shard_id, records).await.unwrap();
        }
    }
    assert_eq!(counted(&tables).await, history.count());
    assert_in_outbox(&tables, &history).await;
}

/// The comparison itself must be able to fail.
#[tokio::test]
async fn a_planted_double_count_is_found() {
    let history = History::random(&mut Rng::with_seed(50), 20);
    let tables = Tables::start().await;
    let rollup = Rollup::new(tables.ledger.clone());
    rollup.apply(SHARD, history.records.clone()).await.unwrap();
    assert_eq!(counted(&tables).await, history.count());
    let first = history.records[..1].to_vec();
    rollup.apply("another checkpoint", first).await.unwrap();
    assert_ne!(counted(&tables).await, history.count());
}
