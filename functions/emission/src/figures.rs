//! What became of a request's events, as figures for the operator.

use billing::UsageStatus;
use web::metrics::{Figure, Metrics, Unit};
use web::{Problem, ProblemType};

use crate::emitter::Emitted;

/// Writes how many events had which outcome. Those without any are left out.
pub(crate) fn write(metrics: &Metrics, outcomes: &[Result<Emitted, Problem>]) {
    let mut figures: Vec<Figure> = Vec::new();
    for outcome in outcomes {
        let name = name(outcome);
        match figures.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, _, events)) => *events += 1,
            None => figures.push((name, Unit::Count, 1)),
        }
    }
    if !figures.is_empty() {
        metrics.write(&figures);
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

    use super::*;

    fn emitted(status: UsageStatus, duplicate: bool) -> Result<Emitted, Problem> {
        Ok(Emitted {
            event_id: "job-1".to_owned(),
            status,
            duplicate,
            quantity: 1,
            stripe_record_id: None,
            customer_status: CustomerStatus::Active,
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
}
