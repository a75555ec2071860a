//! The meter event stream: a hundred events a request (Stripe API reference:
//! v2 Meter Event Stream).

use stripe::{MeterEvent, MeterEventStream, RequestOptions, Sent};
use tokio::time::Instant;

use super::{Answer, Trouble, is_refusal, log_refusal};

/// Sends `events`, one request if all goes well. A refused request of many is
/// halved until the guilty event is alone, so that it takes no other down with it.
pub(super) async fn send(
    stream: &MeterEventStream,
    events: &[MeterEvent],
    deadline: Instant,
) -> Vec<Answer> {
    let mut answers = vec![Answer::Unsettled(Trouble::NotThrough); events.len()];
    let mut requests = vec![(0, events.len(), Sent::No)];
    while let Some((start, end, taken_before)) = requests.pop() {
        let (Some(events), Some(answers)) = (events.get(start..end), answers.get_mut(start..end))
        else {
            continue;
        };
        if events.is_empty() {
            continue;
        }
        if Instant::now() >= deadline {
            // What has not been sent stays pending.
            break;
        }
        let sent = stream.send(events, &RequestOptions::until(deadline)).await;
        let error = match sent {
            Ok(()) => {
                answers.fill(Answer::Taken {
                    stripe_record_id: None,
                });
                continue;
            }
            Err(error) => error,
        };
        if events.len() > 1 && is_refusal(&error) {
            let in_this_call = error.api().map_or(Sent::No, |error| error.taken_before);
            let taken_before = taken_before.max(in_this_call);
            let middle = start.midpoint(end);
            requests.push((middle, end, taken_before));
            requests.push((start, middle, taken_before));
        } else {
            log_refusal(events.len(), &error);
            answers.fill(Answer::of(&error, taken_before));
        }
    }
    answers
}
