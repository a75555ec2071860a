//! A Stripe account for many customers, each with a price of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use billing::{InvalidPrice, Price, PriceTerms};
use metering::{in_order, price_amount, price_of};
use secrecy::SecretString;
use stripe::{
    Aggregation, Client, CreateCustomer, CreateMeter, CreatePrice, CreateProduct,
    CreateSubscription, Invoice, MeterEvent, MeterEventStream, RequestOptions,
};
use stripe_simulator::{Clock, Config, DEFAULT_SECRET_KEY, Simulator};
use time::OffsetDateTime;

use crate::Pair;

const EVENT_NAME: &str = "operations";
/// Stripe's limit for a request to the meter event stream.
const EVENTS_PER_REQUEST: usize = 100;
const IN_FLIGHT: usize = 16;
/// Past the end of every monthly period and its draft's hours.
const PERIOD_MS: i64 = 32 * 24 * 3_600_000;
const DRAFT_MS: i64 = 73 * 3_600_000;

/// Why an account could not be billed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The simulator did not start, or does not answer its own requests.
    #[error("the simulator: {0}")]
    Simulator(String),
    /// Stripe refused something.
    #[error("{what}: {source}")]
    Stripe {
        /// What it was asked.
        what: String,
        /// What it said.
        source: stripe::Error,
    },
    /// A price came back as none.
    #[error("{what}: {source}")]
    Price {
        /// Which.
        what: String,
        /// Why it is none.
        source: InvalidPrice,
    },
    /// A period was not billed.
    #[error("{0}: the period has no final invoice")]
    NoInvoice(String),
    /// A cost beyond Stripe's amounts.
    #[error("{0}: the cost is more than an amount holds")]
    TooMuch(String),
}

/// One pair's figures, each in minor units and with its units.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Billed {
    /// What `billing` makes of the price as Stripe has it.
    pub(crate) cost: i64,
    pub(crate) preview: (i64, u64),
    pub(crate) invoice: (i64, u64),
}

struct HandClock(AtomicI64);

impl Clock for HandClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// An open account.
pub struct Account {
    simulator: Simulator,
    clock: Arc<HandClock>,
    stripe: Client,
    http: reqwest::Client,
    product: String,
    meter: String,
}

/// One pair's customer.
struct Subscriber {
    customer_id: String,
    subscription_id: String,
    cost: i64,
}

impl Account {
    /// Opens one with a meter.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn open() -> Result<Self, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::Simulator(error.to_string());
        let now_ms = OffsetDateTime::now_utc().unix_timestamp() * 1_000;
        let clock = Arc::new(HandClock(AtomicI64::new(now_ms)));
        let simulator = Simulator::start(Config {
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            ..Config::manual()
        });
        let simulator = simulator.await.map_err(|error| broken(&error))?;
        // Another one may have installed it.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .tls_certs_only([])
            .no_proxy()
            .build()
            .map_err(|error| broken(&error))?;
        let config = stripe::Config::new(SecretString::from(DEFAULT_SECRET_KEY))
            .with_api_base(simulator.url())
            .with_meter_events_base(simulator.url());
        let stripe = Client::new(config).map_err(|error| broken(&error))?;
        let options = RequestOptions::new;
        let product = CreateProduct {
            name: "Operations".to_owned(),
            ..CreateProduct::default()
        };
        let product = stripe.create_product(&product, &options()).await;
        let meter = CreateMeter {
            display_name: "Operations".to_owned(),
            event_name: EVENT_NAME.to_owned(),
            formula: Aggregation::Sum,
        };
        let meter = stripe.create_meter(&meter, &options()).await;
        Ok(Self {
            product: product.map_err(failed("product"))?.id,
            meter: meter.map_err(failed("meter"))?.id,
            simulator,
            clock,
            stripe,
            http,
        })
    }

    /// Closes it.
    pub async fn close(self) {
        self.simulator.stop().await;
    }

    /// Subscribes a customer to each pair's price, sends the usage, and lets the
    /// period pass.
    pub(crate) async fn bill(&self, pairs: &[Pair]) -> Result<Vec<Billed>, Failure> {
        let subscribers = pairs.iter().map(|pair| self.subscribe(pair)).collect();
        let subscribers = all(in_order(subscribers, IN_FLIGHT).await)?;
        self.send(pairs, &subscribers).await?;
        self.settle().await?;
        let each = || pairs.iter().zip(&subscribers);
        let previews = each().map(|(pair, subscriber)| self.preview(pair, subscriber));
        let previews = all(in_order(previews.collect(), IN_FLIGHT).await)?;
        for passing_ms in [PERIOD_MS, DRAFT_MS] {
            self.clock.0.fetch_add(passing_ms, Ordering::SeqCst);
            self.settle().await?;
        }
        let invoices = each().map(|(pair, subscriber)| self.invoice(pair, subscriber));
        let invoices = all(in_order(invoices.collect(), IN_FLIGHT).await)?;
        let figures = subscribers.iter().zip(previews.into_iter().zip(invoices));
        let billed = figures.map(|(subscriber, (preview, invoice))| Billed {
            cost: subscriber.cost,
            preview,
            invoice,
        });
        Ok(billed.collect())
    }

    async fn subscribe(&self, pair: &Pair) -> Result<Subscriber, Failure> {
        let options = RequestOptions::new;
        let create = CreatePrice {
            product: self.product.clone(),
            currency: pair.terms.currency.clone(),
            amount: price_amount(&pair.terms),
            interval: "month".to_owned(),
            meter: Some(self.meter.clone()),
            ..CreatePrice::default()
        };
        let price = self.stripe.create_price(&create, &options()).await;
        let price_id = price.map_err(failed(pair))?.id;
        let customer = CreateCustomer {
            payment_method: Some("pm_card_visa".to_owned()),
            ..CreateCustomer::default()
        };
        let customer = self.stripe.create_customer(&customer, &options()).await;
        let customer_id = customer.map_err(failed(pair))?.id;
        let create = CreateSubscription {
            customer: customer_id.clone(),
            prices: vec![price_id.clone()],
            ..CreateSubscription::default()
        };
        let subscription = self.stripe.create_subscription(&create, &options()).await;
        Ok(Subscriber {
            customer_id,
            subscription_id: subscription.map_err(failed(pair))?.id,
            cost: self.cost(pair, &price_id).await?,
        })
    }

    /// By the price as Stripe has it, stored and read as a customer's row is.
    async fn cost(&self, pair: &Pair, price_id: &str) -> Result<i64, Failure> {
        let invalid = |source| Failure::Price {
            what: pair.to_string(),
            source,
        };
        let price = self.stripe.retrieve_price(price_id).await;
        let price = price_of(&price.map_err(failed(pair))?).map_err(invalid)?;
        let stored = PriceTerms::from(price);
        let price = Price::try_from(stored).map_err(invalid)?;
        let cost = price.cost(pair.units).minor_units();
        cost.ok_or_else(|| Failure::TooMuch(pair.to_string()))
    }

    async fn send(&self, pairs: &[Pair], subscribers: &[Subscriber]) -> Result<(), Failure> {
        let stream = MeterEventStream::new(self.stripe.clone());
        let events: Vec<MeterEvent> = pairs
            .iter()
            .zip(subscribers)
            .flat_map(|(pair, subscriber)| {
                let values = pair.events.iter().enumerate();
                values.map(|(index, value)| {
                    let identifier = format!("{}-{index}", subscriber.customer_id);
                    let at_ms = self.clock.now_ms();
                    let customer_id = subscriber.customer_id.as_str();
                    MeterEvent::new(identifier, EVENT_NAME, at_ms, customer_id, *value)
                })
            })
            .collect();
        for events in events.chunks(EVENTS_PER_REQUEST) {
            let sent = stream.send(events, &RequestOptions::new()).await;
            sent.map_err(failed("usage"))?;
        }
        Ok(())
    }

    async fn settle(&self) -> Result<(), Failure> {
        let url = format!("{}/_simulator/settle", self.simulator.url());
        let request = self.http.post(url).bearer_auth(DEFAULT_SECRET_KEY);
        let answer = request.send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.map_err(|error| Failure::Simulator(error.to_string()))?;
        Ok(())
    }

    async fn preview(&self, pair: &Pair, subscriber: &Subscriber) -> Result<(i64, u64), Failure> {
        let (customer_id, subscription_id) = (&subscriber.customer_id, &subscriber.subscription_id);
        let preview = self
            .stripe
            .create_invoice_preview(customer_id, subscription_id)
            .await;
        Ok(figure(&preview.map_err(failed(pair))?))
    }

    /// The invoice of the first period.
    async fn invoice(&self, pair: &Pair, subscriber: &Subscriber) -> Result<(i64, u64), Failure> {
        let invoices = self.stripe.list_all_invoices(&subscriber.customer_id).await;
        let invoices = invoices.map_err(failed(pair))?;
        let is_final = |invoice: &&Invoice| {
            invoice.status_transitions.finalized_at.is_some()
                && invoice.billing_reason.as_deref() == Some("subscription_cycle")
        };
        let invoice = invoices.iter().rev().find(is_final);
        let invoice = invoice.ok_or_else(|| Failure::NoInvoice(pair.to_string()))?;
        Ok(figure(invoice))
    }
}

fn all<T>(results: Vec<Result<T, Failure>>) -> Result<Vec<T>, Failure> {
    results.into_iter().collect()
}

fn failed(what: impl std::fmt::Display) -> impl FnOnce(stripe::Error) -> Failure {
    let what = what.to_string();
    move |source| Failure::Stripe { what, source }
}

/// What an invoice bills, and for how many units.
fn figure(invoice: &Invoice) -> (i64, u64) {
    let units = invoice.lines.iter().filter_map(|line| line.quantity);
    let units = units.filter_map(|units| u64::try_from(units).ok()).sum();
    (invoice.total, units)
}
