//! Loads, limits and bills against figures that were reckoned by hand.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use scale::cost::{Bill, fixed_a_month, kept_a_year, levers, totals_at_most};
use scale::facts::Facts;
use scale::inputs::{Code, Inputs, Settings, Way};
use scale::limits::limits;
use scale::load::{FullShard, Load};

/// Round prices: a dollar a million of whatever comes in millions.
const FACTS: &str = "
published:
  api_gateway_requests_per_s: { value: '10000', unit: '', page: '', checked: source }
  api_gateway_million_requests: { value: '1', unit: '', page: '', checked: source }
  lambda_concurrency: { value: '1000', unit: '', page: '', checked: source }
  lambda_environments_per_10_s: { value: '1000', unit: '', page: '', checked: source }
  lambda_polls_per_s: { value: '4', unit: '', page: '', checked: source }
  lambda_million_requests: { value: '0.5', unit: '', page: '', checked: source }
  lambda_gb_s_arm64: { value: '0.00001', unit: '', page: '', checked: source }
  lambda_gb_s_x86_64: { value: '0.00002', unit: '', page: '', checked: source }
  table_write_units_per_s: { value: '40000', unit: '', page: '', checked: source }
  new_table_write_units_per_s: { value: '4000', unit: '', page: '', checked: source }
  partition_write_units_per_s: { value: '1000', unit: '', page: '', checked: source }
  partition_read_units_per_s: { value: '3000', unit: '', page: '', checked: source }
  transaction_write_units: { value: '2', unit: '', page: '', checked: source }
  stored_item_overhead_bytes: { value: '0', unit: '', page: '', checked: source }
  million_write_units: { value: '1', unit: '', page: '', checked: source }
  million_read_units: { value: '0.1', unit: '', page: '', checked: source }
  provisioned_write_unit_hour: { value: '0.0009', unit: '', page: '', checked: source }
  table_gb_month: { value: '0.5', unit: '', page: '', checked: source }
  backup_gb_month: { value: '0.25', unit: '', page: '', checked: source }
  lambda_logs_gb: { value: '0.5', unit: '', page: '', checked: source }
  access_logs_gb: { value: '0.5', unit: '', page: '', checked: source }
  log_line_overhead_bytes: { value: '1', unit: '', page: '', checked: source }
  alarm_month: { value: '0.1', unit: '', page: '', checked: source }
  metric_month: { value: '0.3', unit: '', page: '', checked: source }
  dashboard_month: { value: '3', unit: '', page: '', checked: source }
  secret_month: { value: '0.4', unit: '', page: '', checked: source }
  data_out_gb: { value: '0.1', unit: '', page: '', checked: source }
  stripe_stream_events_per_s: { value: '10000', unit: '', page: '', checked: source }
  stripe_stream_requests_per_s: { value: '10000', unit: '', page: '', checked: source }
  stripe_meter_event_calls_per_s: { value: '1000', unit: '', page: '', checked: source }
  stripe_endpoint_requests_per_s: { value: '25', unit: '', page: '', checked: source }
  stripe_session_s: { value: '900', unit: '', page: '', checked: source }
assumed:
  transaction_ms: { value: '20', unit: ms, why: '' }
  rollup_step_ms: { value: '50', unit: ms, why: '' }
  batch_get_ms: { value: '40', unit: ms, why: '' }
  contended_row_share: { value: '0.25', unit: '', why: '' }
  key_leases: { value: '2', unit: '', why: '' }
  provisioned_use: { value: '0.5', unit: '', why: '' }
  alarm_metrics: { value: '10', unit: '', why: '' }
  metrics: { value: '20', unit: '', why: '' }
  dashboards: { value: '2', unit: '', why: '' }
  secrets: { value: '5', unit: '', why: '' }
  stripe_header_bytes: { value: '40', unit: bytes, why: '' }
  answer_header_bytes: { value: '20', unit: bytes, why: '' }
samples:
  access_log: '123456789'
  lambda_start: '123456789'
  lambda_report: '123456789'
  answer_line: '123456789'
  figures_line: '123456789'
  stripe_event: '1234567'
  answer: '123'
";

/// What the figures of a test are reckoned from; a test changes what it is about.
fn inputs() -> Inputs {
    Inputs {
        facts: yaml_serde::from_str(FACTS).unwrap(),
        // With a call of the rollup for 500 events a second, a tenth of a second
        // of concurrency for each event.
        single: way("single", "1", "98"),
        batch: way("batches", "10", "200"),
        measured_customers: number("20"),
        settings: Settings {
            api_requests_per_s: number("500"),
            key_requests_per_s: number("800"),
            emission_mb: number("1024"),
            rollup_mb: number("512"),
            rollup_records: number("1000"),
            redelivery_mb: number("1024"),
            redelivery_s: number("30"),
        },
        code: Code {
            slots: number("8"),
            buckets: number("16"),
            changes: number("99"),
            rows_at_once: number("400"),
            key_fresh_s: number("60"),
            key_window_s: number("10"),
            customer_fresh_s: number("10"),
            catalog_fresh_s: number("30"),
        },
    }
}

fn way(name: &'static str, events_per_call: &str, call_ms: &str) -> Way {
    Way {
        name,
        events_per_call: number(events_per_call),
        call_ms: number(call_ms),
        log_units: number("3"),
        index_units: number("1"),
        totals_units: number("0.5"),
        outbox_units: number("0.25"),
        redelivery_units: number("0.5"),
    }
}

fn number(text: &str) -> bigdecimal::BigDecimal {
    text.parse().unwrap()
}

fn shown(number: &bigdecimal::BigDecimal) -> String {
    number.normalized().to_plain_string()
}

#[test]
fn a_load_takes_what_it_takes_of_each_service() {
    let inputs = inputs();
    let load = Load::new(&inputs, &inputs.batch, 100_000);
    // 100,000 events by 10 are 10,000 calls; each lasts a fifth of a second.
    assert_eq!(shown(&load.calls_per_s()), "10000");
    assert_eq!(shown(&load.emissions_at_once()), "2000");
    // 100 environments a second.
    assert_eq!(shown(&load.ramp_s().unwrap()), "20");
    // Three units an event, one of them the index's; half a unit, a quarter.
    assert_eq!(shown(&load.log_units_per_s()), "200000");
    assert_eq!(shown(&load.index_units_per_s()), "100000");
    assert_eq!(shown(&load.totals_units_per_s()), "50000");
    assert_eq!(shown(&load.outbox_units_per_s()), "25000");
    assert_eq!(shown(&load.redelivery_units_per_s()), "50000");
    // Two transitions, two units each.
    assert_eq!(shown(&load.totals_units_max_per_s().unwrap()), "400000");
    // 200,000 units by 1,000; each shard is asked four times a second.
    assert_eq!(shown(&load.shards().unwrap()), "200");
    assert_eq!(shown(&load.rollup_calls_per_s().unwrap()), "800");
    // Lines of 9 bytes and 1: four of each call, three of each rollup's.
    assert_eq!(shown(&load.lambda_log_bytes_per_s().unwrap()), "424000");
    assert_eq!(shown(&load.access_log_bytes_per_s().unwrap()), "100000");
    // 60 bytes a call, 10 an event.
    assert_eq!(shown(&load.bytes_out_per_s().unwrap()), "1600000");
}

#[test]
fn a_part_of_a_call_or_of_a_partition_takes_a_whole_one() {
    let inputs = inputs();
    let load = Load::new(&inputs, &inputs.single, 11);
    // 1.078 calls.
    assert_eq!(shown(&load.emissions_at_once()), "2");
    let load = Load::new(&inputs, &inputs.single, 2_501);
    // 5,002 units.
    assert_eq!(shown(&load.shards().unwrap()), "6");
    let load = Load::new(&inputs, &inputs.single, 1);
    // A new table has the partitions of its first 4,000 units.
    assert_eq!(shown(&load.shards().unwrap()), "4");
}

#[test]
fn a_full_shard_keeps_its_rollup_busy_for_a_part_of_the_time() {
    let shard = FullShard::of(&inputs()).unwrap();
    assert_eq!(shown(&shard.records_per_s), "1000");
    assert_eq!(shown(&shard.records_taken_per_s), "4000");
    // 1,000 changes by 99 are 11 transactions of 20 ms: 220 ms of a second.
    assert_eq!(shown(&shard.transactions_per_s), "11");
    assert_eq!(shown(&shard.busy_percent), "22");
}

#[test]
fn each_limit_is_reached_where_its_own_arithmetic_says() {
    for (what, single, batch) in [
        // Requests a second, times events of a request.
        ("The API's own rate", "500", "5000"),
        ("API Gateway,", "10000", "100000"),
        ("One API key: its rate", "800", "8000"),
        // A thousand writes a second, two in ten seconds of each environment: 5,000.
        (
            "One API key: the partition of its counter",
            "51020.408",
            "250000",
        ),
        // 0.098 s and 1/500 of a call for each event; 0.02 s and the same.
        ("Lambda, calls at once", "10000", "45454.545"),
        // As it is published.
        ("Stripe's stream, taken as events", "10000", "10000"),
        // 25 a second for 900 s are 22,500 environments.
        ("Stripe, opening a session", "229591.837", "1125000"),
        // 400 rows in 40 ms are 10,000 a second, for half of the time, two
        // events for each row.
        ("Redelivery,", "10000", "10000"),
        // Two units an event, of 4,000 and of 40,000.
        ("usage-events on its first day", "2000", "2000"),
        ("usage-events, write units", "20000", "20000"),
        ("by-customer, write units", "40000", "40000"),
        ("usage-totals,", "10000", "10000"),
        // 16 buckets of 1,000 units, a quarter of one for each event.
        ("outbox,", "64000", "64000"),
        ("One customer: partitions of the buckets", "16000", "16000"),
        // A row may be held for 250 ms of each second, by 12.5 transactions of
        // 20 ms: 8 rows take 100, of 25 shards with 500 events each.
        ("One customer and action:", "12500", "12500"),
        // Eight units a second and shard: 125 shards.
        (
            "One customer: the partition of its totals",
            "62500",
            "62500",
        ),
        // 3,000 reads a second for 10, 30 and 60 seconds.
        ("One customer: reads of its row", "306122.449", "1500000"),
        ("Reads of the catalog's row", "918367.347", "4500000"),
        ("One API key: reads of its row", "1836734.694", "9000000"),
    ] {
        let limits = limits(&inputs()).unwrap();
        let mut named = limits.iter().filter(|limit| limit.what.starts_with(what));
        let limit = named.next().unwrap_or_else(|| panic!("no {what:?}"));
        assert!(named.next().is_none(), "two of {what:?}");
        assert_eq!(shown(&limit.single.round(3)), single, "{what}");
        assert_eq!(shown(&limit.batch.round(3)), batch, "{what}");
        assert_eq!(limit.of_one, what.starts_with("One"), "{what}");
    }
}

#[test]
fn what_breaks_first_comes_first() {
    let limits = limits(&inputs()).unwrap();
    assert_eq!(limits.len(), 19);
    assert!(limits.is_sorted_by_key(|limit| &limit.single));
    assert!(limits[0].what.starts_with("The API's own rate"));
}

#[test]
fn a_bill_is_the_sum_of_what_each_service_is_asked_for() {
    let inputs = inputs();
    let bill = Bill::of(&Load::new(&inputs, &inputs.batch, 100_000)).unwrap();
    // 730 hours.
    assert_eq!(shown(&bill.million_events), "262800");
    let per_million = |what: &str| {
        let line = bill.lines.iter().find(|line| line.what == what);
        let line = line.unwrap_or_else(|| panic!("no {what:?}"));
        shown(&bill.per_million(&line.monthly).round(6))
    };
    // A tenth of a million requests.
    assert_eq!(per_million("API Gateway"), "0.1");
    // 10,000 calls and 800 of the rollup a second, for 100,000 events.
    assert_eq!(per_million("Lambda, calls"), "0.054");
    // 2,000 GB-seconds a second.
    assert_eq!(per_million("Lambda, emission's time"), "0.2");
    // 800 times 50 ms with half a GB, and half a second of one GB.
    assert_eq!(
        per_million("Lambda, rollup's and redelivery's time"),
        "0.00205"
    );
    assert_eq!(
        per_million("DynamoDB, writes of the audit log and its index"),
        "3"
    );
    assert_eq!(per_million("DynamoDB, writes of totals and outbox"), "0.75");
    // Half a unit of redelivery, and one of a customer.
    assert_eq!(per_million("DynamoDB, reads, at most"), "0.15");
    // 5.24 bytes an event: 4.24 of Lambda's, 1 of the API's.
    assert_eq!(per_million("CloudWatch Logs"), "0.00244");
    // 16 bytes an event.
    assert_eq!(per_million("Data to Stripe and to agents"), "0.00149");
    assert_eq!(
        shown(&bill.per_million(&bill.monthly()).round(5)),
        "4.25998"
    );
}

#[test]
fn keeping_events_costs_by_the_kilobyte() {
    let (stored, backed_up) = kept_a_year(&inputs()).unwrap();
    // A million of two kilobytes are 1.9073 GB, for 12 months.
    assert_eq!(shown(&stored.round(4)), "11.4441");
    assert_eq!(shown(&backed_up.round(4)), "2.861");
}

#[test]
fn alarms_metrics_dashboards_and_secrets_cost_the_same_at_any_rate() {
    // 1 for alarms, 6 for metrics, 6 for dashboards, 2 for secrets.
    assert_eq!(shown(&fixed_a_month(&inputs()).unwrap()), "15");
}

#[test]
fn totals_cost_more_where_no_two_events_share_a_row() {
    // Four units in place of half a unit.
    assert_eq!(shown(&totals_at_most(&inputs()).unwrap()), "3.5");
}

#[test]
fn levers_are_told_by_what_they_spare_and_the_largest_first() {
    let levers = levers(&inputs()).unwrap();
    assert!(levers.is_sorted_by(|a, b| a.single >= b.single));
    let spared = |what: &str| {
        let lever = levers.iter().find(|lever| lever.what.starts_with(what));
        let lever = lever.unwrap_or_else(|| panic!("no {what:?}"));
        shown(&lever.single.round(4))
    };
    // 3.75 units an event by the hour: 0.0009 dollars by 3,600, half of it used,
    // are half a dollar a million.
    assert_eq!(spared("Writes by provisioned capacity"), "1.875");
    // 0.098 GB-seconds an event are 0.98 dollars.
    assert_eq!(spared("Emission with half the memory"), "0.49");
    // Twice the price: emission's 0.98, and what the rollup and redelivery take,
    // 0.9 GB-seconds of a thousand events.
    assert_eq!(spared("x86_64"), "-0.989");
}

#[test]
fn facts_say_which_of_them_is_missing() {
    let mut inputs = inputs();
    inputs.facts.published.remove("lambda_concurrency");
    let error = limits(&inputs).unwrap_err().to_string();
    assert!(
        error.starts_with("lambda_concurrency is not in "),
        "{error}"
    );
}

#[test]
fn a_word_too_many_in_the_data_file_is_an_error() {
    let wrong = FACTS.replace("checked: source }", "checked: source, prize: '1' }");
    assert!(yaml_serde::from_str::<Facts>(&wrong).is_err());
}
