//! Meter events, one a request, each checked in the call (Stripe API reference:
//! Meter Events).

use std::collections::HashMap;

use stripe::{Client, MeterEvent, MeterEventOutcome, RequestOptions, Sent};
use tokio::time::Instant;

use super::{Answer, REQUESTS_IN_FLIGHT, log_refusal};
use crate::in_flight::in_order;

/// Idempotency keys that one sending of an event tries.
const KEYS_MAX: usize = 2;

/// Sends `events`. Those of one customer and meter follow one another, in their
/// order, as Stripe asks for it: however long one of them waits for somebody else's
/// call, no other customer's waits for it.
pub(super) async fn send(stripe: &Client, events: &[MeterEvent], deadline: Instant) -> Vec<Answer> {
    let sendings = lines(events).into_iter().map(|line| async move {
        let mut answers = Vec::with_capacity(line.len());
        for (place, event) in line {
            answers.push((place, send_one(stripe, event, deadline).await));
        }
        answers
    });
    let answers = in_order(sendings.collect(), REQUESTS_IN_FLIGHT).await;
    let mut answers: Vec<(usize, Answer)> = answers.into_iter().flatten().collect();
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// `events` with their places, those of each customer and meter by themselves.
fn lines(events: &[MeterEvent]) -> Vec<Vec<(usize, &MeterEvent)>> {
    let mut lines: Vec<Vec<(usize, &MeterEvent)>> = Vec::new();
    let mut lines_of: HashMap<(&str, &str), usize> = HashMap::new();
    for (place, event) in events.iter().enumerate() {
        let key = (event.customer_id.as_str(), event.event_name.as_str());
        let line = *lines_of.entry(key).or_insert(lines.len());
        match lines.get_mut(line) {
            Some(line) => line.push((place, event)),
            None => lines.push(vec![(place, event)]),
        }
    }
    lines
}

/// Under a new idempotency key each time: Stripe repeats what it has stored
/// under an old one, errors of its own among it. The identifier keeps the event
/// one.
async fn send_one(stripe: &Client, event: &MeterEvent, deadline: Instant) -> Answer {
    let mut taken_before = Sent::No;
    let mut keys = 0;
    loop {
        keys += 1;
        let options = RequestOptions::until(deadline);
        let error = match stripe.create_meter_event(event, &options).await {
            Ok(MeterEventOutcome::Created | MeterEventOutcome::AlreadyExists) => {
                return Answer::Taken {
                    stripe_record_id: None,
                };
            }
            Err(error) => error,
        };
        if !error.is_stored_server_error() || keys == KEYS_MAX {
            log_refusal(1, &error);
            return Answer::of(&error, taken_before);
        }
        taken_before = Sent::Perhaps;
    }
}
