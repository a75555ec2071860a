//! The databases, the proxies before them, and the customers.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use billing::Timestamp;
use ledger::{Ledger, NewApiKey, Scope};
use meterline_cli::catalog::CatalogSetupOptions;
use meterline_cli::secret_file::SecretFile;
use meterline_cli::{CatalogFile, WebhookOptions, set_up_catalog};
use secrecy::SecretString;
use serde_json::json;
use stack::dynamodb::{DynamoDb, StreamRecords};
use stripe::UsageApi;
use stripe_simulator::{Config, Data, Simulator};
use test_support::HandClock;
use tokio::runtime::Handle;

use crate::direct::{Direct, integer, text};
use crate::endpoint::Endpoint;
use crate::fault::Faults;
use crate::functions::{Functions, Surroundings, patient_ledger, stripe_client};
use crate::proxy::{Proxy, Service, Traffic};
use crate::{BEGINNING_MS, Options, SoakError};

/// Customers who live in the account's time, and on test clocks of their own.
const CUSTOMERS: usize = 10;
const CUSTOMERS_ON_TEST_CLOCKS: usize = 2;

/// The price that customers are onboarded with.
const LOOKUP_KEY: &str = "agent_operations_monthly";

/// What [`crate::agents::ACTIONS`] are counted by.
const CATALOG: &str = r#"{
  "meters": [
    { "event_name": "agent_operations", "product_name": "Agent operations",
      "lookup_key": "agent_operations_monthly",
      "price": { "currency": "usd", "unit_amount_decimal": "2" },
      "actions": ["document_processed"] },
    { "event_name": "tool_calls", "product_name": "Tool calls",
      "lookup_key": "tool_calls_monthly",
      "price": { "currency": "usd", "unit_amount_decimal": "0.0004" },
      "actions": ["tool:*"] }
  ],
  "default_meter": "agent_operations"
}"#;

/// A test clock goes no further at once than two of its customer's periods.
const ADVANCE_S_MAX: i64 = 50 * 86_400;

/// A customer, as its agents know it.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) id: String,
    /// The test clock that it lives by.
    pub(crate) test_clock: Option<String>,
}

/// Everything but the functions: what outlives a kill.
pub(crate) struct World {
    pub(crate) clock: HandClock,
    pub(crate) faults: Faults,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) dynamodb_proxy: Proxy,
    pub(crate) stripe_proxy: Proxy,
    pub(crate) direct: Direct,
    pub(crate) endpoint: Endpoint,
    pub(crate) surroundings: Surroundings,
    pub(crate) customers: Vec<Customer>,
    pub(crate) stream_records: StreamRecords,
    _dynamodb: DynamoDb,
    _simulator: Simulator,
}

/// Stripe's file, in the run's folder.
pub(crate) fn stripe_file(folder: &Path) -> std::path::PathBuf {
    folder.join("stripe.sqlite")
}

impl World {
    /// Starts the databases in `folder`, and the proxies and Stripe on the
    /// threads of `servers`; onboards the customers.
    pub(crate) async fn start(
        options: &Options,
        clock: HandClock,
        folder: &Path,
        servers: &Handle,
    ) -> Result<Self, SoakError> {
        let dynamodb = DynamoDb::start(&folder.join("dynamodb.sqlite"))?;
        let config = Config {
            data: Data::File(stripe_file(folder)),
            clock: Arc::new(clock.clone()),
            seed: Some(options.seed),
            ..Config::manual()
        };
        let simulator = on(servers, Simulator::start(config)).await??;
        let faults = Faults::new(options.seed);
        let usage_api = options.usage_api;
        let traffic = Arc::new(Traffic::default());
        let proxy = |service, upstream| {
            let proxy = Proxy::start(service, upstream, faults.clone(), Arc::clone(&traffic));
            on(servers, proxy)
        };
        let dynamodb_address = address(dynamodb.url())?;
        let dynamodb_proxy = proxy(Service::DynamoDb, dynamodb_address).await??;
        let stripe_proxy = proxy(Service::Stripe, simulator.address()).await??;
        let endpoint = Endpoint::start(faults.clone()).await?;
        let direct = Direct::new(dynamodb.url(), &simulator.url())?;
        let tables = stack::tables::create_tables(&dynamodb.connection().client()).await?;
        let ledger = patient_ledger(dynamodb.url(), tables.clone());
        let webhook_secrets = set_up(&simulator.url(), &ledger, endpoint.url(), folder).await?;
        let api_key = api_key(&ledger, &clock).await?;
        let surroundings = Surroundings {
            dynamodb_url: dynamodb_proxy.url().to_owned(),
            stripe_url: stripe_proxy.url().to_owned(),
            tables,
            webhook_secrets,
            usage_api,
            price_lookup_key: LOOKUP_KEY.to_owned(),
            api_key,
            clock: clock.clone(),
        };
        let mut world = Self {
            clock,
            faults,
            traffic,
            dynamodb_proxy,
            stripe_proxy,
            direct,
            endpoint,
            surroundings,
            customers: Vec::new(),
            stream_records: dynamodb.stream_records(),
            _dynamodb: dynamodb,
            _simulator: simulator,
        };
        world.onboard().await?;
        Ok(world)
    }

    /// Customers, in time of peace.
    async fn onboard(&mut self) -> Result<(), SoakError> {
        let functions = Functions::start(&self.surroundings)?;
        for n in 0..CUSTOMERS {
            let is_on_clock = n < CUSTOMERS_ON_TEST_CLOCKS;
            let test_clock = if is_on_clock {
                let now = self.clock.unix_ms() / 1_000;
                let path = "/v1/test_helpers/test_clocks";
                let form = [("frozen_time", now.to_string())];
                let made = self.direct.stripe_post(path, &form).await?;
                Some(text(&made, "id")?.to_owned())
            } else {
                None
            };
            let mut body = json!({
                "email": format!("agent-{n}@example.com"),
                "payment_method": "pm_card_visa",
                "external_id": format!("customer-{n}"),
            });
            if let Some(test_clock) = &test_clock {
                body["test_clock"] = json!(test_clock);
            }
            let (status, answer) = functions.post("/v1/customers", &body).await?;
            if status != 201 {
                return Err(SoakError::Onboarding(answer.to_string()));
            }
            let id = text(&answer, "customer_id")?.to_owned();
            self.customers.push(Customer { id, test_clock });
        }
        Ok(())
    }

    /// Now, in milliseconds, in the time that `customer` lives in.
    pub(crate) async fn now_ms_of(&self, customer: &Customer) -> Result<i64, SoakError> {
        match &customer.test_clock {
            None => Ok(self.clock.unix_ms()),
            Some(test_clock) => {
                let path = format!("/v1/test_helpers/test_clocks/{test_clock}");
                let test_clock = self.direct.stripe(&path).await?;
                Ok(integer(&test_clock, "frozen_time")? * 1_000)
            }
        }
    }

    /// Moves the account's time, and the test clocks with it. Nothing that was
    /// sent before is still on its way then.
    pub(crate) async fn step_ms(&self, duration_ms: i64) -> Result<(), SoakError> {
        self.dynamodb_proxy.flush().await;
        self.stripe_proxy.flush().await;
        // Time never goes back.
        self.clock.advance_ms(duration_ms.max(0));
        Ok(())
    }

    /// Moves the test clocks to the account's time, where they are behind it.
    pub(crate) async fn move_test_clocks(&self) -> Result<(), SoakError> {
        let now = self.clock.unix_ms() / 1_000;
        for customer in &self.customers {
            let Some(test_clock) = &customer.test_clock else {
                continue;
            };
            let mut frozen_time = self.now_ms_of(customer).await? / 1_000;
            while frozen_time < now {
                frozen_time = now.min(frozen_time + ADVANCE_S_MAX);
                let path = format!("/v1/test_helpers/test_clocks/{test_clock}/advance");
                let form = [("frozen_time", frozen_time.to_string())];
                self.direct.stripe_post(&path, &form).await?;
                self.direct.settle().await?;
            }
        }
        Ok(())
    }
}

/// Runs `future` on the servers' threads.
async fn on<T: Send + 'static>(
    servers: &Handle,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, io::Error> {
    servers.spawn(future).await.map_err(io::Error::other)
}

fn address(url: &str) -> Result<SocketAddr, SoakError> {
    let address = url.trim_start_matches("http://").parse();
    Ok(address.map_err(io::Error::other)?)
}

fn secret_file(folder: &Path) -> SecretFile {
    SecretFile::new(folder.join("webhook-secrets"))
}

/// The catalog and the webhook, as the operator sets them up.
async fn set_up(
    stripe_url: &str,
    ledger: &Ledger,
    webhook_url: &str,
    folder: &Path,
) -> Result<SecretString, SoakError> {
    let stripe = stripe_client(stripe_url, UsageApi::default())?;
    let file = CatalogFile::parse(Path::new("the simulation's catalog"), CATALOG)?;
    let options = CatalogSetupOptions {
        webhook: Some(WebhookOptions {
            url: webhook_url.to_owned(),
            name: None,
            secret_file: secret_file(folder),
            replace: true,
        }),
        ..CatalogSetupOptions::default()
    };
    let now = Timestamp::from_unix_ms(BEGINNING_MS);
    set_up_catalog(&stripe, ledger, &file, &options, now).await?;
    Ok(secret_file(folder).joined()?)
}

async fn api_key(ledger: &Ledger, clock: &HandClock) -> Result<SecretString, SoakError> {
    let now = billing::Clock::now(clock);
    let NewApiKey { key, row } = NewApiKey::generate(vec![Scope::Admin], now)?;
    ledger.put_api_key(&row).await?;
    Ok(key)
}
