//! A customer of the story, on a test clock.

use serde_json::json;
use stripe::RequestOptions;

use super::{Stage, StoryError};

/// A customer and the clock that it lives on.
#[derive(Clone, Debug)]
pub(crate) struct Customer {
    pub(crate) external_id: String,
    pub(crate) email: String,
    pub(crate) payment_method: &'static str,
    pub(crate) test_clock: String,
    pub(crate) customer_id: String,
    pub(crate) subscription_id: String,
    pub(crate) subscription_item_id: String,
}

impl Stage<'_> {
    /// A customer that pays with `payment_method`, on a new test clock that
    /// stands at the present.
    pub(crate) async fn onboard(
        &self,
        name: &str,
        payment_method: &'static str,
    ) -> Result<Customer, StoryError> {
        let external_id = format!("{name}-{}", self.run);
        let clock = self
            .stripe()
            .create_test_clock(self.now().unix_s(), &external_id, &RequestOptions::new())
            .await;
        let clock = clock.map_err(StoryError::stripe("make a test clock"))?;
        let mut customer = Customer {
            email: format!("{external_id}@example.com"),
            external_id,
            payment_method,
            test_clock: clock.id,
            customer_id: String::new(),
            subscription_id: String::new(),
            subscription_item_id: String::new(),
        };
        let answer = self.post_customer(&customer).await?;
        customer.customer_id = answer.text("/customer_id");
        customer.subscription_id = answer.text("/subscription_id");
        customer.subscription_item_id = answer.text("/subscription_item_id");
        Ok(customer)
    }

    /// Asks for the customer to be onboarded, for the first time or again.
    pub(crate) async fn post_customer(
        &self,
        customer: &Customer,
    ) -> Result<super::Answer, StoryError> {
        let body = json!({
            "email": customer.email,
            "payment_method": customer.payment_method,
            "external_id": customer.external_id,
            "test_clock": customer.test_clock,
        });
        let answer = self.api.post("/v1/customers", &body).await?;
        Self::expect("onboarding", answer, &[200, 201])
    }

    /// The period that the customer's subscription is in, by Stripe: unix seconds.
    pub(crate) async fn current_period(
        &self,
        customer: &Customer,
    ) -> Result<(i64, i64), StoryError> {
        let subscription = self
            .stripe()
            .retrieve_subscription(&customer.subscription_id)
            .await;
        let subscription = subscription.map_err(StoryError::stripe("tell a subscription"))?;
        let item = subscription
            .items
            .iter()
            .find(|item| item.id == customer.subscription_item_id);
        item.map(|item| (item.current_period_start, item.current_period_end))
            .ok_or_else(|| StoryError::Unexpected("the subscription in Stripe".to_owned()))
    }

    /// Moves the customer's clock on, and waits until all of it has happened.
    pub(crate) async fn advance_clock(
        &self,
        customer: &Customer,
        to_unix_s: i64,
    ) -> Result<(), StoryError> {
        let advanced = self
            .stripe()
            .advance_test_clock(&customer.test_clock, to_unix_s, &RequestOptions::new())
            .await;
        advanced.map_err(StoryError::stripe("advance a test clock"))?;
        self.patience()
            .until("the test clock", async || {
                let clock = self
                    .stripe()
                    .retrieve_test_clock(&customer.test_clock)
                    .await;
                let clock = clock.map_err(StoryError::stripe("tell a test clock"))?;
                Ok(clock.is_ready().then_some(()))
            })
            .await
    }

    /// Waits until the customer has this status; answers what `access` says then.
    pub(crate) async fn access_with(
        &self,
        customer: &Customer,
        status: &str,
    ) -> Result<super::Answer, StoryError> {
        let path = format!("/v1/customers/{}/access", customer.customer_id);
        let waited = self
            .patience()
            .until("the customer's status", async || {
                let access = self.api.get(&path).await?;
                Ok((access.text("/status") == status).then_some(access))
            })
            .await;
        match waited {
            Err(StoryError::WaitedInVain(_)) => self.api.get(&path).await,
            waited => waited,
        }
    }
}
