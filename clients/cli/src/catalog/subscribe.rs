//! `meterline catalog subscribe`: customers from before a meter get an item of it
//! on the subscription that they have. Each step is found again by the next run.

use billing::{Catalog, CustomerId};
use ledger::{CustomerRow, CustomerStatus, Ledger, LedgerError, Updated};
use metering::{MeteredPrice, MeteredPriceError, with_current_items};
use serde::Serialize;
use stripe::{
    Client, CreateSubscriptionItem, IdempotencyKey, ProrationBehavior, RequestOptions, Subscription,
};

/// How often a row that others change meanwhile is read again.
const ATTEMPTS_MAX: u32 = 8;

/// Gives customers the items of the catalog that they lack.
pub struct Subscriber {
    ledger: Ledger,
    stripe: Client,
    catalog: Catalog,
    /// What new customers pay, in the catalog's order.
    prices: Vec<MeteredPrice>,
    is_dry_run: bool,
}

/// What came of a customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Subscribed {
    /// It has an item of every meter, in Stripe and in the tables.
    UpToDate,
    /// Its subscription has ended.
    Ended,
    /// The subscription had all items, and its row has them now, too.
    RowChanged,
    /// It has got these items.
    Added {
        /// The items, at the prices of new customers.
        items: Vec<AddedItem>,
    },
    /// A dry run would give it the items of these meters.
    ToAdd {
        /// Their event names.
        meters: Vec<String>,
    },
    /// A dry run would only bring its row to what Stripe has.
    RowToChange,
}

/// An item that a subscription has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AddedItem {
    /// The event name of its meter.
    pub meter_event_name: String,
    /// The item.
    pub subscription_item_id: String,
    /// Its price.
    pub price_id: String,
}

/// Why a customer, or anybody, could not be subscribed.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// Stripe did not tell a price of the catalog.
    #[error(transparent)]
    Price(MeteredPriceError),
    /// A price of the catalog cannot be used.
    #[error("{0}: run `meterline setup --catalog` again")]
    NotSetUp(#[source] MeteredPriceError),
    /// A price of the catalog is of another meter than the catalog says.
    #[error(
        "the price {lookup_key} is of the meter {in_stripe:?}, not of {event_name}: somebody \
         changed it in Stripe. Run `meterline setup --catalog` again"
    )]
    OtherMeter {
        /// The price.
        lookup_key: String,
        /// Its meter in the catalog.
        event_name: String,
        /// Its meter in Stripe.
        in_stripe: String,
    },
    /// There is no such customer.
    #[error("there is no customer {0}")]
    UnknownCustomer(CustomerId),
    /// A subscription has one currency.
    #[error(
        "it pays in {customer}, and the catalog's prices are in {catalog}: Stripe bills one \
         subscription in one currency"
    )]
    Currency {
        /// The subscription's currency.
        customer: String,
        /// That of the catalog's prices.
        catalog: String,
    },
    /// It would pay twice for what the meter counts.
    #[error(
        "its item {subscription_item_id} bills what {meter_event_name} counts at {price_id}, which \
         cannot be computed with: give the item another price in Stripe"
    )]
    UnusablePrice {
        /// The meter.
        meter_event_name: String,
        /// The item that the subscription has.
        subscription_item_id: String,
        /// That item's price.
        price_id: String,
    },
    /// Stripe failed or refused.
    #[error("Stripe failed at: {operation}: {source}")]
    Stripe {
        /// What was being done.
        operation: &'static str,
        /// Stripe's error.
        source: stripe::Error,
    },
    /// An item that was added is not there.
    #[error(
        "the item of {0} was taken out of the subscription within the last day, and Stripe still \
         answers that it is there: add it in Stripe, or try tomorrow"
    )]
    TakenOut(String),
    /// The tables failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Others changed the customer's row all the time.
    #[error("its row is being changed by others: run it again")]
    Busy,
}

impl Subscriber {
    /// Subscribes the customers of `ledger` to `catalog`, whose prices are looked
    /// up in `stripe` once; with `is_dry_run` only says what it would do.
    ///
    /// # Errors
    /// [`SubscribeError::NotSetUp`] or [`SubscribeError::OtherMeter`] where the
    /// catalog is not what Stripe has, [`SubscribeError::Price`] where Stripe fails.
    pub async fn new(
        ledger: Ledger,
        stripe: Client,
        catalog: Catalog,
        is_dry_run: bool,
    ) -> Result<Self, SubscribeError> {
        let mut prices = Vec::with_capacity(catalog.meters().len());
        for meter in catalog.meters() {
            let price = MeteredPrice::find(&stripe, &meter.lookup_key, Some(&catalog)).await;
            let price = price.map_err(|error| match error {
                MeteredPriceError::Stripe { .. } => SubscribeError::Price(error),
                MeteredPriceError::Unusable { .. } => SubscribeError::NotSetUp(error),
            })?;
            if price.meter_event_name != meter.event_name {
                return Err(SubscribeError::OtherMeter {
                    lookup_key: meter.lookup_key.clone(),
                    event_name: meter.event_name.clone(),
                    in_stripe: price.meter_event_name,
                });
            }
            prices.push(price);
        }
        Ok(Self {
            ledger,
            stripe,
            catalog,
            prices,
            is_dry_run,
        })
    }

    /// Gives `customer`, as its row was read, the items that it lacks. A row that
    /// has all of them is believed: webhooks keep it in step with Stripe.
    ///
    /// # Errors
    /// [`SubscribeError`]. Run again, it goes on where it stopped.
    pub async fn customer(&self, customer: CustomerRow) -> Result<Subscribed, SubscribeError> {
        if customer.status == CustomerStatus::Canceled {
            return Ok(Subscribed::Ended);
        }
        if self.lacking(&customer).is_empty() {
            return Ok(Subscribed::UpToDate);
        }
        let subscription = self.subscription(&customer).await?;
        if subscription.has_ended() {
            return Ok(Subscribed::Ended);
        }
        let current = self.current(customer.clone(), &subscription).await?;
        let lacking = self.lacking(&current);
        check_currency(&current, &subscription, &lacking)?;
        check_usage(&subscription, &lacking)?;
        if self.is_dry_run {
            return Ok(match lacking.is_empty() {
                true => Subscribed::RowToChange,
                false => Subscribed::ToAdd {
                    meters: event_names(&lacking),
                },
            });
        }
        for price in &lacking {
            self.add(&subscription, price).await?;
        }
        let row = self.follow(customer, &subscription, &lacking).await?;
        if lacking.is_empty() {
            return Ok(Subscribed::RowChanged);
        }
        let items = lacking.iter().filter_map(|price| {
            let item = row.item_of_meter(&price.meter_event_name)?;
            Some(AddedItem {
                meter_event_name: item.meter_event_name.clone(),
                subscription_item_id: item.subscription_item_id.clone(),
                price_id: item.price_id.clone(),
            })
        });
        Ok(Subscribed::Added {
            items: items.collect(),
        })
    }

    /// The customer `customer_id`, as [`customer`](Self::customer).
    ///
    /// # Errors
    /// [`SubscribeError`].
    pub async fn customer_of(
        &self,
        customer_id: &CustomerId,
    ) -> Result<Subscribed, SubscribeError> {
        self.customer(self.read(customer_id).await?).await
    }

    /// The prices of the meters that no item of `customer` is of.
    fn lacking(&self, customer: &CustomerRow) -> Vec<&MeteredPrice> {
        let prices = self.prices.iter();
        prices
            .filter(|price| customer.item_of_meter(&price.meter_event_name).is_none())
            .collect()
    }

    async fn add(
        &self,
        subscription: &Subscription,
        price: &MeteredPrice,
    ) -> Result<(), SubscribeError> {
        let item = CreateSubscriptionItem {
            subscription: subscription.id.clone(),
            price: price.price_id.clone(),
            // Usage is never prorated, and a meter has nothing else to bill.
            proration_behavior: Some(ProrationBehavior::None),
            bills_usage_records: price.meter_id.is_empty(),
        };
        let intent = [
            "meterline catalog subscribe",
            &item.subscription,
            &item.price,
        ];
        let options = RequestOptions::new().idempotency_key(IdempotencyKey::derived(&intent));
        let added = self.stripe.create_subscription_item(&item, &options).await;
        added.map_err(stripe_error("add subscription item"))?;
        Ok(())
    }

    /// Brings the row that was `read` to what the subscription has, `added` too.
    async fn follow(
        &self,
        mut read: CustomerRow,
        before: &Subscription,
        added: &[&MeteredPrice],
    ) -> Result<CustomerRow, SubscribeError> {
        for _ in 0..ATTEMPTS_MAX {
            let subscription = match added {
                [] => before.clone(),
                _ => self.subscription(&read).await?,
            };
            let row = self.current(read.clone(), &subscription).await?;
            let mut added = added.iter().map(|price| &price.meter_event_name);
            if let Some(missing) = added.find(|name| row.item_of_meter(name).is_none()) {
                return Err(SubscribeError::TakenOut(missing.clone()));
            }
            if row == read {
                return Ok(read);
            }
            match self.ledger.update_customer(&read, row.clone()).await? {
                Updated::Done => return Ok(row),
                Updated::VersionConflict => read = self.read(&read.customer_id).await?,
            }
        }
        Err(SubscribeError::Busy)
    }

    /// `row` with the items of `subscription`.
    async fn current(
        &self,
        row: CustomerRow,
        subscription: &Subscription,
    ) -> Result<CustomerRow, SubscribeError> {
        let catalog = Some(&self.catalog);
        let row = with_current_items(&self.stripe, row, subscription, catalog).await;
        row.map_err(stripe_error("retrieve price"))
    }

    async fn subscription(&self, customer: &CustomerRow) -> Result<Subscription, SubscribeError> {
        let id = &customer.subscription_id;
        let subscription = self.stripe.retrieve_subscription(id).await;
        subscription.map_err(stripe_error("retrieve subscription"))
    }

    async fn read(&self, customer_id: &CustomerId) -> Result<CustomerRow, SubscribeError> {
        let row = self.ledger.customer(customer_id).await?;
        row.ok_or_else(|| SubscribeError::UnknownCustomer(customer_id.clone()))
    }
}

fn check_currency(
    customer: &CustomerRow,
    subscription: &Subscription,
    lacking: &[&MeteredPrice],
) -> Result<(), SubscribeError> {
    let currency = match subscription.currency.as_str() {
        "" => customer.item.price.currency().as_str(),
        currency => currency,
    };
    let mut currencies = lacking.iter().map(|price| price.price.currency().as_str());
    match currencies.find(|of_price| *of_price != currency) {
        None => Ok(()),
        Some(other) => Err(SubscribeError::Currency {
            customer: currency.to_owned(),
            catalog: other.to_owned(),
        }),
    }
}

/// An item that the row does not have may bill the usage all the same.
fn check_usage(
    subscription: &Subscription,
    lacking: &[&MeteredPrice],
) -> Result<(), SubscribeError> {
    for price in lacking {
        let mut items = subscription.items.iter();
        if let Some(item) = items.find(|item| price.bills_usage_of(&item.price)) {
            return Err(SubscribeError::UnusablePrice {
                meter_event_name: price.meter_event_name.clone(),
                subscription_item_id: item.id.clone(),
                price_id: item.price.id.clone(),
            });
        }
    }
    Ok(())
}

fn event_names(prices: &[&MeteredPrice]) -> Vec<String> {
    let names = prices.iter().map(|price| price.meter_event_name.clone());
    names.collect()
}

fn stripe_error(operation: &'static str) -> impl FnOnce(stripe::Error) -> SubscribeError {
    move |source| SubscribeError::Stripe { operation, source }
}
