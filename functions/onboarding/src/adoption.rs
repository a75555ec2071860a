//! Somebody whom Stripe bills already.

use billing::CustomerId;
use ledger::CustomerRow;
use metering::{METADATA_ONBOARDING, is_metered};
use stripe::{
    Customer, ListSubscriptions, RequestOptions, Subscription, UpdateCustomer, UpdateSubscription,
};

use crate::error::OnboardingError;
use crate::prices::Prices;
use crate::steps::Steps;

/// The most items that a subscription takes (Stripe API reference:
/// Subscriptions, `items`).
const ITEMS_MAX: usize = 20;

impl Steps<'_> {
    /// Takes a customer of the account's over: it is marked as Meterline's, so
    /// that webhooks about it are known as such.
    pub(crate) async fn adopt_customer(
        &self,
        customer_id: &str,
    ) -> Result<Customer, OnboardingError> {
        let customer = self.stripe().retrieve_customer(customer_id).await;
        let customer = customer.map_err(|source| {
            if source.is_not_found() {
                let field = "stripe_customer_id";
                OnboardingError::Field { field, source }
            } else {
                OnboardingError::Stripe {
                    operation: "retrieve customer",
                    source,
                }
            }
        })?;
        if customer.deleted {
            return Err(OnboardingError::Deleted);
        }
        if self.is_of_this_onboarding(&customer.metadata) {
            return Ok(customer);
        }
        if customer.metadata.contains_key(METADATA_ONBOARDING) {
            self.check_may_be_taken(customer_id).await?;
        }
        let mark = UpdateCustomer {
            metadata: self.metadata(),
            ..Default::default()
        };
        let options = RequestOptions::until(self.deadline);
        let marked = self.stripe().update_customer(customer_id, &mark, &options);
        marked
            .await
            .map_err(OnboardingError::stripe("mark customer"))
    }

    /// Another onboarding has marked the customer: it is that one's, once it
    /// has come to its end. One that has not may be taken over, and this one takes back
    /// what it had to its end before the other marked it.
    async fn check_may_be_taken(&self, customer_id: &str) -> Result<(), OnboardingError> {
        let name = self.request.external_id.as_ref();
        match self.stored(customer_id).await? {
            Some(row) if name.is_none() || row.external_id.as_ref() != name => {
                Err(OnboardingError::Onboarded)
            }
            _ => Ok(()),
        }
    }

    /// Of two onboardings of one customer that overlap, one may have come to its end since the
    /// other looked: what it set is left as it is.
    pub(crate) async fn check_is_not_anothers(
        &self,
        customer_id: &str,
    ) -> Result<(), OnboardingError> {
        match self.stored(customer_id).await? {
            Some(row) if self.is_anothers(&row) => Err(OnboardingError::Onboarded),
            _ => Ok(()),
        }
    }

    async fn stored(&self, customer_id: &str) -> Result<Option<CustomerRow>, OnboardingError> {
        let customer_id = CustomerId::parse(customer_id)
            .map_err(|_| OnboardingError::Unusable("customer has an id of no known form"))?;
        Ok(self.onboarder.ledger.customer(&customer_id).await?)
    }

    /// Takes the subscription over that bills usage of `prices` for the customer
    /// already: a second one would bill it twice.
    pub(crate) async fn adopt_subscription(
        &self,
        customer_id: &str,
        prices: &Prices,
    ) -> Result<Option<Subscription>, OnboardingError> {
        let filter = ListSubscriptions {
            customer: Some(customer_id.to_owned()),
            ..Default::default()
        };
        let found = self.stripe().list_all_subscriptions(&filter).await;
        let found = found.map_err(OnboardingError::stripe("list subscriptions"))?;
        let bills_usage = |found: &&Subscription| {
            let mut items = found.items.iter();
            items.any(|item| prices.iter().any(|price| price.bills_usage_of(&item.price)))
        };
        let mut usable = found
            .iter()
            .filter(|found| !found.has_ended() && found.status != "incomplete")
            .filter(bills_usage);
        let Some(found) = usable.next() else {
            return Ok(None);
        };
        if usable.next().is_some() {
            return Err(OnboardingError::SeveralSubscriptions);
        }
        self.check_is_not_anothers(customer_id).await?;
        let mark = UpdateSubscription {
            metadata: self.metadata(),
            ..Default::default()
        };
        let options = RequestOptions::until(self.deadline);
        let marked = self
            .stripe()
            .update_subscription(&found.id, &mark, &options);
        let marked = marked.await;
        Ok(Some(
            marked.map_err(OnboardingError::stripe("mark subscription"))?,
        ))
    }

    /// Refuses prices beside the metered one that bill usage themselves: their
    /// usage would be sent by nobody.
    pub(crate) async fn check_additional_prices(
        &self,
        prices: &Prices,
    ) -> Result<(), OnboardingError> {
        let additional_max = ITEMS_MAX.saturating_sub(prices.iter().count());
        if self.request.terms.additional_prices.len() > additional_max {
            return Err(OnboardingError::AdditionalPrices(additional_max));
        }
        for id in &self.request.terms.additional_prices {
            let price = self.stripe().retrieve_price(id).await;
            let price = price.map_err(|source| {
                if source.is_not_found() {
                    let field = "additional_prices";
                    OnboardingError::Field { field, source }
                } else {
                    OnboardingError::stripe("retrieve price")(source)
                }
            })?;
            if is_metered(&price) || price.recurring.is_none() || !price.active {
                return Err(OnboardingError::AdditionalPrice);
            }
        }
        Ok(())
    }
}
