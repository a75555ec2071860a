//! The whole system, from one call to the other: started, used, stopped.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use billing::Clock;
use ledger::Ledger;
use meterline_cli::SetupError;
use redelivery::{Redelivery, RedeliveryError, Report};
use report::{DashboardLinks, InvalidLinkSettings};
use secrecy::SecretString;
use stripe::UsageApi;
use web::OtherStripeAccount;
use webhook::{NoSigningSecret, SweepError, SweepReport};

use crate::anthropic::Anthropic;
use crate::api::{self, Api, Parts, WEBHOOK_PATH, Webhook};
use crate::backends::{Stripe, Tables};
use crate::catalog;
use crate::dynamodb::DynamoDbError;
use crate::env_file::{ENV_FILE, EnvFile};
use crate::keys::{self, KeysError};
use crate::local_dir::{LocalDir, LocalDirError};
use crate::notifications::Notifications;
use crate::options::{Options, Pumping};
use crate::schedule::{self, Schedule};
use crate::stream_pump::{Following, PumpError, StreamPump};
use crate::tables::TablesError;

/// The system, running. Dropped, it stops as if killed: nothing that was
/// answered is lost.
pub struct System {
    api: Api,
    schedule: Option<Schedule>,
    following: Option<Following>,
    pump: Arc<StreamPump>,
    redelivery: Arc<Redelivery>,
    webhook: Webhook,
    sweeping: webhook::State,
    notifications: Notifications,
    webhook_secret: Mutex<SecretString>,
    anthropic: Anthropic,
    stripe: Stripe,
    tables: Tables,
    api_key: SecretString,
    url: String,
    webhook_url: String,
    clock: Arc<dyn Clock>,
    // Last: the folder is free again when nothing writes to it any more.
    local_dir: LocalDir,
}

/// Why the system does not start, or not stop in order.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be had.
    #[error("cannot listen on port {port}: set {variable} to another port, or to 0 for a free one")]
    Port {
        /// The environment variable that chooses the port.
        variable: &'static str,
        /// The port.
        port: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The operator's topic does not run.
    #[error("the topic of notifications does not start")]
    Notifications(#[source] io::Error),
    /// A listener cannot be used.
    #[error("cannot listen")]
    Listen(#[source] io::Error),
    /// The folder cannot be used.
    #[error(transparent)]
    LocalDir(#[from] LocalDirError),
    /// The embedded DynamoDB does not run.
    #[error(transparent)]
    DynamoDb(#[from] DynamoDbError),
    /// The DynamoDB elsewhere does not answer as it should.
    #[error("no tables at {url}: unset AWS_ENDPOINT_URL_DYNAMODB to have a DynamoDB started here")]
    DynamoDbElsewhere {
        /// Its address.
        url: String,
        /// Why.
        #[source]
        source: TablesError,
    },
    /// The tables are not there.
    #[error(transparent)]
    Tables(TablesError),
    /// The Stripe simulator does not run.
    #[error("the Stripe simulator does not start")]
    Simulator(#[from] stripe_simulator::StartError),
    /// Stripe's key or address is none.
    #[error(transparent)]
    Stripe(#[from] stripe::ConfigError),
    /// The tables are of another Stripe.
    #[error("the tables are another Stripe's: set LOCAL_DIR to another folder for this one")]
    OtherStripeAccount(#[from] OtherStripeAccount),
    /// There is no key or secret.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The secret of the dashboard links is not one.
    #[error(transparent)]
    DashboardLinks(#[from] InvalidLinkSettings),
    /// The simulator does not hold what customers subscribe to, or sends no
    /// webhooks here.
    #[error(transparent)]
    Setup(SetupError),
    /// The same of the Stripe elsewhere. One that cannot reach this machine
    /// takes no endpoint of it.
    #[error(
        "Stripe at {url} is not as it must be: unset STRIPE_API_BASE to have a simulator \
         started here, or set STRIPE_WEBHOOK_SECRET if it is to send its events by another way"
    )]
    StripeElsewhere {
        /// The address of its API.
        url: String,
        /// Why.
        #[source]
        source: SetupError,
    },
    /// The key is one of live mode.
    #[error("STRIPE_SECRET_KEY is of live mode: the local system bills nobody")]
    LiveKey,
    /// The webhook's secret is empty.
    #[error(transparent)]
    WebhookSecret(#[from] NoSigningSecret),
}

impl System {
    /// Starts everything: DynamoDB and its tables, Stripe, the keys, the pumps,
    /// the API; at last writes the env file, which says that all is there.
    ///
    /// # Errors
    /// A [`StartError`]; what had started is stopped again.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let local_dir = LocalDir::open(&options.local_dir)?;
        local_dir.remove(ENV_FILE)?;
        // The ports first: one that is taken is found before anything starts.
        let listeners = Listeners::bind(&options)?;
        let api_address = listeners.api.local_addr().map_err(StartError::Listen)?;
        let url = format!("http://{api_address}");

        let tables = Tables::start(&options, &local_dir, listeners.dynamodb).await?;
        let stripe = Stripe::start(&options, &local_dir, listeners.stripe).await?;
        web::check_stripe_account(&tables.ledger, &stripe.client).await?;
        let now = options.clock.now();
        let api_key = keys::demo_api_key(&local_dir, &tables.ledger, now).await?;
        let webhook_url = format!("{url}{WEBHOOK_PATH}");
        let webhook_secret = catalog::set_up(&stripe, &webhook_url, &local_dir).await;
        let webhook_secret = webhook_secret.map_err(|source| stripe.setup_error(source))?;
        let link_secret = keys::dashboard_link_secret(&local_dir)?;
        let notifications = Notifications::start(&local_dir).map_err(StartError::Notifications)?;
        let parts = Parts {
            ledger: tables.ledger.clone(),
            stripe: stripe.client.clone(),
            links: DashboardLinks::new(&link_secret, Some(url.clone()))?,
            webhook: webhook::Configuration {
                notifier: notifications.notifier(&tables.connection),
                dunning: options.dunning,
            },
            clock: Arc::clone(&options.clock),
        };
        let webhook = Webhook::new(parts.clone(), &webhook_secret)?;
        // A schedule signs nothing.
        let sweeping = parts.webhook_state(Vec::new());
        let routes = api::router(&parts, &webhook);
        let api = Api::serve(listeners.api, routes).map_err(StartError::Listen)?;
        let pump = Arc::new(StreamPump::new(
            tables.client.clone(),
            tables.connection.streams_client(),
            tables.ledger.clone(),
            tables
                .embedded
                .as_ref()
                .map(|embedded| embedded.stream_records()),
        ));
        let redelivery = Arc::new(Redelivery::new(parts.ledger, parts.stripe, parts.clock));
        let is_automatic = options.pumping == Pumping::Automatic;
        let system = Self {
            api,
            schedule: is_automatic
                .then(|| Schedule::start(Arc::clone(&redelivery), sweeping.clone())),
            following: is_automatic.then(|| Following::start(Arc::clone(&pump))),
            pump,
            redelivery,
            webhook,
            sweeping,
            notifications,
            webhook_secret: Mutex::new(webhook_secret),
            anthropic: Anthropic::default(),
            stripe,
            tables,
            api_key,
            webhook_url,
            url,
            clock: options.clock,
            local_dir,
        };
        system.write_env_file()?;
        Ok(system)
    }

    /// Stops everything in the reverse order: what has begun is finished, the
    /// stream is rolled up, the files are closed and the env file is gone.
    ///
    /// # Errors
    /// The first part that did not stop in order; the others are stopped all the same.
    pub async fn stop(self) -> Result<(), StartError> {
        let removed = self.local_dir.remove(ENV_FILE);
        self.api.stop().await;
        if let Some(schedule) = self.schedule {
            schedule.stop().await;
        }
        if let Some(following) = self.following {
            following.stop().await;
        }
        self.anthropic.stop().await;
        if let Some(simulator) = self.stripe.simulator {
            simulator.stop().await;
        }
        drop(self.pump);
        if let Some(dynamodb) = self.tables.embedded {
            dynamodb.stop().await?;
        }
        Ok(removed?)
    }

    /// One pass over the audit log's stream: how many records were rolled up, 0
    /// where none are left. For a system that does not pump by itself.
    ///
    /// # Errors
    /// A [`PumpError`]; the next pass repeats what this one did not finish.
    pub async fn pump_stream(&self) -> Result<usize, PumpError> {
        self.pump.pump().await
    }

    /// One run of redelivery, as the schedule makes one every minute.
    ///
    /// # Errors
    /// Redelivery's; what it had settled stays settled.
    pub async fn redeliver(&self) -> Result<Report, RedeliveryError> {
        schedule::redeliver(&self.redelivery).await
    }

    /// One sweep of Stripe's events, as the schedule makes one every quarter of an
    /// hour.
    ///
    /// # Errors
    /// The sweep's; what it had applied stays applied.
    pub async fn sweep(&self) -> Result<SweepReport, SweepError> {
        schedule::sweep(&self.sweeping).await
    }

    /// What the operator was told, and how.
    pub const fn notifications(&self) -> &Notifications {
        &self.notifications
    }

    /// From now on takes webhooks that are signed with one of `secrets`
    /// (comma-separated), until it stops.
    ///
    /// # Errors
    /// A [`StartError`] for a list of none, or where it cannot be kept.
    pub fn set_webhook_secret(&self, secrets: SecretString) -> Result<(), StartError> {
        self.webhook.set_secrets(&secrets)?;
        *self
            .webhook_secret
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = secrets;
        Ok(self.write_env_file()?)
    }

    /// The API's address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The demo key: it may do everything.
    pub const fn api_key(&self) -> &SecretString {
        &self.api_key
    }

    /// Where Stripe is to send webhooks.
    pub fn webhook_url(&self) -> &str {
        &self.webhook_url
    }

    /// The tables.
    pub const fn ledger(&self) -> &Ledger {
        &self.tables.ledger
    }

    /// DynamoDB's address.
    pub fn dynamodb_url(&self) -> &str {
        self.tables.connection.url()
    }

    /// Stripe.
    pub const fn stripe(&self) -> &stripe::Client {
        &self.stripe.client
    }

    /// The address of Stripe's API; the simulator's own controls are there too.
    pub fn stripe_url(&self) -> &str {
        &self.stripe.api_base
    }

    /// The address of Stripe's meter event stream.
    pub fn meter_events_url(&self) -> &str {
        &self.stripe.meter_events_base
    }

    /// Stripe's secret key.
    pub const fn stripe_secret_key(&self) -> &SecretString {
        &self.stripe.secret_key
    }

    /// Whether Stripe is the simulator of this process.
    pub const fn is_stripe_simulated(&self) -> bool {
        self.stripe.simulator.is_some()
    }

    /// The address of an Anthropic that needs no key and no model; it starts at
    /// the first call.
    ///
    /// # Errors
    /// Where there is no port to listen on.
    pub async fn anthropic_url(&self) -> io::Result<String> {
        self.anthropic.url().await
    }

    /// Where all state is kept.
    pub fn local_dir(&self) -> &Path {
        self.local_dir.path()
    }

    /// The file that is ready to `source`.
    pub fn env_file(&self) -> PathBuf {
        self.local_dir.file(ENV_FILE)
    }

    /// The time, as the functions and the simulator see it.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn write_env_file(&self) -> Result<(), LocalDirError> {
        let webhook_secret = self.webhook_secret.lock();
        let webhook_secret = webhook_secret
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut env = EnvFile::default();
        env.set("METERLINE_URL", self.url());
        env.set("METERLINE_API_KEY", self.api_key.clone());
        env.set("STRIPE_API_BASE", self.stripe_url());
        env.set("STRIPE_METER_EVENTS_BASE", self.meter_events_url());
        env.set("STRIPE_SECRET_KEY", self.stripe.secret_key.clone());
        env.set("STRIPE_WEBHOOK_SECRET", webhook_secret);
        env.set("STRIPE_WEBHOOK_URL", self.webhook_url());
        env.set(UsageApi::VARIABLE, self.stripe().usage_api().as_str());
        for (name, value) in self.tables.connection.variables() {
            env.set(name, value);
        }
        for (name, value) in self.notifications.variables() {
            env.set(name, value);
        }
        for (name, value) in self.tables.ledger.tables().variables() {
            env.set(name, value);
        }
        env.write(&self.local_dir)
    }
}

/// The ports of what runs here.
struct Listeners {
    api: TcpListener,
    dynamodb: Option<TcpListener>,
    stripe: Option<TcpListener>,
}

impl Listeners {
    fn bind(options: &Options) -> Result<Self, StartError> {
        let dynamodb = options.dynamodb_elsewhere.is_none();
        let dynamodb = dynamodb.then(|| listen("DYNAMODB_PORT", options.dynamodb_port));
        let stripe = options.stripe_elsewhere.is_none();
        let stripe = stripe.then(|| listen("STRIPE_PORT", options.stripe_port));
        Ok(Self {
            api: listen("METERLINE_PORT", options.meterline_port)?,
            dynamodb: dynamodb.transpose()?,
            stripe: stripe.transpose()?,
        })
    }
}

fn listen(variable: &'static str, port: u16) -> Result<TcpListener, StartError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map_err(|source| StartError::Port {
        variable,
        port,
        source,
    })
}
