//! A customer's personal data in Meterline's tables: where it is, and how it goes.

use std::sync::Arc;

use billing::{Clock, CustomerId};
use ledger::{ApiKeyCursor, BillingEventRow, CustomerRow, Ledger, LedgerError};
use ledger::{OnboardingRow, Updated};

/// Why nothing, or not all, was erased.
#[derive(Debug, thiserror::Error)]
pub enum ErasureError {
    /// The tables failed. What is left is found by the next run.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Stripe did not say whether the subscription has ended.
    #[error("Stripe did not say how the subscription is")]
    Stripe(#[source] stripe::Error),
    /// There is no such customer.
    #[error("there is no customer {0}")]
    Unknown(CustomerId),
    /// Stripe still bills the customer.
    #[error(
        "the subscription {subscription_id} is {status} in Stripe: end it first, or say --force"
    )]
    StillBilled {
        /// The subscription.
        subscription_id: String,
        /// Its status, in Stripe's word.
        status: String,
    },
    /// The row changed again and again.
    #[error("the customer's row changes all the time: try again")]
    Busy,
}

/// A place that holds personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The table.
    pub table: &'static str,
    /// The row's key.
    pub key: String,
    /// The attributes or members that go.
    pub members: Vec<&'static str>,
}

/// What there is of a customer.
#[derive(Debug)]
pub struct Erasure {
    customer: CustomerRow,
    onboardings: Vec<OnboardingRow>,
    events: Vec<BillingEventRow>,
    /// The keys that act for this customer alone: theirs to revoke.
    pub keys: Vec<String>,
}

/// Tries at a row that somebody else changes.
const TRIES: u32 = 5;

impl Erasure {
    /// Looks for `customer_id` in every table that can hold personal data. Usage,
    /// totals and outbox hold none but what the operator put into event ids.
    ///
    /// # Errors
    /// [`ErasureError::Unknown`], [`ErasureError::Ledger`].
    pub async fn find(ledger: &Ledger, customer_id: &CustomerId) -> Result<Self, ErasureError> {
        let customer = ledger.customer(customer_id).await?;
        let customer = customer.ok_or_else(|| ErasureError::Unknown(customer_id.clone()))?;
        let mut onboardings = ledger.onboardings_of(customer_id).await?;
        onboardings.retain(|row| !row.personal_data().is_empty());
        let mut events = ledger.billing_events_of(customer_id).await?;
        events.retain(|event| !members_of(event).is_empty());
        let mut keys = Vec::new();
        let mut cursor = ApiKeyCursor::default();
        while let Some(page) = ledger.next_api_keys(&mut cursor).await? {
            let only = std::slice::from_ref(customer_id);
            let theirs = page
                .keys
                .into_iter()
                .filter(|key| key.revoked_at.is_none() && key.customers.as_deref() == Some(only));
            keys.extend(theirs.map(|key| key.key_id));
        }
        Ok(Self {
            customer,
            onboardings,
            events,
            keys,
        })
    }

    /// Where personal data is.
    pub fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        if self.customer.external_id.is_some() || self.customer.erased_at.is_none() {
            let external_id = self.customer.external_id.as_ref().map(|_| "external_id");
            places.push(Place {
                table: "customers",
                key: self.customer.customer_id.to_string(),
                members: external_id.into_iter().collect(),
            });
        }
        places.extend(self.onboardings.iter().map(|row| Place {
            table: "customers",
            key: row.onboarding_key.clone(),
            members: row.personal_data(),
        }));
        places.extend(self.events.iter().map(|event| Place {
            table: "billing-events",
            key: event.stripe_event_id.clone(),
            members: members_of(event),
        }));
        places
    }

    /// Makes sure that Stripe bills the customer no more.
    ///
    /// # Errors
    /// [`ErasureError::StillBilled`], [`ErasureError::Stripe`].
    pub async fn check_has_ended(&self, stripe: &stripe::Client) -> Result<(), ErasureError> {
        let id = &self.customer.subscription_id;
        let subscription = match stripe.retrieve_subscription(id).await {
            Ok(subscription) => subscription,
            // Redacted or deleted there.
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(ErasureError::Stripe(error)),
        };
        if subscription.has_ended() {
            return Ok(());
        }
        Err(ErasureError::StillBilled {
            subscription_id: id.clone(),
            status: subscription.status,
        })
    }

    /// Takes the personal data out. The customer's row first: from then on no
    /// webhook stores any, once those under way have ended.
    ///
    /// # Errors
    /// [`ErasureError::Ledger`], [`ErasureError::Busy`]; another run does the rest.
    pub async fn erase(self, ledger: &Ledger, clock: &Arc<dyn Clock>) -> Result<(), ErasureError> {
        mark(ledger, self.customer, clock).await?;
        for onboarding in self.onboardings {
            ledger.erase_onboarding(&onboarding.onboarding_key).await?;
        }
        for event in self.events {
            ledger.erase_notifications(event).await?;
        }
        Ok(())
    }
}

async fn mark(
    ledger: &Ledger,
    mut read: CustomerRow,
    clock: &Arc<dyn Clock>,
) -> Result<(), ErasureError> {
    for _ in 0..TRIES {
        if read.erased_at.is_some() && read.external_id.is_none() {
            return Ok(());
        }
        let erased = CustomerRow {
            external_id: None,
            erased_at: Some(clock.now()),
            ..read.clone()
        };
        if ledger.update_customer(&read, erased).await? == Updated::Done {
            return Ok(());
        }
        let again = ledger.customer(&read.customer_id).await?;
        read = again.ok_or(ErasureError::Unknown(read.customer_id))?;
    }
    Err(ErasureError::Busy)
}

/// The members of an event's notifications that are personal data, each once.
fn members_of(event: &BillingEventRow) -> Vec<&'static str> {
    let mut members = Vec::new();
    for notification in &event.notifications {
        for member in notification.personal_data() {
            if !members.contains(&member) {
                members.push(member);
            }
        }
    }
    members
}
