//! Several calls at once, and not all of them.

use futures_util::stream::{self, StreamExt};

/// Awaits `calls`, at most `in_flight_max` at the same time. Answers in their order;
/// one that takes long takes one place, and the others go on.
pub async fn in_order<F: Future>(calls: Vec<F>, in_flight_max: usize) -> Vec<F::Output> {
    let calls = calls.into_iter().enumerate();
    let calls = calls.map(|(place, call)| async move { (place, call.await) });
    let mut answers: Vec<(usize, F::Output)> = stream::iter(calls)
        .buffer_unordered(in_flight_max)
        .collect()
        .await;
    answers.sort_unstable_by_key(|(place, _)| *place);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    /// The first call waits for the last one.
    #[tokio::test]
    async fn one_that_takes_long_holds_no_other_up() {
        let (done, last_is_done) = oneshot::channel();
        let mut calls = vec![last_is_done.map(|_| 0).boxed()];
        calls.extend((1..9).map(|n| async move { n }.boxed()));
        calls.push(async move { done.send(()).map_or(0, |()| 9) }.boxed());
        let answers = in_order(calls, 2);
        let answers = tokio::time::timeout(Duration::from_secs(10), answers).await;
        assert_eq!(answers.unwrap(), (0..10).collect::<Vec<_>>());
    }
}
