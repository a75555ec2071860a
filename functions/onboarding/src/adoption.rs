//! Somebody whom Stripe bills already.

use metering::{METADATA_ONBOARDING, MeteredPrice, is_metered};
use stripe::{
    Customer, ListSubscriptions, RequestOptions, Subscription, UpdateCustomer, UpdateSubscription,
};

use crate::error::OnboardingError;
use crate::steps::Steps;
use billing::CustomerId;

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
            self.check_is_nobodys(customer_id).await?;
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
    /// has come to its end. One that has not may be taken over.
    async fn check_is_nobodys(&self, customer_id: &str) -> Result<(), OnboardingError> {
        let customer_id = CustomerId::parse(customer_id)
            .map_err(|_| OnboardingError::Unusable("customer has an id of no known form"))?;
        match self.onboarder.ledger.customer(&customer_id).await? {
            Some(_) => Err(OnboardingError::Onboarded),
            None => Ok(()),
        }
    }

    /// Takes the subscription to `price` over that the customer has: a second
    /// one would bill all usage twice.
    pub(crate) async fn adopt_subscription(
        &self,
        customer_id: &str,
        price: &MeteredPrice,
    ) -> Result<Option<Subscription>, OnboardingError> {
        let filter = ListSubscriptions {
            customer: Some(customer_id.to_owned()),
            price: Some(price.price_id.clone()),
            ..Default::default()
        };
        let found = self.stripe().list_all_subscriptions(&filter).await;
        let found = found.map_err(OnboardingError::stripe("list subscriptions"))?;
        let usable = found
            .into_iter()
            .find(|found| !found.has_ended() && found.status != "incomplete");
        let Some(found) = usable else {
            return Ok(None);
        };
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
    pub(crate) async fn check_additional_prices(&self) -> Result<(), OnboardingError> {
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
