//! What every part of a running simulator shares.

use std::sync::Arc;

use crate::api::error::{Result, StripeError};
use crate::api::version::Version;
use crate::call::{Call, Origin};
use crate::config::Clock;
use crate::control::faults::Faults;
use crate::random::Random;
use crate::server::keys_in_use::KeysInUse;
use crate::server::secret_keys::SecretKeys;
use crate::store::database::Database;

/// The simulator's parts.
pub(crate) struct Core {
    pub(crate) database: Database,
    pub(crate) random: Random,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) secret_keys: SecretKeys,
    pub(crate) aggregation_delay_ms: i64,
    pub(crate) faults: Faults,
    pub(crate) keys_in_use: KeysInUse,
    /// Customers and meters with a v1 meter event under way.
    pub(crate) meters_in_use: KeysInUse,
    /// Sends webhooks.
    pub(crate) client: reqwest::Client,
    /// Held while webhooks are under way, so that two rounds never send the same one.
    pub(crate) round: tokio::sync::Mutex<()>,
}

impl Core {
    /// Does work with the state; `work` decides itself what becomes of a refusal.
    pub(crate) async fn work<T: Send + 'static>(
        self: &Arc<Self>,
        version: Version,
        origin: Origin,
        work: impl FnOnce(&Call<'_>) -> T + Send + 'static,
    ) -> Result<T> {
        let core = Arc::clone(self);
        self.database
            .run(move |db| {
                work(&Call {
                    db,
                    random: &core.random,
                    now_ms: core.clock.now_ms(),
                    version,
                    origin,
                })
            })
            .await
            .map_err(|unwritten| StripeError::internal(&unwritten))
    }

    /// Does work that no request asked for, all of it or nothing.
    pub(crate) async fn work_alone<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Call<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.work(Version::newest(), Origin::default(), |call| {
            crate::store::database::undo_refused(call.db, || work(call))
        })
        .await?
    }
}
