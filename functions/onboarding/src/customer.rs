//! The customer in Stripe: found, made, and given what to pay by.

use metering::{METADATA_ONBOARDING, METADATA_PAYMENT_METHOD};
use stripe::{CreateCustomer, Customer, ListCustomers, Metadata, RequestOptions, UpdateCustomer};

use crate::error::OnboardingError;
use crate::request::Who;
use crate::steps::{CREATIONS_MAX, Steps};
use crate::terms::TaxSettings;

/// No customer that a known key made is older: Stripe forgets keys after a day.
const KEY_MEMORY_MS: i64 = 25 * 3_600_000;

impl Steps<'_> {
    /// Whom Stripe bills: the customer that exists, that an earlier run made,
    /// or a new one.
    pub(crate) async fn customer(&self) -> Result<Customer, OnboardingError> {
        let (email, tax) = match &self.request.who {
            Who::Existing { customer_id } => return self.adopt_customer(customer_id).await,
            Who::New { email, tax, .. } => (email, tax),
        };
        if let Some(customer) = self.find_customer(email).await? {
            return Ok(customer);
        }
        let customer = self.create_customer(email, tax).await?;
        if !self.resumes {
            return Ok(customer);
        }
        // Perhaps Stripe repeated an earlier answer, about a customer that was
        // deleted since.
        let current = self.stripe().retrieve_customer(&customer.id).await;
        let current = current.map_err(OnboardingError::stripe("retrieve customer"))?;
        if current.deleted {
            return Err(OnboardingError::Deleted);
        }
        Ok(current)
    }

    /// The customer that an earlier run made.
    async fn find_customer(&self, email: &str) -> Result<Option<Customer>, OnboardingError> {
        if !self.resumes {
            return Ok(None);
        }
        if self.request.test_clock().is_some() {
            // Customers on a test clock are in no search.
            return self.list_customer(email).await;
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
    async fn list_customer(&self, email: &str) -> Result<Option<Customer>, OnboardingError> {
        let oldest = self.onboarder.clock.now().plus_ms(-KEY_MEMORY_MS);
        let filter = match self.request.test_clock() {
            // A clock holds a few customers, created in its own time.
            Some(test_clock) => ListCustomers {
                test_clock: Some(test_clock.to_owned()),
                ..Default::default()
            },
            None => ListCustomers {
                email: Some(email.to_owned()),
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

    async fn create_customer(
        &self,
        email: &str,
        tax: &TaxSettings,
    ) -> Result<Customer, OnboardingError> {
        let create = CreateCustomer {
            email: Some(email.to_owned()),
            metadata: self.metadata(),
            test_clock: self.request.test_clock().map(str::to_owned),
            address: tax.address.clone(),
            tax_exempt: tax.tax_exempt.map(str::to_owned),
            tax_ids: tax.tax_ids.clone(),
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
            if !error.is_stored_server_error() || attempt == CREATIONS_MAX {
                return Err(self.field_error("create customer")(error));
            }
            if let Some(customer) = self.list_customer(email).await? {
                return Ok(customer);
            }
        }
    }

    /// Stripe's error at `operation`, told of the field that it is about.
    pub(crate) fn field_error(
        &self,
        operation: &'static str,
    ) -> impl FnOnce(stripe::Error) -> OnboardingError {
        let names_clock = self.request.test_clock().is_some();
        move |source| match field_of(&source, names_clock) {
            Some(field) => OnboardingError::Field { field, source },
            None => OnboardingError::Stripe { operation, source },
        }
    }

    /// Attaches the payment method and makes it the one that is charged. Both
    /// are harmless to do twice, and both must happen again when a card that
    /// was refused, or another one in between, is tried anew. Stripe repeats its
    /// old answer to a known key, refusals too, so each try has a key of its own.
    pub(crate) async fn set_payment_method(
        &self,
        customer_id: &str,
        payment_method: &str,
    ) -> Result<(), OnboardingError> {
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
        self.charge_by(customer_id, attached.id, payment_method)
            .await
    }

    /// Makes an attached payment method the one that is charged. `known_as` is
    /// how this onboarding was given it.
    pub(crate) async fn charge_by(
        &self,
        customer_id: &str,
        payment_method: String,
        known_as: &str,
    ) -> Result<(), OnboardingError> {
        let known_as = (METADATA_PAYMENT_METHOD.to_owned(), known_as.to_owned());
        let update = UpdateCustomer {
            default_payment_method: Some(payment_method),
            metadata: Metadata::from([known_as]),
            ..Default::default()
        };
        let options = RequestOptions::until(self.deadline);
        let updated = self
            .stripe()
            .update_customer(customer_id, &update, &options)
            .await;
        updated.map_err(OnboardingError::stripe("set default payment method"))?;
        Ok(())
    }
}

/// The field of the request that Stripe's error is about.
fn field_of(error: &stripe::Error, names_clock: bool) -> Option<&'static str> {
    match error.code() {
        Some("email_invalid") => return Some("email"),
        Some("customer_tax_location_invalid") => return Some("address"),
        Some("tax_id_invalid") => return Some("tax_ids"),
        _ => {}
    }
    let param = error.api().and_then(|error| error.param.as_deref());
    let fields = [
        ("trial_period_days", "trial_period_days"),
        ("billing_cycle_anchor", "billing_cycle_anchor"),
        ("proration_behavior", "proration_behavior"),
        ("tax_id_data", "tax_ids"),
        ("address", "address"),
        ("metadata", "metadata"),
    ];
    let named = fields
        .into_iter()
        .find(|(begins, _)| param.is_some_and(|param| param.starts_with(begins)));
    match named {
        Some((_, field)) => Some(field),
        // Where Stripe misses something that it does not name, it is the test
        // clock: nothing else in a call about one must exist.
        None if names_clock && error.is_not_found() => Some("test_clock"),
        None => None,
    }
}
