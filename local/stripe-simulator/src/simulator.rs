//! Starting and stopping.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Background, Config, Data, Listen};
use crate::control::faults::Faults;
use crate::core::Core;
use crate::random::Random;
use crate::server;
use crate::server::keys_in_use::KeysInUse;
use crate::server::secret_keys::SecretKeys;
use crate::server::wire::{Listener, Wire};
use crate::store::database::{self, Database};
use crate::store::objects;
use crate::{background, webhooks};

/// How long [`Simulator::stop`] waits for answers that are on their way.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen: {0}")]
    Listen(#[source] std::io::Error),
    /// The file cannot be opened, or holds something else.
    #[error("cannot open the state: {0}")]
    State(#[source] rusqlite::Error),
    /// The thread of the state could not be started.
    #[error("cannot start the state's thread: {0}")]
    Thread(#[source] std::io::Error),
    /// The client that sends webhooks could not be made.
    #[error("cannot make the webhook client: {0}")]
    Client(#[source] reqwest::Error),
    /// Its TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] rustls::Error),
    /// The system gave no randomness.
    #[error("no randomness: {0}")]
    Randomness(#[source] getrandom::Error),
}

/// A running simulator. Dropping it stops it too, without waiting.
pub struct Simulator {
    address: SocketAddr,
    stop: CancellationToken,
    core: Arc<Core>,
    server: JoinHandle<std::io::Result<()>>,
    background: Option<JoinHandle<()>>,
    state: Option<std::thread::JoinHandle<()>>,
}

impl Simulator {
    /// Starts to answer.
    ///
    /// # Errors
    /// [`StartError`]: the address, the file or the machine does not allow it.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let listener = match config.listen {
            Listen::Address(address) => TcpListener::bind(address).await,
            Listen::Listener(listener) => Ok(listener),
        };
        let listener = listener.map_err(StartError::Listen)?;
        let address = listener.local_addr().map_err(StartError::Listen)?;
        let path = match &config.data {
            Data::Memory => None,
            Data::File(path) => Some(path.as_path()),
        };
        let connection = database::open(path).map_err(StartError::State)?;
        let random = random(config.seed, &connection)?;
        let client = webhooks::client()?;
        let (database, state) = Database::start(connection).map_err(StartError::Thread)?;
        let core = Arc::new(Core {
            database,
            random,
            clock: config.clock,
            secret_keys: SecretKeys::new(config.secret_key),
            aggregation_delay_ms: i64::try_from(config.aggregation_delay_ms).unwrap_or(i64::MAX),
            faults: Faults::default(),
            keys_in_use: KeysInUse::default(),
            meters_in_use: KeysInUse::default(),
            client,
            round: tokio::sync::Mutex::new(()),
        });
        let stop = CancellationToken::new();
        let service =
            server::router(Arc::clone(&core)).into_make_service_with_connect_info::<Wire>();
        let server = axum::serve(Listener(listener), service)
            .with_graceful_shutdown(stop.clone().cancelled_owned());
        let background = (config.background == Background::Automatic)
            .then(|| tokio::spawn(background::run(Arc::clone(&core), stop.clone())));
        Ok(Self {
            address,
            stop,
            core,
            server: tokio::spawn(server.into_future()),
            background,
            state: Some(state),
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base of both the API and the meter event stream.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops: takes no new connection, finishes what is being answered, closes the state.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.server)
            .await
            .is_err()
        {
            tracing::warn!("a connection stayed open and was cut");
            self.server.abort();
        }
        if let Some(background) = self.background.take()
            && let Err(error) = background.await
        {
            tracing::error!(%error, "the background failed");
        }
        self.core.database.close();
        if let Some(state) = self.state.take() {
            let joined = tokio::task::spawn_blocking(move || state.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the state's thread failed");
            }
        }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.core.database.close();
    }
}

/// A seed repeats its ids in a new file only: in one that holds objects it goes on elsewhere.
fn random(seed: Option<u64>, connection: &rusqlite::Connection) -> Result<Random, StartError> {
    let seed = match seed {
        Some(seed) => {
            let count = objects::count(connection).map_err(StartError::State)?;
            seed.wrapping_add(count.unsigned_abs().rotate_right(16))
        }
        None => Random::system_seed().map_err(StartError::Randomness)?,
    };
    Ok(Random::new(seed))
}
