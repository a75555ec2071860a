//! The results, as Markdown between the page's marks.

mod money;
mod sources;

use std::path::Path;

use bigdecimal::BigDecimal;

use crate::inputs::Inputs;
use crate::limits::{Limit, limits};
use crate::load::{FullShard, Load, stored_bytes};
use crate::markdown::{columns, heading, line, row};
use crate::number::{about, grouped, rough};
use crate::{ScaleError, read};

/// Where the page is, from the repository's root.
pub const FILE: &str = "docs/scale.md";

/// Between these, the page holds what is reckoned; around them, what people wrote
/// about it.
const BEGIN: &str = "<!-- results: written by make scale -->";
const END: &str = "<!-- end of results -->";

const RATES: [u64; 3] = [1_000, 100_000, 1_000_000];

/// A figure of a load.
type Needed = fn(&Load<'_>) -> Result<BigDecimal, ScaleError>;

/// What the services are asked for, by name.
const NEEDS: [(&str, Needed); 16] = [
    (
        "API requests, and requests to Stripe's stream, a second",
        |load| Ok(load.calls_per_s()),
    ),
    ("emission, calls at once", |load| {
        Ok(load.emissions_at_once())
    }),
    ("seconds until Lambda has started them", |load| {
        load.ramp_s()
    }),
    ("Stripe's sessions opened a second, once they run", |load| {
        load.sessions_per_s()
    }),
    ("usage-events, write units/s", |load| {
        Ok(load.log_units_per_s())
    }),
    ("by-customer, write units/s", |load| {
        Ok(load.index_units_per_s())
    }),
    (
        "by-customer, write units/s of each bucket, if one customer",
        |load| Ok(load.index_units_per_s() / &load.inputs.code.buckets),
    ),
    ("usage-totals, write units/s, as measured", |load| {
        Ok(load.totals_units_per_s())
    }),
    ("usage-totals, write units/s, at most", |load| {
        load.totals_units_max_per_s()
    }),
    (
        "outbox, write units/s",
        |load| Ok(load.outbox_units_per_s()),
    ),
    ("outbox, write units/s of each bucket", |load| {
        Ok(load.outbox_units_per_s() / &load.inputs.code.buckets)
    }),
    ("redelivery, read units/s", |load| {
        Ok(load.redelivery_units_per_s())
    }),
    (
        "partitions of usage-events, shards, rollups at once",
        |load| load.shards(),
    ),
    ("rollup, calls a second", |load| load.rollup_calls_per_s()),
    ("logs, GB a day", |load| {
        let bytes = load.lambda_log_bytes_per_s()? + load.access_log_bytes_per_s()?;
        Ok(gb_a_day(&bytes))
    }),
    ("audit log and index grow, GB a day, at most", |load| {
        let (_, both) = stored_bytes(load.inputs)?;
        Ok(gb_a_day(&(both * &load.events_per_s)))
    }),
];

/// The page at `root` as it should be: what is there, with the results anew.
///
/// # Errors
/// [`ScaleError`] where an input is missing, or the page has no place for results.
pub fn fresh(root: &Path) -> Result<String, ScaleError> {
    let page = read(&root.join(FILE))?;
    let results = results(&Inputs::read(root)?)?;
    let (before, rest) = page
        .split_once(BEGIN)
        .ok_or_else(|| ScaleError::missing(BEGIN, FILE))?;
    let (_, after) = rest
        .split_once(END)
        .ok_or_else(|| ScaleError::missing(END, FILE))?;
    Ok(format!(
        "{before}{BEGIN}\n\n{}\n\n{END}{after}",
        results.trim()
    ))
}

/// Everything that is reckoned from `inputs`.
///
/// # Errors
/// [`ScaleError`] where an input is missing.
pub fn results(inputs: &Inputs) -> Result<String, ScaleError> {
    let mut text = String::new();
    let loads: Vec<Load<'_>> = RATES
        .iter()
        .flat_map(|rate| [&inputs.single, &inputs.batch].map(|way| Load::new(inputs, way, *rate)))
        .collect();
    let limits = limits(inputs)?;
    write_limits(&mut text, &limits);
    write_reached(&mut text, inputs, &limits);
    write_needs(&mut text, &loads)?;
    write_stripe(&mut text, inputs)?;
    money::write_cost(&mut text, inputs, &loads)?;
    money::write_levers(&mut text, inputs)?;
    sources::write_measured(&mut text, inputs);
    sources::write_facts(&mut text, &inputs.facts)?;
    Ok(text)
}

fn write_limits(text: &mut String, limits: &[Limit]) {
    heading(text, "What breaks first");
    line(
        text,
        "Events a second at which each limit is reached, to two digits; the rows \
         about one customer or one key, if that one has all of them. *Setting*: a parameter \
         of the template. *Quota*: raised when asked for. *Ours*: a constant or the \
         schedule of this system.",
    );
    line(text, "");
    columns(
        text,
        &["", "limit", "kind", "single", "batches", "what to change"],
        3,
    );
    for (index, limit) in limits.iter().enumerate() {
        row(
            text,
            [
                (index + 1).to_string(),
                limit.what.to_owned(),
                limit.kind.as_str().to_owned(),
                rough(&limit.single),
                rough(&limit.batch),
                limit.change.to_owned(),
            ],
        );
    }
}

fn write_reached(text: &mut String, inputs: &Inputs, limits: &[Limit]) {
    heading(text, "What is reached at each rate");
    line(
        text,
        "By the numbers above, the first to be reached first. In brackets: only if \
         one customer has all the usage, or one key all the calls.",
    );
    line(text, "");
    columns(text, &["events/s", "single", "batches"], 1);
    for rate in RATES {
        let rate = BigDecimal::from(rate);
        let reached = |of: fn(&Limit) -> &BigDecimal| {
            let mut reached: Vec<(usize, &Limit)> = limits.iter().enumerate().collect();
            reached.retain(|(_, limit)| of(limit) <= &rate);
            reached.sort_by(|(_, a), (_, b)| of(a).cmp(of(b)));
            let names = reached.into_iter().map(|(index, limit)| {
                let number = index + 1;
                if limit.of_one {
                    format!("({number})")
                } else {
                    number.to_string()
                }
            });
            let names: Vec<String> = names.collect();
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        };
        let cells = [
            grouped(&rate, 0),
            reached(|limit| &limit.single),
            reached(|limit| &limit.batch),
        ];
        row(text, cells);
    }
    let call_ms = about(&inputs.single.call_ms);
    line(text, "");
    line(
        text,
        &format!(
            "A call of emission is taken to last {call_ms} ms for one event: mostly the 150 ms of \
             Stripe in that run. Limits that count calls at once move with it."
        ),
    );
}

fn write_needs(text: &mut String, loads: &[Load<'_>]) -> Result<(), ScaleError> {
    heading(text, "What each rate takes");
    load_columns(text, "", loads);
    for (name, needed) in NEEDS {
        let mut cells = vec![name.to_owned()];
        for load in loads {
            cells.push(about(&needed(load)?));
        }
        row(text, cells);
    }
    let Some(load) = loads.first() else {
        return Ok(());
    };
    let shard = FullShard::of(load.inputs)?;
    line(text, "");
    line(
        text,
        &format!(
            "A shard whose partition is full makes {} records a second; Lambda hands over up to \
             {}. At most they are {} transactions of the rollup, one after the other, which take \
             {} % of each second by the time that is assumed.",
            grouped(&shard.records_per_s, 0),
            grouped(&shard.records_taken_per_s, 0),
            about(&shard.transactions_per_s),
            grouped(&shard.busy_percent, 0)
        ),
    );
    Ok(())
}

fn write_stripe(text: &mut String, inputs: &Inputs) -> Result<(), ScaleError> {
    let facts = &inputs.facts;
    heading(text, "Stripe's limits");
    columns(
        text,
        &["taken as", "single, events/s", "batches, events/s"],
        1,
    );
    let requests = facts.published("stripe_stream_requests_per_s")?;
    let events = facts.published("stripe_stream_events_per_s")?;
    let calls = facts.published("stripe_meter_event_calls_per_s")?;
    let per_call = &inputs.batch.events_per_call;
    for (name, single, batch) in [
        (
            "events of the stream: the changelog, and what is planned on",
            events.clone(),
            events.clone(),
        ),
        (
            "requests to the stream: the API reference",
            requests.clone(),
            requests * per_call,
        ),
        (
            "calls of v1 meter events (`UsageApi=meter_event`)",
            calls.clone(),
            calls,
        ),
    ] {
        row(
            text,
            [name.to_owned(), grouped(&single, 0), grouped(&batch, 0)],
        );
    }
    let pairs = events * BigDecimal::from(60);
    let starting = facts.published("lambda_environments_per_10_s")? / BigDecimal::from(10);
    let sessions = facts.published("stripe_endpoint_requests_per_s")?;
    line(text, "");
    line(
        text,
        &format!(
            "Sums of a minute would be {} pairs of customer and meter, with usage in \
         every minute, whatever the rate. Lambda starts up to {} environments a \
         second, each opens a session, and Stripe lets {} a second be opened: a rise \
         as steep as that is met by 429, and what cannot be sent in its call is \
         answered 202.",
            grouped(&pairs, 0),
            about(&starting),
            about(&sessions)
        ),
    );
    Ok(())
}

fn gb_a_day(bytes_per_s: &BigDecimal) -> BigDecimal {
    bytes_per_s * BigDecimal::from(86_400) / BigDecimal::from(1_u64 << 30)
}

fn load_columns(text: &mut String, first: &str, loads: &[Load<'_>]) {
    let names = loads
        .iter()
        .map(|load| format!("{}/s, {}", grouped(&load.events_per_s, 0), load.way.name));
    let names: Vec<String> = names.collect();
    let mut all = vec![first];
    all.extend(names.iter().map(String::as_str));
    columns(text, &all, 1);
}
