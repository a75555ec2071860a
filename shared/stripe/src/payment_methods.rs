//! Payment methods (Stripe API reference: PaymentMethods).

use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::object::optional_id;
use crate::request::{Request, segment};

/// A card, or another means of payment.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PaymentMethod {
    /// `pm_…`.
    pub id: String,
    /// Whose it is.
    #[serde(default, deserialize_with = "optional_id")]
    pub customer: Option<String>,
    /// `card`, for instance.
    #[serde(rename = "type")]
    pub payment_method_type: String,
}

impl Client {
    /// Makes the payment method the customer's. One that is already is no error.
    ///
    /// # Errors
    /// [`Error`]; `is_card_error` where the card is declined.
    pub async fn attach_payment_method(
        &self,
        id: &str,
        customer_id: &str,
        options: &RequestOptions,
    ) -> Result<PaymentMethod, Error> {
        let path = format!("/v1/payment_methods/{}/attach", segment(id)?);
        let form = Form::new().with("customer", customer_id);
        self.call(Request::post(path, form), options).await
    }
}
