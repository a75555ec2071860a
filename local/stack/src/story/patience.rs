//! Waiting for what comes a moment later.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Stage, StoryError};
use crate::options::Pumping;

/// A system that the story moves has come to rest after this many rounds.
const ROUNDS_MAX: u32 = 400;

/// How a system that moves by itself is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// The pause after the first look; each is twice the one before …
    pub look_every_min: Duration,
    /// … up to this.
    pub look_every_max: Duration,
    /// For how long.
    pub patience: Duration,
    /// How often to say on standard error what is waited for, if at all.
    pub tell_every: Option<Duration>,
}

impl Waiting {
    /// For all that is on this machine. Stripe itself takes a while to move a
    /// test clock.
    pub const fn on_this_machine() -> Self {
        Self {
            look_every_min: Duration::from_millis(20),
            look_every_max: Duration::from_millis(20),
            patience: Duration::from_secs(120),
            tell_every: None,
        }
    }

    /// For Stripe itself, which sums up usage within minutes and takes 25
    /// requests a second in test mode.
    pub const fn on_stripe() -> Self {
        Self {
            look_every_min: Duration::from_millis(50),
            look_every_max: Duration::from_secs(5),
            patience: Duration::from_secs(15 * 60),
            tell_every: Some(Duration::from_secs(15)),
        }
    }
}

/// Looks again until what is waited for is there.
pub(crate) struct Patience<'a> {
    pub(crate) stage: &'a Stage<'a>,
    pub(crate) waiting: Waiting,
}

impl Patience<'_> {
    /// Looks until there is something to see.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        look: impl AsyncFn() -> Result<Option<T>, StoryError>,
    ) -> Result<T, StoryError> {
        let started = Instant::now();
        let mut pause = self.waiting.look_every_min;
        let mut told = Duration::ZERO;
        let mut round = 0;
        loop {
            if let Some(seen) = look().await? {
                return Ok(seen);
            }
            round += 1;
            let elapsed = started.elapsed();
            let is_over = match self.stage.settings.pumping {
                Pumping::Automatic => elapsed > self.waiting.patience,
                Pumping::Manual => round > ROUNDS_MAX,
            };
            if is_over {
                return Err(StoryError::WaitedInVain(what.to_owned()));
            }
            if let Some(every) = self.waiting.tell_every
                && elapsed >= told + every
            {
                told = elapsed;
                tell(what, elapsed, self.waiting.patience);
            }
            self.pass_time(pause).await?;
            pause = (pause * 2).min(self.waiting.look_every_max);
        }
    }

    /// Lets happen, or makes happen, what is due.
    async fn pass_time(&self, pause: Duration) -> Result<(), StoryError> {
        match self.stage.settings.pumping {
            Pumping::Automatic => tokio::time::sleep(pause).await,
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

/// A closed standard error ends no wait.
fn tell(what: &str, elapsed: Duration, patience: Duration) {
    let (waited_s, patience_s) = (elapsed.as_secs(), patience.as_secs());
    let _ = writeln!(
        io::stderr(),
        "     … waiting for {what}: {waited_s} s of {patience_s}"
    );
}
