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
    METADATA_EXTERNAL_ID, METADATA_ONBOARDING, METADATA_PAYMENT_METHOD, customer_status,
};
use stripe::{
    CreateCustomer, CreateSubscription, Customer, IdempotencyKey, ListCustomers, ListSubscriptions,
    Metadata, RequestOptions, Subscription, SubscriptionItem, UpdateCustomer,
};
use tokio::time::Instant;

use crate::error::OnboardingError;
use crate::onboard::Onboarder;
use crate::price::{self, MeteredPrice};
use crate::request::Request;

/// How often a creation is tried that Stripe answers with errors of its own.
/// Each costs a day of one key; beyond, Stripe has trouble that lasts.
const CREATIONS_MAX: u32 = 3;

/// No customer that a known key made is older: Stripe forgets keys after a day.
const KEY_MEMORY_MS: i64 = 25 * 3_600_000;

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
    /// Does what is left to do; the customer's row as it is stored then.
    pub(crate) async fn run(&self) -> Result<CustomerRow, OnboardingError> {
        // First what changes nothing: an account that is not set up gets no
        // half-made customers.
        let price = price::find(self.stripe(), &self.onboarder.price_lookup_key).await?;
        let customer_id = match self.find_customer().await? {
            Some(customer) => customer.id,
            None => self.create_customer().await?.id,
        };
        self.set_payment_method(&customer_id).await?;
        let known = match self.resumes {
            true => self.find_subscription(&customer_id).await?,
            false => None,
        };
        let subscription = match known {
            Some(subscription) => subscription,
            None => self.create_subscription(&customer_id, &price).await?,
        };
        let item = metered_item(&subscription)?;
        let price = if item.price.id == price.price_id {
            price
        } else {
            // The lookup key moved to another price since an earlier run.
            price::retrieve(self.stripe(), &item.price.id).await?
        };
        let row = self.row(&customer_id, &subscription, item, price)?;
        self.store(row).await
    }

    const fn stripe(&self) -> &stripe::Client {
        &self.onboarder.stripe
    }

    fn options(&self, idempotency_key: IdempotencyKey) -> RequestOptions {
        RequestOptions::until(self.deadline).idempotency_key(idempotency_key)
    }

    fn metadata(&self) -> Metadata {
        let onboarding = self.request.onboarding.as_str();
        let mut metadata =
            Metadata::from([(METADATA_ONBOARDING.to_owned(), onboarding.to_owned())]);
        if let Some(external_id) = &self.request.external_id {
            metadata.insert(METADATA_EXTERNAL_ID.to_owned(), external_id.clone());
        }
        metadata
    }

    fn is_of_this_onboarding(&self, metadata: &Metadata) -> bool {
        metadata
            .get(METADATA_ONBOARDING)
            .is_some_and(|key| key == self.request.onboarding.as_str())
    }

    /// The customer that an earlier run made.
    async fn find_customer(&self) -> Result<Option<Customer>, OnboardingError> {
        if !self.resumes {
            return Ok(None);
        }
        if self.request.test_clock.is_some() {
            // Customers on a test clock are in no search.
            return self.list_customer().await;
        }
        let onboarding = self.request.onboarding.as_str();
        let found = self
            .stripe()
            .search_customers_by_metadata(METADATA_ONBOARDING, onboarding);
        let found = found
            .await
            .map_err(OnboardingError::stripe("search customer"))?;
        Ok(found
            .into_iter()
            .find(|customer| self.is_of_this_onboarding(&customer.metadata)))
    }

    /// The customer that was made under a key that Stripe still knows.
    async fn list_customer(&self) -> Result<Option<Customer>, OnboardingError> {
        let oldest = self.onboarder.clock.now().plus_ms(-KEY_MEMORY_MS);
        let filter = match &self.request.test_clock {
            // A clock holds a few customers, created in its own time.
            Some(test_clock) => ListCustomers {
                test_clock: Some(test_clock.clone()),
                ..Default::default()
            },
            None => ListCustomers {
                email: Some(self.request.email.clone()),
                created_gte: Some(oldest.unix_s()),
                ..Default::default()
            },
        };
        let found = self
            .stripe()
            .list_all_customers(&filter)
            .await
            .map_err(self.field_error("list customers"))?;
        Ok(found
            .into_iter()
            .find(|customer| self.is_of_this_onboarding(&customer.metadata)))
    }

    async fn create_customer(&self) -> Result<Customer, OnboardingError> {
        let create = CreateCustomer {
            email: Some(self.request.email.clone()),
            metadata: self.metadata(),
            test_clock: self.request.test_clock.clone(),
            ..Default::default()
        };
        let mut attempt = 0;
        loop {
            let options = self.options(self.request.onboarding.creation("customer", attempt));
            let error = match self.stripe().create_customer(&create, &options).await {
                Ok(customer) => return Ok(customer),
                Err(error) => error,
            };
            attempt += 1;
            if !is_server_error(&error) || attempt == CREATIONS_MAX {
                return Err(self.field_error("create customer")(error));
            }
            if let Some(customer) = self.list_customer().await? {
                return Ok(customer);
            }
        }
    }

    /// Stripe's error at `operation`, told of the field that it is about.
    /// Where Stripe misses something, it is the test clock: nothing else in
    /// these calls must exist.
    fn field_error(
        &self,
        operation: &'static str,
    ) -> impl FnOnce(stripe::Error) -> OnboardingError {
        let names_clock = self.request.test_clock.is_some();
        move |source| {
            let field = match source.code() {
                Some("email_invalid") => Some("email"),
                _ if names_clock && source.is_not_found() => Some("test_clock"),
                _ => None,
            };
            match field {
                Some(field) => OnboardingError::Field { field, source },
                None => OnboardingError::Stripe { operation, source },
            }
        }
    }

    /// Attaches the payment method and makes it the one that is charged. Both
    /// are harmless to do twice, and both must happen again when a card that
    /// was refused, or another one in between, is tried anew. Stripe repeats its
    /// old answer to a known key, refusals too, so each try has a key of its own.
    async fn set_payment_method(&self, customer_id: &str) -> Result<(), OnboardingError> {
        let payment_method = self.request.payment_method.as_str();
        let options = RequestOptions::until(self.deadline);
        let attached = self
            .stripe()
            .attach_payment_method(payment_method, customer_id, &options)
            .await;
        let attached = attached.map_err(|error| {
            if matches!(error.status(), Some(400 | 404)) {
                OnboardingError::Field {
                    field: "payment_method",
                    source: error,
                }
            } else {
                OnboardingError::Stripe {
                    operation: "attach payment method",
                    source: error,
                }
            }
        })?;
        let known_as = (
            METADATA_PAYMENT_METHOD.to_owned(),
            payment_method.to_owned(),
        );
        let update = UpdateCustomer {
            default_payment_method: Some(attached.id),
            metadata: Metadata::from([known_as]),
            ..Default::default()
        };
        let updated = self
            .stripe()
            .update_customer(customer_id, &update, &options)
            .await;
        updated.map_err(OnboardingError::stripe("set default payment method"))?;
        Ok(())
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
        let create = CreateSubscription {
            customer: customer_id.to_owned(),
            prices: vec![price.price_id.clone()],
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
                return Err(OnboardingError::stripe("create subscription")(error));
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
        customer_id: &str,
        subscription: &Subscription,
        item: &SubscriptionItem,
        price: MeteredPrice,
    ) -> Result<CustomerRow, OnboardingError> {
        let customer_id = CustomerId::parse(customer_id)
            .map_err(|_| OnboardingError::Unusable("customer has an id of no known form"))?;
        let at = Timestamp::from_unix_s;
        Ok(CustomerRow {
            customer_id,
            external_id: self.request.external_id.clone(),
            subscription_id: subscription.id.clone(),
            subscription_item_id: item.id.clone(),
            price_id: price.price_id,
            price: price.price,
            meter_id: price.meter_id,
            meter_event_name: price.meter_event_name,
            subscription_started_at: at(subscription.start_date),
            subscription_ends_at: subscription.ended_at.or(subscription.cancel_at).map(at),
            period_start: at(item.current_period_start),
            period_end: at(item.current_period_end),
            // Nothing is owed before the first period is over.
            status: customer_status(CustomerStatus::Active, &subscription.status, false),
            grace_ends_at: None,
            test_clock: self.request.test_clock.clone(),
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

fn is_server_error(error: &stripe::Error) -> bool {
    error.status().is_some_and(|status| status >= 500)
}

fn metered_item(subscription: &Subscription) -> Result<&SubscriptionItem, OnboardingError> {
    let mut items = subscription.items.iter();
    items
        .find(|item| price::is_metered(&item.price))
        .ok_or(OnboardingError::Unusable(
            "subscription has no metered item",
        ))
}
