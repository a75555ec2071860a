//! Waiting for what comes a moment later.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stage, StoryError};
use crate::options::Pumping;

/// A system that moves by itself is looked at this often …
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// … and for this long. Stripe itself takes a while to move a test clock.
const PATIENCE: Duration = Duration::from_secs(120);
/// A system that the story moves has come to rest after this many rounds.
const ROUNDS_MAX: u32 = 400;

/// Looks again until what is waited for is there.
pub(crate) struct Patience<'a> {
    pub(crate) stage: &'a Stage<'a>,
}

impl Patience<'_> {
    /// Looks until there is something to see.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        look: impl AsyncFn() -> Result<Option<T>, StoryError>,
    ) -> Result<T, StoryError> {
        let started = Instant::now();
        let mut round = 0;
        loop {
            if let Some(seen) = look().await? {
                return Ok(seen);
            }
            round += 1;
            let is_over = match self.stage.settings.pumping {
                Pumping::Automatic => started.elapsed() > PATIENCE,
                Pumping::Manual => round > ROUNDS_MAX,
            };
            if is_over {
                return Err(StoryError::WaitedInVain(what.to_owned()));
            }
            self.pass_time().await?;
        }
    }

    /// Lets happen, or makes happen, what is due.
    async fn pass_time(&self) -> Result<(), StoryError> {
        match self.stage.settings.pumping {
            Pumping::Automatic => tokio::time::sleep(LOOK_EVERY).await,
            Pumping::Manual => {
                self.stage.rolled_up().await?;
                let settle = "/_simulator/settle";
                let settled = self
                    .stage
                    .stripe_control("POST", settle, &json!({}))
                    .await?;
                Stage::expect("to settle", settled, &[200])?;
                // Others, such as the agent, get their turn.
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}
