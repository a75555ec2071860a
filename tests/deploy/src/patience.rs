//! Waiting for what comes a moment later.

use std::time::{Duration, Instant};

use crate::failure::Failure;

const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks until it is so, `within` that time.
pub(crate) async fn until(
    what: &str,
    within: Duration,
    look: impl AsyncFn() -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let started = Instant::now();
    while !look().await? {
        if started.elapsed() > within {
            return Err(Failure::WaitedInVain(what.to_owned()));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
