//! What became of a request's events, as figures for the operator.

use std::time::Duration;

use billing::{HeldReason, UsageStatus};
use web::metrics::{Figure, Metrics, Unit};
use web::{Problem, ProblemType};

use crate::emitter::Emitted;
use crate::request::Emission;

/// Writes how many events had which outcome, how long the emission of all of
/// them took, and how long after its recording each was delivered. Outcomes
/// without any event are left out.
pub(crate) fn write(metrics: &Metrics, took: Duration, outcomes: &[Result<Emitted, Problem>]) {
    if outcomes.is_empty() {
        return;
    }
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let mut figures: Vec<Figure> = vec![("emission_ms", Unit::Milliseconds, took_ms)];
    for outcome in outcomes {
        count(&mut figures, name(outcome));
        let Ok(emitted) = outcome else { continue };
        if let Some(reason) = emitted.held_reason.filter(|_| !emitted.duplicate) {
            count(&mut figures, held_name(reason));
        }
        if let Some(lag_ms) = emitted.delivery_lag_ms {
            let lag_ms = u64::try_from(lag_ms).unwrap_or(0);
            figures.push(("delivery_lag_ms", Unit::Milliseconds, lag_ms));
        }
    }
    metrics.write(&figures);
}

/// Logs a request's counts, and names the events that it does not bring to
/// Stripe: what is refused, its caller knows; what is perhaps recorded, or not
/// sent, is followed by its id.
pub(crate) fn log(emissions: &[Emission], outcomes: &[Result<Emitted, Problem>]) {
    let of = |wanted: &str| outcomes.iter().filter(|o| name(o) == wanted).count();
    for (Emission { event, .. }, outcome) in emissions.iter().zip(outcomes) {
        let outcome = name(outcome);
        if !matches!(outcome, "delivered" | "duplicate" | "refused") {
            tracing::warn!(
                event_id = event.event_id.as_str(),
                customer_id = event.customer_id.as_str(),
                outcome,
                "an event is not delivered"
            );
        }
    }
    tracing::info!(
        events = outcomes.len(),
        delivered = of("delivered"),
        duplicate = of("duplicate"),
        pending = of("pending"),
        held = of("held"),
        quarantined = of("quarantined"),
        rejected = of("rejected"),
        refused = of("refused"),
        unknown = of("unknown"),
        "emitted"
    );
}

fn count(figures: &mut Vec<Figure>, name: &'static str) {
    match figures.iter_mut().find(|(known, ..)| *known == name) {
        Some((_, _, events)) => *events += 1,
        None => figures.push((name, Unit::Count, 1)),
    }
}

/// Each reason has its own figure: another alarm, and another thing to do.
const fn held_name(reason: HeldReason) -> &'static str {
    match reason {
        HeldReason::BeforeSubscription => "held_before_subscription",
        HeldReason::AfterSubscription => "held_after_subscription",
        HeldReason::NoOpenPeriod => "held_no_open_period",
        HeldReason::FreeTrial => "held_free_trial",
        HeldReason::NoSubscriptionItem => "held_no_subscription_item",
    }
}

/// A repeat of what is settled is a duplicate, whatever it is a repeat of: it
/// was counted when it happened.
fn name(outcome: &Result<Emitted, Problem>) -> &'static str {
    match outcome {
        Ok(emitted) => match emitted.status {
            UsageStatus::Delivered | UsageStatus::Held if emitted.duplicate => "duplicate",
            status => status.as_str(),
        },
        Err(problem) => match problem.problem_type() {
            ProblemType::Rejected => "rejected",
            ProblemType::Unavailable | ProblemType::StripeUnavailable | ProblemType::Internal => {
                "unknown"
            }
            _ => "refused",
        },
    }
}

#[cfg(test)]
mod tests {
    use ledger::CustomerStatus;
    use serde_json::json;

    use super::*;

    fn emitted(status: UsageStatus, duplicate: bool) -> Result<Emitted, Problem> {
        Ok(Emitted {
            event_id: "job-1".to_owned(),
            status,
            duplicate,
            quantity: 1,
            stripe_record_id: None,
            customer_status: CustomerStatus::Active,
            reservation: None,
            held_reason: (status == UsageStatus::Held).then_some(HeldReason::NoOpenPeriod),
            delivery_lag_ms: (status == UsageStatus::Delivered && !duplicate).then_some(31),
        })
    }

    #[test]
    fn every_outcome_has_its_figure() {
        let problem = |kind| Err(Problem::new(kind, "no"));
        for (outcome, expected) in [
            (emitted(UsageStatus::Delivered, false), "delivered"),
            (emitted(UsageStatus::Delivered, true), "duplicate"),
            (emitted(UsageStatus::Pending, true), "pending"),
            (emitted(UsageStatus::Quarantined, true), "quarantined"),
            (emitted(UsageStatus::Held, false), "held"),
            (problem(ProblemType::Rejected), "rejected"),
            (problem(ProblemType::Unavailable), "unknown"),
            (problem(ProblemType::Conflict), "refused"),
        ] {
            assert_eq!(name(&outcome), expected);
        }
    }

    #[test]
    fn a_batch_is_one_line_with_a_lag_for_each_delivery_and_a_reason_for_what_is_held() {
        let (metrics, lines) = Metrics::channel("meterline", "meterline-Emission");
        let outcomes = [
            emitted(UsageStatus::Delivered, false),
            emitted(UsageStatus::Delivered, false),
            emitted(UsageStatus::Held, false),
            emitted(UsageStatus::Held, true),
        ];
        write(&metrics, Duration::from_millis(40), &outcomes);
        let line = lines.try_recv().unwrap();
        for (name, expected) in [
            ("emission_ms", json!(40)),
            ("delivered", json!(2)),
            ("duplicate", json!(1)),
            ("held", json!(1)),
            ("held_no_open_period", json!(1)),
            ("delivery_lag_ms", json!([31, 31])),
        ] {
            assert_eq!(line[name], expected, "{name}");
        }
        assert!(lines.try_recv().is_err());
    }
}
