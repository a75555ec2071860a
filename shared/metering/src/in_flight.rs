//! Several calls at once, and not all of them.

use futures_util::stream::{self, StreamExt};

/// Awaits `calls`, at most `in_flight_max` at the same time. Answers in their order.
pub async fn in_order<F: Future>(calls: Vec<F>, in_flight_max: usize) -> Vec<F::Output> {
    stream::iter(calls).buffered(in_flight_max).collect().await
}
