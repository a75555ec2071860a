//! A Stripe account for many customers, each with prices of its own.

use std::sync::Arc;

use billing::{InvalidPrice, Money, Price, PriceTerms};
use metering::{in_order, price_amount, price_of};
use secrecy::SecretString;
use stripe::{
    Aggregation, Client, CreateCustomer, CreateMeter, CreatePrice, CreateProduct,
    CreateSubscription, Invoice, MeterEvent, MeterEventStream, RequestOptions,
};
use stripe_simulator::{Clock, Config, DEFAULT_SECRET_KEY, Simulator};
use test_support::HandClock;
use time::OffsetDateTime;

use crate::customer::ITEMS_MAX;
use crate::{Customer, Pair};

/// The meters: that of a customer's first item, of its second, of its third.
const EVENT_NAMES: [&str; ITEMS_MAX] = ["operations", "tokens", "pages"];
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
    /// Prices that have no sum.
    #[error("{0}: the prices are in several currencies")]
    Currencies(String),
    /// A cost beyond Stripe's amounts.
    #[error("{0}: the cost is more than an amount holds")]
    TooMuch(String),
}

/// One customer's figures, each in minor units and with its units.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Billed {
    /// What `billing` makes of the prices as Stripe has them.
    pub(crate) cost: i64,
    pub(crate) preview: (i64, u64),
    pub(crate) invoice: (i64, u64),
}

/// An open account.
pub struct Account {
    simulator: Simulator,
    clock: Arc<HandClock>,
    stripe: Client,
    http: reqwest::Client,
    product: String,
    /// In the order of [`EVENT_NAMES`].
    meters: Vec<String>,
}

/// A customer as Stripe has it.
struct Subscriber {
    customer_id: String,
    subscription_id: String,
    cost: i64,
}

impl Account {
    /// Opens one with its meters.
    ///
    /// # Errors
    /// A [`Failure`].
    pub async fn open() -> Result<Self, Failure> {
        let broken = |error: &dyn std::fmt::Display| Failure::Simulator(error.to_string());
        let now_ms = OffsetDateTime::now_utc().unix_timestamp() * 1_000;
        let clock = Arc::new(HandClock::at_unix_ms(now_ms));
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
        let mut meters = Vec::new();
        for event_name in EVENT_NAMES {
            let meter = CreateMeter {
                display_name: event_name.to_owned(),
                event_name: event_name.to_owned(),
                formula: Aggregation::Sum,
            };
            let meter = stripe.create_meter(&meter, &options()).await;
            meters.push(meter.map_err(failed(event_name))?.id);
        }
        Ok(Self {
            product: product.map_err(failed("product"))?.id,
            meters,
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

    /// Subscribes each customer to its prices, sends the usage, and lets the
    /// period pass.
    pub(crate) async fn bill(&self, customers: &[Customer]) -> Result<Vec<Billed>, Failure> {
        let subscribers = customers.iter().map(|customer| self.subscribe(customer));
        let subscribers = all(in_order(subscribers.collect(), IN_FLIGHT).await)?;
        self.send(customers, &subscribers).await?;
        self.settle().await?;
        let each = || customers.iter().zip(&subscribers);
        let previews = each().map(|(customer, subscriber)| self.preview(customer, subscriber));
        let previews = all(in_order(previews.collect(), IN_FLIGHT).await)?;
        for passing_ms in [PERIOD_MS, DRAFT_MS] {
            self.clock.advance_ms(passing_ms);
            self.settle().await?;
        }
        let invoices = each().map(|(customer, subscriber)| self.invoice(customer, subscriber));
        let invoices = all(in_order(invoices.collect(), IN_FLIGHT).await)?;
        let figures = subscribers.iter().zip(previews.into_iter().zip(invoices));
        let billed = figures.map(|(subscriber, (preview, invoice))| Billed {
            cost: subscriber.cost,
            preview,
            invoice,
        });
        Ok(billed.collect())
    }

    async fn subscribe(&self, customer: &Customer) -> Result<Subscriber, Failure> {
        let options = RequestOptions::new;
        let mut prices = Vec::new();
        for (pair, meter) in customer.pairs.iter().zip(&self.meters) {
            let create = CreatePrice {
                product: self.product.clone(),
                currency: pair.terms.currency.clone(),
                amount: price_amount(&pair.terms),
                interval: "month".to_owned(),
                meter: Some(meter.clone()),
                ..CreatePrice::default()
            };
            let price = self.stripe.create_price(&create, &options()).await;
            prices.push(price.map_err(failed(pair))?.id);
        }
        let create = CreateCustomer {
            payment_method: Some("pm_card_visa".to_owned()),
            ..CreateCustomer::default()
        };
        let created = self.stripe.create_customer(&create, &options()).await;
        let customer_id = created.map_err(failed(customer))?.id;
        let cost = self.cost(customer, &prices).await?;
        let create = CreateSubscription {
            customer: customer_id.clone(),
            prices,
            ..CreateSubscription::default()
        };
        let subscription = self.stripe.create_subscription(&create, &options()).await;
        Ok(Subscriber {
            customer_id,
            subscription_id: subscription.map_err(failed(customer))?.id,
            cost,
        })
    }

    /// What the items come to together, each by its price.
    async fn cost(&self, customer: &Customer, prices: &[String]) -> Result<i64, Failure> {
        let mut sum: Option<Money> = None;
        for (pair, price_id) in customer.pairs.iter().zip(prices) {
            let cost = self.price(pair, price_id).await?.cost(pair.units);
            sum = Some(match sum {
                None => cost,
                Some(sum) => sum
                    .checked_add(&cost)
                    .ok_or_else(|| Failure::Currencies(customer.to_string()))?,
            });
        }
        let minor_units = sum.and_then(|sum| sum.minor_units());
        minor_units.ok_or_else(|| Failure::TooMuch(customer.to_string()))
    }

    /// The price as Stripe has it, stored and read as a customer's row is.
    async fn price(&self, pair: &Pair, price_id: &str) -> Result<Price, Failure> {
        let invalid = |source| Failure::Price {
            what: pair.to_string(),
            source,
        };
        let price = self.stripe.retrieve_price(price_id).await;
        let price = price_of(&price.map_err(failed(pair))?).map_err(invalid)?;
        let stored = PriceTerms::from(price);
        Price::try_from(stored).map_err(invalid)
    }

    async fn send(
        &self,
        customers: &[Customer],
        subscribers: &[Subscriber],
    ) -> Result<(), Failure> {
        let stream = MeterEventStream::new(self.stripe.clone());
        let each = customers.iter().zip(subscribers);
        let events: Vec<MeterEvent> = each
            .flat_map(|(customer, subscriber)| self.usage(customer, &subscriber.customer_id))
            .collect();
        for events in events.chunks(EVENTS_PER_REQUEST) {
            let sent = stream.send(events, &RequestOptions::new()).await;
            sent.map_err(failed("usage"))?;
        }
        Ok(())
    }

    /// The usage of each pair, for its own meter.
    fn usage(&self, customer: &Customer, customer_id: &str) -> Vec<MeterEvent> {
        let at_ms = self.clock.unix_ms();
        let of_pair = |(pair, event_name): (&Pair, &str)| {
            let event = |(index, value): (usize, &u64)| {
                let identifier = format!("{customer_id}-{event_name}-{index}");
                MeterEvent::new(identifier, event_name, at_ms, customer_id, *value)
            };
            let events = pair.events.iter().enumerate().map(event);
            events.collect::<Vec<_>>()
        };
        let pairs = customer.pairs.iter().zip(EVENT_NAMES);
        pairs.flat_map(of_pair).collect()
    }

    async fn settle(&self) -> Result<(), Failure> {
        let url = format!("{}/_simulator/settle", self.simulator.url());
        let request = self.http.post(url).bearer_auth(DEFAULT_SECRET_KEY);
        let answer = request.send().await;
        let answer = answer.and_then(reqwest::Response::error_for_status);
        answer.map_err(|error| Failure::Simulator(error.to_string()))?;
        Ok(())
    }

    async fn preview(
        &self,
        customer: &Customer,
        subscriber: &Subscriber,
    ) -> Result<(i64, u64), Failure> {
        let (customer_id, subscription_id) = (&subscriber.customer_id, &subscriber.subscription_id);
        let preview = self
            .stripe
            .create_invoice_preview(customer_id, subscription_id)
            .await;
        Ok(figure(&preview.map_err(failed(customer))?))
    }

    /// The invoice of the first period.
    async fn invoice(
        &self,
        customer: &Customer,
        subscriber: &Subscriber,
    ) -> Result<(i64, u64), Failure> {
        let invoices = self.stripe.list_all_invoices(&subscriber.customer_id).await;
        let invoices = invoices.map_err(failed(customer))?;
        let is_final = |invoice: &&Invoice| {
            invoice.status_transitions.finalized_at.is_some()
                && invoice.billing_reason.as_deref() == Some("subscription_cycle")
        };
        let invoice = invoices.iter().rev().find(is_final);
        let invoice = invoice.ok_or_else(|| Failure::NoInvoice(customer.to_string()))?;
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
