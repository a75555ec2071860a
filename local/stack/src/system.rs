//! The whole system, from one call to the other: started, used, stopped.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use billing::Clock;
use courier::{Courier, CourierError};
use ledger::Ledger;
use redelivery::{Redelivery, RedeliveryError, Report};
use report::DashboardLinks;
use secrecy::SecretString;
use stripe::UsageApi;
use webhook::{SweepError, SweepReport};

use crate::anthropic::Anthropic;
use crate::api::{self, Api, Parts, WEBHOOK_PATH, Webhook};
use crate::backends::{Stripe, Tables};
use crate::catalog::{self, CatalogNames};
use crate::env_file::{ENV_FILE, EnvFile};
use crate::event_pump::{EventPump, EventPumpError, Polling, Pumped, Target, Whose};
use crate::keys;
use crate::listeners::Listeners;
use crate::local_dir::{LocalDir, LocalDirError};
use crate::notifications::Notifications;
use crate::options::{Options, Pumping};
use crate::schedule::{self, Schedule};
use crate::story::Place;
use crate::stream_pump::{Following, PumpError, StreamPump};

pub use crate::start_error::StartError;

/// The system, running. Dropped, it stops as if killed: nothing that was
/// answered is lost.
pub struct System {
    api: Api,
    schedule: Option<Schedule>,
    following: Option<Following>,
    polling: Option<Polling>,
    events: Option<Arc<EventPump>>,
    catalog_names: CatalogNames,
    pump: Arc<StreamPump>,
    redelivery: Arc<Redelivery>,
    courier: Option<Arc<Courier>>,
    webhook: Webhook,
    sweeping: webhook::State,
    notifications: Notifications,
    webhook_secret: Mutex<SecretString>,
    anthropic: Arc<Anthropic>,
    stripe: Stripe,
    tables: Tables,
    api_key: SecretString,
    url: String,
    webhook_url: String,
    clock: Arc<dyn Clock>,
    // Last: the folder is free again when nothing writes to it any more.
    local_dir: LocalDir,
}

/// The system as a place to play on.
impl From<&System> for Place {
    fn from(system: &System) -> Self {
        Self {
            url: system.url.clone(),
            api_key: system.api_key.clone(),
            webhook_url: system.webhook_url.clone(),
            webhook_secret: system.webhook_secret(),
            ledger: system.tables.ledger.clone(),
            stripe: system.stripe.client.clone(),
            stripe_url: system.stripe.api_base.clone(),
            stripe_secret_key: system.stripe.secret_key.clone(),
            catalog_names: system.catalog_names.clone(),
            fetches_events: system.fetches_events(),
            folder: system.local_dir().to_owned(),
            notifications_file: system.notifications.file().to_owned(),
            environment: system.environment(),
            clock: system.clock(),
            pump: Some(Arc::clone(&system.pump)),
            anthropic: Arc::clone(&system.anthropic),
        }
    }
}

/// What the functions are made of: for customers of the price `lookup_key`, who get `links`.
fn parts(
    options: &Options,
    tables: &Tables,
    stripe: &Stripe,
    notifications: &Notifications,
    (lookup_key, links): (String, DashboardLinks),
) -> Parts {
    Parts {
        ledgers: tables.ledgers(),
        stripe: stripe.client.clone(),
        lookup_key,
        links,
        key_rate: options.key_rate,
        frame_ancestors: options.frame_ancestors.clone(),
        webhook: webhook::Configuration {
            notifier: notifications.notifier(&tables.connection),
            channels: options.delivery.channels.clone(),
            dunning: options.dunning,
            ..webhook::Configuration::default()
        },
        delivery: options.delivery.clone(),
        ses: tables.connection.ses_client(notifications.url()),
        clock: Arc::clone(&options.clock),
    }
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
        let api_key = keys::demo_api_key(&local_dir, &tables.ledger, options.clock.now()).await?;
        let webhook_url = format!("{url}{WEBHOOK_PATH}");
        let names = CatalogNames::new(options.usage_api, options.run_id.as_deref());
        let catalog = catalog::set_up(&stripe, &names, &webhook_url, &local_dir).await;
        let catalog = catalog.map_err(|source| stripe.setup_error(source))?;
        let webhook_secret = catalog.webhook_secrets;
        let link_secret = keys::dashboard_link_secret(&local_dir)?;
        let links = DashboardLinks::new(&link_secret, Some(url.clone()))?;
        let notifications = Notifications::start(&local_dir).map_err(StartError::Notifications)?;
        let price = names.lookup_key.clone();
        let parts = parts(&options, &tables, &stripe, &notifications, (price, links));
        let webhook = Webhook::new(parts.clone(), &webhook_secret)?;
        // A schedule signs nothing.
        let sweeping = parts.webhook_state(Vec::new());
        let routes = api::router(&parts, &webhook);
        let api = Api::serve(listeners.api, routes).map_err(StartError::Listen)?;
        let pump = Arc::new(tables.stream_pump(parts.limit_looks()));
        let redelivery = Arc::new(parts.redelivery());
        let courier = parts.courier()?.map(Arc::new);
        let whose = Whose::of(options.run_id.as_deref(), &tables.ledger, catalog.meter_id);
        let target = Target::new(&webhook_url, &webhook_secret);
        let events = stripe.event_pump(&options, target, whose, &local_dir)?;
        // Whoever fetches Stripe's lists of events misses nothing that a sweep would find.
        let swept = events.is_none().then(|| sweeping.clone());
        let is_automatic = options.pumping == Pumping::Automatic;
        let system = Self {
            api,
            schedule: is_automatic
                .then(|| Schedule::start(Arc::clone(&redelivery), courier.clone(), swept)),
            following: is_automatic.then(|| Following::start(Arc::clone(&pump))),
            polling: events
                .clone()
                .zip(options.poll_events_every.filter(|_| is_automatic))
                .map(|(events, every)| Polling::start(events, every)),
            events,
            catalog_names: names,
            pump,
            redelivery,
            courier,
            webhook,
            sweeping,
            notifications,
            webhook_secret: Mutex::new(webhook_secret),
            anthropic: Arc::default(),
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
        if let Some(polling) = self.polling {
            polling.stop().await;
        }
        drop(self.events);
        self.api.stop().await;
        if let Some(schedule) = self.schedule {
            schedule.stop().await;
        }
        if let Some(following) = self.following {
            following.stop().await;
        }
        drop(self.anthropic);
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

    /// One look for Stripe's events, where they are fetched; none of them where
    /// Stripe sends them. For a system that does not pump by itself.
    ///
    /// # Errors
    /// An [`EventPumpError`]; the next look repeats what this one did not finish.
    pub async fn pump_events(&self) -> Result<Pumped, EventPumpError> {
        match &self.events {
            Some(events) => events.pump().await,
            None => Ok(Pumped::default()),
        }
    }

    /// One run of redelivery, as the schedule makes one every minute.
    ///
    /// # Errors
    /// Redelivery's; what it had settled stays settled.
    pub async fn redeliver(&self) -> Result<Report, RedeliveryError> {
        schedule::redeliver(&self.redelivery).await
    }

    /// One run of the deliveries of notifications, as the schedule makes one every
    /// minute; none where there is no way for them.
    ///
    /// # Errors
    /// The courier's; what it had noted stays noted.
    pub async fn deliver_notifications(&self) -> Result<courier::Report, CourierError> {
        match &self.courier {
            Some(courier) => schedule::deliver(courier).await,
            None => Ok(courier::Report::default()),
        }
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

    /// Where all state is kept.
    pub fn local_dir(&self) -> &Path {
        self.local_dir.path()
    }

    /// The file that is ready to `source`.
    pub fn env_file(&self) -> PathBuf {
        self.local_dir.file(ENV_FILE)
    }

    /// By which names the catalog is found in Stripe.
    pub const fn catalog_names(&self) -> &CatalogNames {
        &self.catalog_names
    }

    /// Whether Stripe's events are fetched, and not sent by it.
    pub const fn fetches_events(&self) -> bool {
        self.events.is_some()
    }

    /// What webhooks are signed with, comma-separated.
    pub fn webhook_secret(&self) -> SecretString {
        let secret = self.webhook_secret.lock();
        secret.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The variables that other programs need to join in: what the env file holds.
    pub fn environment(&self) -> Vec<(&'static str, SecretString)> {
        let plain = |text: &str| SecretString::from(text);
        let mut variables = vec![
            ("METERLINE_URL", plain(self.url())),
            ("METERLINE_API_KEY", self.api_key.clone()),
            ("STRIPE_API_BASE", plain(self.stripe_url())),
            ("STRIPE_METER_EVENTS_BASE", plain(self.meter_events_url())),
            ("STRIPE_SECRET_KEY", self.stripe.secret_key.clone()),
            ("STRIPE_WEBHOOK_SECRET", self.webhook_secret()),
            ("STRIPE_WEBHOOK_URL", plain(self.webhook_url())),
            (
                UsageApi::VARIABLE,
                plain(self.stripe().usage_api().as_str()),
            ),
        ];
        let connection = self.tables.connection.variables().into_iter();
        variables.extend(connection.map(|(name, value)| (name, plain(&value))));
        let notifications = self.notifications.variables().into_iter();
        variables.extend(notifications.map(|(name, value)| (name, plain(value))));
        let tables = self.tables.ledger.tables().variables().into_iter();
        variables.extend(tables.map(|(name, value)| (name, plain(value))));
        variables
    }

    /// The time, as the functions and the simulator see it.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    fn write_env_file(&self) -> Result<(), LocalDirError> {
        let mut env = EnvFile::default();
        for (name, value) in self.environment() {
            env.set(name, value);
        }
        env.write(&self.local_dir)
    }
}
