//! The steps of an onboarding. Each may be the last one before a crash: a
//! repeat finds what is done and does the rest.
//!
//! Two things keep a repeat from making anything twice. Within a day it is the
//! idempotency key, derived from the onboarding's name: Stripe answers as it
//! did. Later, when Stripe has forgotten the key, it is a search by metadata,
//! whose index by then holds everything (Stripe documentation: "Search", "Data
//! freshness").
//!
//! As Stripe did: a server error of its own is repeated for a day as well
//! (Stripe API reference: Idempotent requests). It leaves open whether the
//! object was made. Stripe's lists, unlike its search, hold what was just made,
//! so they settle it; only where they have nothing is the next key tried.

use billing::{CustomerId, Timestamp};
use ledger::{Created, CustomerRow, CustomerStatus};
use metering::{
    METADATA_EXTERNAL_ID, METADATA_ONBOARDING, MeteredPrice, customer_status, is_metered_item,
};
use stripe::{
    CreateSubscription, Customer, IdempotencyKey, ListSubscriptions, Metadata, RequestOptions,
    Subscription, SubscriptionItem,
};
use tokio::time::Instant;

use crate::error::OnboardingError;
use crate::onboard::Onboarder;
use crate::outcome::Outcome;
use crate::request::{Payment, Request, Who};

/// How often a creation is tried that Stripe answers with errors of its own.
/// Each costs a day of one key; beyond, Stripe has trouble that lasts.
pub(crate) const CREATIONS_MAX: u32 = 3;

/// One run through the steps.
pub(crate) struct Steps<'a> {
    pub(crate) onboarder: &'a Onboarder,
    pub(crate) request: &'a Request,
    /// Whether an earlier run may have done some of them.
    pub(crate) resumes: bool,
    /// What is created is waited for no longer; a repeat finds it.
    pub(crate) deadline: Instant,
}

impl Steps<'_> {
    /// Does what can be done; the customer's row as it is stored then, or what
    /// the onboarding waits for.
    pub(crate) async fn run(&self) -> Result<Outcome, OnboardingError> {
        // First what changes nothing: an account that is not set up gets no
        // half-made customers.
        let price =
            MeteredPrice::find(self.stripe(), &self.onboarder.price_lookup_key, None).await?;
        self.check_additional_prices().await?;
        let customer = self.customer().await?;
        if let Payment::Given(payment_method) = &self.request.payment {
            self.set_payment_method(&customer.id, payment_method)
                .await?;
        }
        let known = self.known_subscription(&customer.id, &price).await?;
        let subscription = match known {
            Some(subscription) => subscription,
            None => {
                if let Some(awaited) = self.collect_payment_method(&customer, &price).await? {
                    return Ok(Outcome::Awaits(awaited));
                }
                self.create_subscription(&customer.id, &price).await?
            }
        };
        let item = metered_item(&subscription, &price)?;
        let price = if item.price.id == price.price_id {
            price
        } else {
            // The lookup key moved to another price since an earlier run.
            MeteredPrice::retrieve(self.stripe(), &item.price.id, None).await?
        };
        let row = self.row(&customer, &subscription, item, price)?;
        Ok(Outcome::Onboarded(Box::new(self.store(row).await?)))
    }

    /// The subscription that need not be made: of an earlier run, or one that
    /// an adopted customer has to the same price.
    async fn known_subscription(
        &self,
        customer_id: &str,
        price: &MeteredPrice,
    ) -> Result<Option<Subscription>, OnboardingError> {
        let adopts = matches!(self.request.who, Who::Existing { .. });
        if !self.resumes && !adopts {
            return Ok(None);
        }
        let known = self.find_subscription(customer_id).await?;
        if known.is_some() || !adopts {
            return Ok(known);
        }
        self.adopt_subscription(customer_id, price).await
    }

    pub(crate) const fn stripe(&self) -> &stripe::Client {
        &self.onboarder.stripe
    }

    pub(crate) fn options(&self, idempotency_key: IdempotencyKey) -> RequestOptions {
        RequestOptions::until(self.deadline).idempotency_key(idempotency_key)
    }

    pub(crate) fn metadata(&self) -> Metadata {
        let onboarding = self.request.onboarding.as_str();
        let mut metadata = self.request.terms.metadata.clone();
        metadata.insert(METADATA_ONBOARDING.to_owned(), onboarding.to_owned());
        if let Some(external_id) = &self.request.external_id {
            metadata.insert(METADATA_EXTERNAL_ID.to_owned(), external_id.clone());
        }
        metadata
    }

    pub(crate) fn is_of_this_onboarding(&self, metadata: &Metadata) -> bool {
        metadata
            .get(METADATA_ONBOARDING)
            .is_some_and(|key| key == self.request.onboarding.as_str())
    }

    /// The subscription that an earlier run, or a try of this one, made.
    async fn find_subscription(
        &self,
        customer_id: &str,
    ) -> Result<Option<Subscription>, OnboardingError> {
        let filter = ListSubscriptions {
            customer: Some(customer_id.to_owned()),
            ..Default::default()
        };
        let found = self.stripe().list_all_subscriptions(&filter).await;
        let found = found.map_err(OnboardingError::stripe("list subscriptions"))?;
        Ok(found
            .into_iter()
            .find(|found| self.is_of_this_onboarding(&found.metadata)))
    }

    async fn create_subscription(
        &self,
        customer_id: &str,
        price: &MeteredPrice,
    ) -> Result<Subscription, OnboardingError> {
        let terms = &self.request.terms;
        let mut prices = vec![price.price_id.clone()];
        prices.extend(terms.additional_prices.iter().cloned());
        let create = CreateSubscription {
            customer: customer_id.to_owned(),
            prices,
            trial_period_days: terms.trial_period_days,
            billing_cycle_anchor: terms.billing_cycle_anchor,
            proration_behavior: terms.proration_behavior,
            automatic_tax: terms.automatic_tax,
            metadata: self.metadata(),
            bills_usage_records: price.meter_id.is_empty(),
            ..Default::default()
        };
        // Another price is another request, which an old key would not take.
        let object = format!("subscription to {}", price.price_id);
        let mut attempt = 0;
        let created = loop {
            let options = self.options(self.request.onboarding.creation(&object, attempt));
            let error = match self.stripe().create_subscription(&create, &options).await {
                Ok(subscription) => break subscription,
                Err(error) => error,
            };
            attempt += 1;
            if !is_server_error(&error) || attempt == CREATIONS_MAX {
                return Err(self.field_error("create subscription")(error));
            }
            if let Some(subscription) = self.find_subscription(customer_id).await? {
                break subscription;
            }
        };
        if !self.resumes {
            return Ok(created);
        }
        // Perhaps Stripe repeated an earlier answer, about a subscription that
        // has ended since: such a one is not listed.
        let current = self.stripe().retrieve_subscription(&created.id).await;
        current.map_err(OnboardingError::stripe("retrieve subscription"))
    }

    fn row(
        &self,
        customer: &Customer,
        subscription: &Subscription,
        item: &SubscriptionItem,
        price: MeteredPrice,
    ) -> Result<CustomerRow, OnboardingError> {
        let customer_id = CustomerId::parse(&customer.id)
            .map_err(|_| OnboardingError::Unusable("customer has an id of no known form"))?;
        let at = Timestamp::from_unix_s;
        Ok(CustomerRow {
            customer_id,
            external_id: self.request.external_id.clone(),
            subscription_id: subscription.id.clone(),
            item: price.into_item(&item.id),
            more_items: Vec::new(),
            subscription_started_at: at(subscription.start_date),
            subscription_ends_at: subscription.ended_at.or(subscription.cancel_at).map(at),
            period_start: at(item.current_period_start),
            period_end: at(item.current_period_end),
            // Nothing is owed before the first period is over.
            status: customer_status(CustomerStatus::Active, &subscription.status, false),
            grace_ends_at: None,
            test_clock: customer.test_clock.clone(),
            version: 1,
            created_at: self.onboarder.clock.now(),
        })
    }

    /// Stores the row. Where an earlier run stored one, webhooks may have
    /// changed it since: that one counts.
    async fn store(&self, row: CustomerRow) -> Result<CustomerRow, OnboardingError> {
        let ledger = &self.onboarder.ledger;
        match ledger.create_customer(&row).await? {
            Created::Done => Ok(row),
            Created::Exists => Ok(ledger.customer(&row.customer_id).await?.unwrap_or(row)),
        }
    }
}

pub(crate) fn is_server_error(error: &stripe::Error) -> bool {
    error.status().is_some_and(|status| status >= 500)
}

/// The item whose usage is billed here; of several metered ones, the one of
/// `price`.
fn metered_item<'a>(
    subscription: &'a Subscription,
    price: &MeteredPrice,
) -> Result<&'a SubscriptionItem, OnboardingError> {
    let items = || {
        let items = subscription.items.iter();
        items.filter(|item| is_metered_item(item))
    };
    items()
        .find(|item| item.price.id == price.price_id)
        .or_else(|| items().next())
        .ok_or(OnboardingError::Unusable(
            "subscription has no metered item",
        ))
}
