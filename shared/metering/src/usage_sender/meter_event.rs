//! Meter events, one a request, each checked in the call (Stripe API reference:
//! Meter Events).

use stripe::{Client, MeterEvent, MeterEventOutcome, RequestOptions, Sent};
use tokio::time::Instant;

use super::{Answer, REQUESTS_IN_FLIGHT, log_refusal};
use crate::in_flight::in_order;

/// Idempotency keys that one sending of an event tries.
const KEYS_MAX: usize = 2;

/// Sends `events`. Those of one customer and meter wait for each other, in
/// their order: the client sees to it.
pub(super) async fn send(stripe: &Client, events: &[MeterEvent], deadline: Instant) -> Vec<Answer> {
    let sendings = events.iter().map(|event| send_one(stripe, event, deadline));
    in_order(sendings.collect(), REQUESTS_IN_FLIGHT).await
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
