//! Some seconds of the simulation, from fresh seeds, and the errors that the
//! checker must find. `make soak` runs it for longer.
#![allow(clippy::unwrap_used, reason = "a failed helper is a failed test")]

use soak::{Kind, Options, Plant, Report, soak};
use stripe::UsageApi;

/// Fault kinds that even a short run meets.
const FAULT_KINDS_MIN: usize = 8;

fn run(events: u64, plant: Option<Plant>) -> Report {
    run_by(UsageApi::MeterEventStream, events, plant)
}

fn run_by(usage_api: UsageApi, events: u64, plant: Option<Plant>) -> Report {
    let seed = u64::from(getrandom::u32().unwrap());
    println!("seed {seed}");
    let options = Options {
        seed,
        events,
        batch_events_max: 20,
        calls_at_once: 4,
        usage_api,
        plant,
    };
    soak(&options, &|_| {}).unwrap()
}

/// A run with `plant`, in which the checker finds `kind`, and what was planted.
fn assert_found(plant: Plant, kind: Kind) -> Report {
    let report = run(300, Some(plant));
    assert!(report.count(kind) > 0, "{report}");
    report
}

fn assert_named(report: &Report, kind: Kind) {
    let planted = report.planted.as_deref().unwrap();
    let mut findings = report.findings.iter();
    assert!(
        findings.any(|finding| finding.kind == kind && finding.what.contains(planted)),
        "{planted} is not named: {report}"
    );
}

#[test]
fn under_faults_nothing_is_lost_doubled_or_silently_unbilled() {
    let report = run(1_500, None);
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    assert!(report.tried >= 1_500, "{report}");
    // A run in which nothing works, or nothing fails, proves nothing.
    assert!(report.faults.len() >= FAULT_KINDS_MIN, "{report}");
    assert!(report.acknowledged > report.tried / 2, "{report}");
    let reconciled = report.reconciliation().unwrap();
    assert!(reconciled.after.agree > 0, "{report}");
}

#[test]
fn by_meter_events_neither() {
    let report = run_by(UsageApi::MeterEvent, 500, None);
    println!("{report}");
    assert!(report.is_clean(), "{report}");
    assert!(report.acknowledged > report.tried / 2, "{report}");
}

#[test]
fn a_lost_event_is_found() {
    let report = assert_found(Plant::Loss, Kind::Lost);
    assert_eq!(report.count(Kind::Lost), 1, "{report}");
    assert_named(&report, Kind::Lost);
}

#[test]
fn an_event_under_two_identifiers_is_found() {
    let report = assert_found(Plant::Double, Kind::Doubled);
    assert_eq!(report.count(Kind::Doubled), 1, "{report}");
    assert_named(&report, Kind::Doubled);
}

#[test]
fn an_event_that_another_meter_counts_is_found() {
    let report = assert_found(Plant::Meter, Kind::WrongMeter);
    assert_eq!(report.count(Kind::WrongMeter), 1, "{report}");
    assert_named(&report, Kind::WrongMeter);
}

#[test]
fn an_event_in_a_period_that_was_billed_before_is_found() {
    let report = assert_found(Plant::Unbilled, Kind::Unbilled);
    assert_named(&report, Kind::Unbilled);
}

#[test]
fn a_total_that_is_off_by_one_is_found() {
    let report = assert_found(Plant::Total, Kind::TotalsDiffer);
    assert_eq!(report.count(Kind::TotalsDiffer), 1, "{report}");
}

#[test]
fn an_entry_that_the_outbox_misses_is_found() {
    let report = assert_found(Plant::Outbox, Kind::OutboxDiffers);
    assert_named(&report, Kind::OutboxDiffers);
}
