//! Step 2: from an email address and a payment method to a subscription.

use super::customer::Customer;
use super::{Narrator, Stage, StoryError};
use billing::CustomerId;

/// Onboards the story's first customer, twice.
pub(crate) async fn play(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
) -> Result<Customer, StoryError> {
    let customer = stage.onboard("reader", "pm_card_visa").await?;
    narrator.say(format!(
        "{} {} {}",
        customer.customer_id, customer.subscription_id, customer.subscription_item_id
    ));
    let again = stage.post_customer(&customer).await?;
    narrator.figure(
        "the same external_id again is the same customer",
        again.text("/customer_id"),
        &customer.customer_id,
    );
    let in_stripe = stage
        .stripe()
        .retrieve_customer(&customer.customer_id)
        .await;
    let in_stripe = in_stripe.map_err(StoryError::stripe("tell a customer"))?;
    narrator.figure(
        "in Stripe, with a default payment method",
        in_stripe.invoice_settings.default_payment_method.is_some(),
        true,
    );
    let customer_id = CustomerId::parse(&customer.customer_id)
        .map_err(|error| StoryError::Unexpected(error.to_string()))?;
    let row = stage.place.ledger.customer(&customer_id).await?;
    let stored = row.is_some_and(|row| {
        row.subscription_id == customer.subscription_id
            && row.item.subscription_item_id == customer.subscription_item_id
    });
    narrator.figure("stored in DynamoDB, with its subscription", stored, true);
    Ok(customer)
}
