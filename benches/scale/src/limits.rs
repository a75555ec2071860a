//! At how many events a second each limit is reached: what breaks first.

use bigdecimal::BigDecimal;

use crate::ScaleError;
use crate::inputs::{Inputs, Way};
use crate::load::totals_units_max;

/// Who can move a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A parameter of the template.
    Setting,
    /// The account's; raised when asked for.
    Quota,
    /// Nobody but its publisher.
    Fixed,
    /// A constant or the schedule of this system.
    Ours,
}

impl Kind {
    /// What the page calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Quota => "quota",
            Self::Fixed => "fixed",
            Self::Ours => "ours",
        }
    }
}

/// A limit, and when it is reached.
#[derive(Clone, Debug)]
pub struct Limit {
    /// What is limited, and to what.
    pub what: &'static str,
    /// Who can move it.
    pub kind: Kind,
    /// Events a second, sent one by one, at which it is reached.
    pub single: BigDecimal,
    /// The same for batches.
    pub batch: BigDecimal,
    /// What to change.
    pub change: &'static str,
    /// Whether only one customer, or one key, with all of them reaches it.
    pub of_one: bool,
}

/// Every limit that was found, the first to be reached by single events first.
///
/// # Errors
/// [`ScaleError`] where an input is missing.
pub fn limits(inputs: &Inputs) -> Result<Vec<Limit>, ScaleError> {
    let mut limits = calls(inputs)?;
    limits.extend(tables(inputs)?);
    limits.extend(one_customer(inputs)?);
    limits.extend(one_key(inputs)?);
    limits.extend(rows_that_all_read(inputs)?);
    limits.sort_by(|a, b| (&a.single, a.what).cmp(&(&b.single, b.what)));
    Ok(limits)
}

/// Reached where `per_way` says, for each way.
fn limit(
    inputs: &Inputs,
    (what, kind, change): (&'static str, Kind, &'static str),
    per_way: impl Fn(&Way) -> Result<BigDecimal, ScaleError>,
) -> Result<Limit, ScaleError> {
    Ok(Limit {
        what,
        kind,
        single: per_way(&inputs.single)?,
        batch: per_way(&inputs.batch)?,
        change,
        of_one: false,
    })
}

/// The limit as one that only one customer, or one key, with all usage reaches.
fn of_one(limit: Result<Limit, ScaleError>) -> Result<Limit, ScaleError> {
    limit.map(|limit| Limit {
        of_one: true,
        ..limit
    })
}

/// Events a second that so many calls at once get through.
fn by_calls_at_once(way: &Way, calls: &BigDecimal) -> BigDecimal {
    calls * BigDecimal::from(1_000) * &way.events_per_call / &way.call_ms
}

/// Events a second of one partition of the log, whose shard has as many records
/// as it takes writes.
fn per_shard(inputs: &Inputs, way: &Way) -> Result<BigDecimal, ScaleError> {
    let partition = inputs.facts.published("partition_write_units_per_s")?;
    Ok(partition / (&way.log_units - &way.index_units))
}

/// Concurrency is emission's, and one call for each shard of the rollup.
fn by_concurrency(inputs: &Inputs, way: &Way) -> Result<BigDecimal, ScaleError> {
    let emission = &way.call_ms / (BigDecimal::from(1_000) * &way.events_per_call);
    let rollup = BigDecimal::from(1) / per_shard(inputs, way)?;
    Ok(inputs.facts.published("lambda_concurrency")? / (emission + rollup))
}

/// A run a minute, which may take so long, and looks at every event that was
/// pending when its step ended.
fn by_redelivery(inputs: &Inputs, way: &Way) -> Result<BigDecimal, ScaleError> {
    let read_ms = inputs.facts.assumed("batch_get_ms")?;
    let rows_per_s = &inputs.code.rows_at_once * BigDecimal::from(1_000) / read_ms;
    let of_the_minute = &inputs.settings.redelivery_s / BigDecimal::from(60);
    Ok(rows_per_s * of_the_minute / &way.redelivery_units)
}

fn calls(inputs: &Inputs) -> Result<Vec<Limit>, ScaleError> {
    let facts = &inputs.facts;
    let api = facts.published("api_gateway_requests_per_s")?;
    let stripe = facts.published("stripe_stream_events_per_s")?;
    let sessions =
        facts.published("stripe_endpoint_requests_per_s")? * facts.published("stripe_session_s")?;
    Ok(vec![
        limit(
            inputs,
            (
                "The API's own rate, `ApiRateLimit`",
                Kind::Setting,
                "raise it: it is there against mistakes and strangers",
            ),
            |way| Ok(&inputs.settings.api_requests_per_s * &way.events_per_call),
        )?,
        limit(
            inputs,
            (
                "API Gateway, requests of the account",
                Kind::Quota,
                "send batches; ask AWS for more",
            ),
            |way| Ok(&api * &way.events_per_call),
        )?,
        limit(
            inputs,
            (
                "Lambda, calls at once in the account",
                Kind::Quota,
                "send batches; ask AWS for more, and reserve emission's share (`EmissionConcurrency`)",
            ),
            |way| by_concurrency(inputs, way),
        )?,
        limit(
            inputs,
            (
                "Stripe's stream, taken as events",
                Kind::Quota,
                "ask Stripe; then several accounts, or sums: below",
            ),
            |_| Ok(stripe.clone()),
        )?,
        limit(
            inputs,
            (
                "Stripe, opening a session for each environment",
                Kind::Quota,
                "send batches; share a session by way of a table",
            ),
            |way| Ok(by_calls_at_once(way, &sessions)),
        )?,
        limit(
            inputs,
            (
                "Redelivery, one run a minute",
                Kind::Ours,
                "several runs at once, each with buckets of its own; then more buckets",
            ),
            |way| by_redelivery(inputs, way),
        )?,
    ])
}

fn tables(inputs: &Inputs) -> Result<Vec<Limit>, ScaleError> {
    let facts = &inputs.facts;
    let table = facts.published("table_write_units_per_s")?;
    let new_table = facts.published("new_table_write_units_per_s")?;
    let partition = facts.published("partition_write_units_per_s")?;
    let totals_max = totals_units_max(inputs)?;
    Ok(vec![
        limit(
            inputs,
            (
                "usage-events on its first day: a new table's write units",
                Kind::Setting,
                "set its warm throughput before the load comes",
            ),
            |way| Ok(&new_table / (&way.log_units - &way.index_units)),
        )?,
        limit(
            inputs,
            (
                "usage-events, write units of a table",
                Kind::Quota,
                "ask AWS for more",
            ),
            |way| Ok(&table / (&way.log_units - &way.index_units)),
        )?,
        limit(
            inputs,
            (
                "by-customer, write units of an index",
                Kind::Quota,
                "ask AWS for more",
            ),
            |way| Ok(&table / &way.index_units),
        )?,
        limit(
            inputs,
            (
                "usage-totals, write units, no two events of a step in one row",
                Kind::Quota,
                "ask AWS for more; a batching window, so that more events share a row",
            ),
            |_| Ok(&table / &totals_max),
        )?,
        limit(
            inputs,
            (
                "outbox, partitions of its buckets",
                Kind::Ours,
                "more buckets",
            ),
            |way| Ok(&partition * &inputs.code.buckets / &way.outbox_units),
        )?,
    ])
}

/// What one customer, who has all the usage there is, runs into.
fn one_customer(inputs: &Inputs) -> Result<Vec<Limit>, ScaleError> {
    let facts = &inputs.facts;
    let partition = facts.published("partition_write_units_per_s")?;
    let polls = facts.published("lambda_polls_per_s")?;
    let transaction_units = facts.published("transaction_write_units")?;
    let held_ms = facts.assumed("transaction_ms")?;
    let share = facts.assumed("contended_row_share")?;
    let limits = [
        limit(
            inputs,
            (
                "One customer: partitions of the buckets of by-customer",
                Kind::Ours,
                "more buckets for the customer, kept on its row",
            ),
            |way| Ok(&partition * &inputs.code.buckets / &way.index_units),
        ),
        limit(
            inputs,
            (
                "One customer and action: shards meet in the rows of the totals",
                Kind::Ours,
                "more slots for the customer, kept on its row; a batching window",
            ),
            |way| {
                let steps_per_s = &share * BigDecimal::from(1_000) / &held_ms;
                let shards = &inputs.code.slots * steps_per_s / &polls;
                Ok(shards * per_shard(inputs, way)?)
            },
        ),
        limit(
            inputs,
            (
                "One customer: the partition of its totals",
                Kind::Ours,
                "the slot in the partition key, not the sort key; a batching window",
            ),
            |way| {
                let shards = &partition / (&polls * &transaction_units);
                Ok(shards * per_shard(inputs, way)?)
            },
        ),
    ];
    limits.into_iter().map(of_one).collect()
}

/// What one API key, which has all the calls there are, runs into.
fn one_key(inputs: &Inputs) -> Result<Vec<Limit>, ScaleError> {
    let partition = inputs.facts.published("partition_write_units_per_s")?;
    let leases = inputs.facts.assumed("key_leases")?;
    // Each environment has an allowance of its own, from the one counter of the key.
    let environments = partition * &inputs.code.key_window_s / leases;
    let limits = [
        limit(
            inputs,
            (
                "One API key: its rate, `KeyRateLimit`",
                Kind::Setting,
                "raise it, or give the key a limit of its own; a key for each group of agents",
            ),
            |way| Ok(&inputs.settings.key_requests_per_s * &way.events_per_call),
        ),
        limit(
            inputs,
            (
                "One API key: the partition of its counter",
                Kind::Ours,
                "a key for each group of agents; larger leases",
            ),
            |way| Ok(by_calls_at_once(way, &environments)),
        ),
    ];
    limits.into_iter().map(of_one).collect()
}

/// Rows that every environment reads now and then, consistently.
fn rows_that_all_read(inputs: &Inputs) -> Result<Vec<Limit>, ScaleError> {
    let partition = inputs.facts.published("partition_read_units_per_s")?;
    let code = &inputs.code;
    let read_by_all = |what, fresh_s: &BigDecimal, change| {
        let environments = &partition * fresh_s;
        limit(inputs, (what, Kind::Ours, change), |way| {
            Ok(by_calls_at_once(way, &environments))
        })
    };
    Ok(vec![
        of_one(read_by_all(
            "One customer: reads of its row",
            &code.customer_fresh_s,
            "believe it for longer",
        ))?,
        read_by_all(
            "Reads of the catalog's row",
            &code.catalog_fresh_s,
            "believe it for longer",
        )?,
        of_one(read_by_all(
            "One API key: reads of its row",
            &code.key_fresh_s,
            "a key for each group of agents",
        ))?,
    ])
}
