//! What Meterline stands on: DynamoDB and Stripe, in this process or elsewhere.

use std::net::TcpListener;
use std::sync::Arc;

use aws_sdk_dynamodb::config::{AppName, SharedInterceptor};
use billing::Clock;
use ledger::{Ledger, TableNames};
use meterline_cli::SetupError;
use rollup::LimitLooks;
use secrecy::SecretString;
use stripe_simulator::{Background, Data, Listen, Simulator};

use crate::connection::Connection;
use crate::dynamodb::DynamoDb;
use crate::event_pump::{EventPump, EventPumpError, Target, Whose};
use crate::keys;
use crate::local_dir::LocalDir;
use crate::options::{Options, Pumping, StripeElsewhere};
use crate::stream_pump::StreamPump;
use crate::stripe_requests::StripeRequests;
use crate::system::StartError;
use crate::tables;

const DYNAMODB_FILE: &str = "dynamodb.sqlite";
const STRIPE_FILE: &str = "stripe.sqlite";

/// The tables, and the DynamoDB that they are in.
#[derive(Debug)]
pub(crate) struct Tables {
    /// None where it runs elsewhere.
    pub(crate) embedded: Option<DynamoDb>,
    pub(crate) connection: Connection,
    pub(crate) client: aws_sdk_dynamodb::Client,
    pub(crate) ledger: Ledger,
}

impl Tables {
    /// Starts DynamoDB on `listener`, unless it is elsewhere, and creates the
    /// tables that are missing.
    pub(crate) async fn start(
        options: &Options,
        local_dir: &LocalDir,
        listener: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        let elsewhere = options.dynamodb_elsewhere.as_deref();
        let embedded = listener
            .map(|listener| DynamoDb::serve(&local_dir.file(DYNAMODB_FILE), listener))
            .transpose()?;
        let connection = match (&embedded, elsewhere) {
            (Some(embedded), _) => embedded.connection(),
            (None, url) => Connection::elsewhere(url.unwrap_or_default()),
        };
        let client = intercepted(connection.client(), options.dynamodb_interceptor.clone());
        let names = tables::create_tables(&client).await;
        let names = names.map_err(|source| match elsewhere {
            Some(url) => StartError::DynamoDbElsewhere {
                url: url.to_owned(),
                source,
            },
            None => StartError::Tables(source),
        })?;
        Ok(Self {
            ledger: Ledger::new(client.clone(), names),
            embedded,
            connection,
            client,
        })
    }

    /// The tables, as each function reaches them.
    pub(crate) fn ledgers(&self) -> Ledgers {
        Ledgers {
            client: self.client.clone(),
            names: self.ledger.tables().clone(),
        }
    }

    /// What rolls up the audit log's stream, and has `limits` looked at.
    pub(crate) fn stream_pump(&self, limits: LimitLooks) -> StreamPump {
        StreamPump::new(
            self.client.clone(),
            self.connection.streams_client(),
            self.ledgers().of("rollup"),
            limits,
            self.embedded
                .as_ref()
                .map(|embedded| embedded.stream_records()),
        )
    }
}

/// The tables for each function: its calls carry its name, so that it can be told
/// which function makes which (AWS SDKs and Tools Reference Guide: "Application ID").
#[derive(Clone, Debug)]
pub struct Ledgers {
    client: aws_sdk_dynamodb::Client,
    names: TableNames,
}

impl Ledgers {
    /// Those of `function`.
    pub fn of(&self, function: &'static str) -> Ledger {
        let config = self.client.config().to_builder();
        let config = match AppName::new(function) {
            Ok(name) => config.app_name(name),
            Err(_) => config,
        };
        let client = aws_sdk_dynamodb::Client::from_conf(config.build());
        Ledger::new(client, self.names.clone())
    }
}

fn intercepted(
    client: aws_sdk_dynamodb::Client,
    interceptor: Option<SharedInterceptor>,
) -> aws_sdk_dynamodb::Client {
    match interceptor {
        Some(interceptor) => {
            let config = client.config().to_builder().interceptor(interceptor);
            aws_sdk_dynamodb::Client::from_conf(config.build())
        }
        None => client,
    }
}

/// Stripe, and how it is reached.
pub(crate) struct Stripe {
    /// None where it runs elsewhere.
    pub(crate) simulator: Option<Simulator>,
    pub(crate) client: stripe::Client,
    pub(crate) secret_key: SecretString,
    pub(crate) api_base: String,
    pub(crate) meter_events_base: String,
    /// What webhooks are signed with, where that is known before Stripe is set up.
    pub(crate) webhook_secret: Option<SecretString>,
}

impl Stripe {
    /// Starts the simulator on `listener`, unless Stripe is elsewhere.
    pub(crate) async fn start(
        options: &Options,
        local_dir: &LocalDir,
        listener: Option<TcpListener>,
    ) -> Result<Self, StartError> {
        let (simulator, reached) = match (&options.stripe_elsewhere, listener) {
            (Some(elsewhere), _) => (None, elsewhere.clone()),
            (None, listener) => {
                let simulator = simulate(options, local_dir, listener).await?;
                let url = simulator.url();
                let reached = StripeElsewhere {
                    secret_key: stripe_simulator::DEFAULT_SECRET_KEY.into(),
                    api_base: url.clone(),
                    meter_events_base: url,
                    webhook_secret: None,
                };
                (Some(simulator), reached)
            }
        };
        let config = stripe::Config::new(reached.secret_key.clone())
            .with_api_base(&reached.api_base)
            .with_meter_events_base(&reached.meter_events_base)
            .with_usage_api(options.usage_api);
        if config.livemode() {
            return Err(StartError::LiveKey);
        }
        let webhook_secret = match options.poll_events_every {
            Some(_) => Some(keys::webhook_secret(local_dir)?),
            None => reached.webhook_secret,
        };
        Ok(Self {
            simulator,
            client: stripe::Client::new(config)?,
            secret_key: reached.secret_key,
            api_base: reached.api_base,
            meter_events_base: reached.meter_events_base,
            webhook_secret,
        })
    }

    /// What fetches Stripe's events, where they are to be fetched.
    pub(crate) fn event_pump(
        &self,
        options: &Options,
        target: Target,
        whose: Whose,
        local_dir: &LocalDir,
    ) -> Result<Option<Arc<EventPump>>, EventPumpError> {
        if options.poll_events_every.is_none() {
            return Ok(None);
        }
        let requests = StripeRequests::new(&self.api_base, self.secret_key.clone())?;
        let clock = Arc::clone(&options.clock);
        let pump = EventPump::new(requests, target, whose, local_dir, clock)?;
        Ok(Some(Arc::new(pump)))
    }

    /// `source` as the reason why nothing starts.
    pub(crate) fn setup_error(&self, source: SetupError) -> StartError {
        match self.simulator {
            Some(_) => StartError::Setup(source),
            None => StartError::StripeElsewhere {
                url: self.api_base.clone(),
                source,
            },
        }
    }
}

async fn simulate(
    options: &Options,
    local_dir: &LocalDir,
    listener: Option<TcpListener>,
) -> Result<Simulator, StartError> {
    let mut config = stripe_simulator::Config {
        data: Data::File(local_dir.file(STRIPE_FILE)),
        clock: Arc::new(SharedClock(Arc::clone(&options.clock))),
        background: match options.pumping {
            Pumping::Automatic => Background::Automatic,
            Pumping::Manual => Background::Manual,
        },
        ..stripe_simulator::Config::default()
    };
    if let Some(listener) = listener {
        let listen = || {
            listener.set_nonblocking(true)?;
            tokio::net::TcpListener::from_std(listener)
        };
        config.listen = Listen::Listener(listen().map_err(StartError::Listen)?);
    }
    Ok(Simulator::start(config).await?)
}

/// The functions' clock, for the simulator, which shares no code with them.
struct SharedClock(Arc<dyn Clock>);

impl stripe_simulator::Clock for SharedClock {
    fn now_ms(&self) -> i64 {
        self.0.now().unix_ms()
    }
}
