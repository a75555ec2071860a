//! The steps of an onboarding. Each may be the last one before a crash: a
//! repeat finds what is done and does the rest.
//!
//! Two things keep a repeat from making anything twice. Within a day it is the
//! idempotency key, derived from the onboarding's name, or from the customer's for what
//! a customer has one of: Stripe answers as it did. Later, when Stripe has forgotten the key, it is a search by metadata,
//! whose index by then holds everything (Stripe documentation: "Search", "Data
//! freshness").
//!
//! As Stripe did: a server error of its own, once it is stored under the key, is repeated
//! for a day as well (Stripe API reference: Idempotent requests). It leaves open whether
//! the object was made. Stripe's lists, unlike its search, hold what was just made,
//! so they settle it; only where they have nothing is the next key tried. After an error
//! that is not stored, the key is still free: another call may yet make the object by it,
//! so a repeat has to use that one.

use ledger::{Created, CustomerRow};
use metering::{METADATA_EXTERNAL_ID, METADATA_ONBOARDING};
use stripe::{
    CreateSubscription, IdempotencyKey, ListSubscriptions, Metadata, RequestOptions, Subscription,
};
use tokio::time::Instant;

use crate::error::OnboardingError;
use crate::onboard::Onboarder;
use crate::outcome::Outcome;
use crate::prices::Prices;
use crate::request::{Payment, Request, Who, creation_by_any};

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
        let prices = self.onboarder.prices().await?;
        self.check_additional_prices(&prices).await?;
        let customer = self.customer().await?;
        if self.adopts() {
            self.check_is_not_anothers(&customer.id).await?;
        }
        if let Payment::Given(payment_method) = &self.request.payment {
            self.set_payment_method(&customer.id, payment_method)
                .await?;
        }
        let known = self.known_subscription(&customer.id, &prices).await?;
        let subscription = match known {
            Some(subscription) => subscription,
            None => {
                if let Some(awaited) = self
                    .collect_payment_method(&customer, prices.first())
                    .await?
                {
                    return Ok(Outcome::Awaits(awaited));
                }
                self.create_subscription(&customer.id, &prices).await?
            }
        };
        let row = self.complete_row(&customer, &subscription, &prices).await?;
        Ok(Outcome::Onboarded(Box::new(self.store(row).await?)))
    }

    /// The subscription that need not be made: of an earlier run, or one that
    /// an adopted customer has to one of the prices.
    async fn known_subscription(
        &self,
        customer_id: &str,
        prices: &Prices,
    ) -> Result<Option<Subscription>, OnboardingError> {
        if !self.resumes && !self.adopts() {
            return Ok(None);
        }
        let known = self.find_subscription(customer_id).await?;
        if known.is_some() || !self.adopts() {
            return Ok(known);
        }
        self.adopt_subscription(customer_id, prices).await
    }

    const fn adopts(&self) -> bool {
        matches!(self.request.who, Who::Existing { .. })
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
        prices: &Prices,
    ) -> Result<Subscription, OnboardingError> {
        let terms = &self.request.terms;
        let metered = prices.ids();
        let additional = terms.additional_prices.iter().cloned();
        let create = CreateSubscription {
            customer: customer_id.to_owned(),
            prices: metered.iter().cloned().chain(additional).collect(),
            trial_period_days: terms.trial_period_days,
            billing_cycle_anchor: terms.billing_cycle_anchor,
            proration_behavior: terms.proration_behavior,
            automatic_tax: terms.automatic_tax,
            metadata: self.metadata(),
            bills_usage_records: prices.first().meter_id.is_empty(),
            ..Default::default()
        };
        // The customer's only one, at whatever prices. Of two onboardings of one customer that
        // overlap, neither sees the other's in a list yet: Stripe refuses the later one.
        let object = format!("subscription of {customer_id}");
        let mut attempt = 0;
        let created = loop {
            let options = self.options(creation_by_any(&object, attempt));
            let error = match self.stripe().create_subscription(&create, &options).await {
                Ok(subscription) => break subscription,
                Err(error) => error,
            };
            if error.is_key_of_another_request() {
                return Err(OnboardingError::UnderWay);
            }
            attempt += 1;
            if !error.is_stored_server_error() || attempt == CREATIONS_MAX {
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
        self.current_subscription(&created.id).await
    }

    /// Stores the row. Where an earlier run stored one, webhooks may have
    /// changed it since: that one counts. One of another external id's is that one's.
    async fn store(&self, row: CustomerRow) -> Result<CustomerRow, OnboardingError> {
        let ledger = &self.onboarder.ledger;
        if ledger.create_customer(&row).await? == Created::Done {
            return Ok(row);
        }
        match ledger.customer(&row.customer_id).await? {
            Some(stored) if self.is_anothers(&stored) => Err(OnboardingError::Onboarded),
            stored => Ok(stored.unwrap_or(row)),
        }
    }

    /// Whether the customer was onboarded under another name. One that was erased names
    /// nobody any more.
    pub(crate) fn is_anothers(&self, stored: &CustomerRow) -> bool {
        stored.external_id != self.request.external_id && stored.erased_at.is_none()
    }
}
