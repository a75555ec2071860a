//! What a simulator is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::net::TcpListener;

/// The key that is accepted unless the configuration names another.
pub const DEFAULT_SECRET_KEY: &str = "sk_test_meterline";

/// The account's clock. Test clocks are Stripe's own and live beside it.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        // Before 1970 or after the year 292 million there is no bill to write.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .ok()
            .and_then(|elapsed| i64::try_from(elapsed.as_millis()).ok())
            .unwrap_or_default()
    }
}

/// Where the simulator listens.
#[derive(Debug)]
pub enum Listen {
    /// An address to bind; port 0 picks a free one.
    Address(SocketAddr),
    /// A listener that is bound already.
    Listener(TcpListener),
}

/// Where the simulator keeps its state.
#[derive(Debug, Clone)]
pub enum Data {
    /// In memory: gone with the simulator.
    Memory,
    /// In a `SQLite` file, created if missing: what was answered survives the process.
    File(PathBuf),
}

/// Who aggregates meter events, turns periods and delivers webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// The simulator itself, all the time, as Stripe does.
    Automatic,
    /// Nobody, until a test says `POST /_simulator/settle`.
    Manual,
}

/// What a simulator is started with.
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// Where to keep state.
    pub data: Data,
    /// The only API key that is accepted.
    pub secret_key: String,
    /// The account's clock.
    pub clock: Arc<dyn Clock>,
    /// Who does what Stripe does later.
    pub background: Background,
    /// How long an accepted meter event stays invisible to summaries and invoices.
    pub aggregation_delay_ms: u64,
    /// Makes ids and secrets repeatable; `None` takes the system's randomness.
    pub seed: Option<u64>,
}

impl Default for Config {
    /// A free port of 127.0.0.1, in memory, on the system's clock, doing everything by itself.
    fn default() -> Self {
        Self {
            listen: Listen::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            data: Data::Memory,
            secret_key: DEFAULT_SECRET_KEY.to_owned(),
            clock: Arc::new(SystemClock),
            background: Background::Automatic,
            aggregation_delay_ms: 50,
            seed: None,
        }
    }
}

impl Config {
    /// The default, doing nothing by itself: for tests that decide when things happen.
    #[must_use]
    pub fn manual() -> Self {
        Self {
            background: Background::Manual,
            ..Self::default()
        }
    }
}
