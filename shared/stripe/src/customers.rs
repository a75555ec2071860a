//! Customers (Stripe API reference: Customers; Search customers).

use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::list::{List, listed};
use crate::object::{Metadata, optional_id, or_default};
use crate::request::{Request, segment};

const PATH: &str = "/v1/customers";

/// Somebody who is billed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Customer {
    /// `cus_…`.
    pub id: String,
    /// Whether it was deleted. Then only the id is left of it.
    #[serde(default, deserialize_with = "or_default")]
    pub deleted: bool,
    /// Unix seconds; 0 for one that was deleted.
    #[serde(default)]
    pub created: i64,
    /// Where invoices go.
    pub email: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// The currency it is billed in, once it was.
    pub currency: Option<String>,
    /// Whether its latest invoice is unpaid.
    pub delinquent: Option<bool>,
    /// How its invoices are paid.
    #[serde(default, deserialize_with = "or_default")]
    pub invoice_settings: InvoiceSettings,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
    /// The clock whose time it lives in.
    #[serde(default, deserialize_with = "optional_id")]
    pub test_clock: Option<String>,
}

/// How a customer's invoices are paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct InvoiceSettings {
    /// The payment method that is charged, `pm_…`.
    #[serde(default, deserialize_with = "optional_id")]
    pub default_payment_method: Option<String>,
}

listed!(Customer);

/// Where somebody is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Address {
    /// Two letters (ISO 3166-1 alpha-2).
    pub country: Option<String>,
    /// State, county, province or region.
    pub state: Option<String>,
    /// City, district or suburb.
    pub city: Option<String>,
    /// ZIP or postal code.
    pub postal_code: Option<String>,
    /// Street, or the like.
    pub line1: Option<String>,
    /// Apartment, or the like.
    pub line2: Option<String>,
}

impl Address {
    fn form(&self) -> Form {
        Form::new()
            .with_some("country", self.country.as_deref())
            .with_some("state", self.state.as_deref())
            .with_some("city", self.city.as_deref())
            .with_some("postal_code", self.postal_code.as_deref())
            .with_some("line1", self.line1.as_deref())
            .with_some("line2", self.line2.as_deref())
    }
}

/// A customer to be.
#[derive(Clone, Debug, Default)]
pub struct CreateCustomer {
    /// Where invoices go.
    pub email: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Your own keys.
    pub metadata: Metadata,
    /// Where it is, which automatic tax needs.
    pub address: Option<Address>,
    /// Whether it owes tax: `none`, `exempt` or `reverse`.
    pub tax_exempt: Option<String>,
    /// Its tax ids, each a type of Stripe's (`eu_vat`) and a value.
    pub tax_ids: Vec<(String, String)>,
    /// A payment method to attach, which becomes the one that is charged.
    pub payment_method: Option<String>,
    /// The clock whose time it shall live in.
    pub test_clock: Option<String>,
}

/// What to change of a customer; what is none stays.
#[derive(Clone, Debug, Default)]
pub struct UpdateCustomer {
    /// Where invoices go.
    pub email: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Keys to set; the others stay, an empty value takes a key away.
    pub metadata: Metadata,
    /// The attached payment method that shall be charged.
    pub default_payment_method: Option<String>,
}

/// Which customers.
#[derive(Clone, Debug, Default)]
pub struct ListCustomers {
    /// With exactly this email.
    pub email: Option<String>,
    /// On this clock. Without it, customers on a clock are left out.
    pub test_clock: Option<String>,
    /// Created at or after, in unix seconds.
    pub created_gte: Option<i64>,
    /// At most, 1 to 100; ten if none.
    pub limit: Option<u32>,
    /// The last customer of the page before.
    pub starting_after: Option<String>,
}

impl ListCustomers {
    fn filter(&self) -> Form {
        let created = Form::new().with_some("gte", self.created_gte);
        Form::new()
            .with_some("email", self.email.as_deref())
            .with_some("test_clock", self.test_clock.as_deref())
            .with_nested("created", created)
    }
}

impl Client {
    /// Makes a customer.
    ///
    /// # Errors
    /// [`Error`]; `is_card_error` where the payment method cannot be attached.
    pub async fn create_customer(
        &self,
        customer: &CreateCustomer,
        options: &RequestOptions,
    ) -> Result<Customer, Error> {
        let settings =
            Form::new().with_some("default_payment_method", customer.payment_method.as_deref());
        let tax_ids = customer
            .tax_ids
            .iter()
            .map(|(kind, value)| Form::new().with("type", kind).with("value", value));
        let form = Form::new()
            .with_some("email", customer.email.as_deref())
            .with_some("name", customer.name.as_deref())
            .with_some("payment_method", customer.payment_method.as_deref())
            .with_nested("invoice_settings", settings)
            .with_nested(
                "address",
                customer
                    .address
                    .as_ref()
                    .map(Address::form)
                    .unwrap_or_default(),
            )
            .with_some("tax_exempt", customer.tax_exempt.as_deref())
            .with_nested_array("tax_id_data", tax_ids)
            .with_some("test_clock", customer.test_clock.as_deref())
            .with_metadata(&customer.metadata);
        self.call(Request::post(PATH, form), options).await
    }

    /// The customer `id`, one that was deleted among them.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_customer(&self, id: &str) -> Result<Customer, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }

    /// Changes a customer.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn update_customer(
        &self,
        id: &str,
        changes: &UpdateCustomer,
        options: &RequestOptions,
    ) -> Result<Customer, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        let settings = Form::new().with_some(
            "default_payment_method",
            changes.default_payment_method.as_deref(),
        );
        let form = Form::new()
            .with_some("email", changes.email.as_deref())
            .with_some("name", changes.name.as_deref())
            .with_nested("invoice_settings", settings)
            .with_metadata(&changes.metadata);
        self.call(Request::post(path, form), options).await
    }

    /// One page of customers.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_customers(&self, filter: &ListCustomers) -> Result<List<Customer>, Error> {
        let query = filter
            .filter()
            .with_some("limit", filter.limit)
            .with_some("starting_after", filter.starting_after.as_deref());
        self.read(Request::get(PATH, &query)).await
    }

    /// All customers of the filter, whatever its limit.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list_all_customers(
        &self,
        filter: &ListCustomers,
    ) -> Result<List<Customer>, Error> {
        let query = filter.filter();
        self.list_all_after(PATH, &query, filter.starting_after.as_deref())
            .await
    }

    /// The customers whose metadata has `value` under `key`: a page of up to a
    /// hundred. Stripe's search lags by up to a minute, so one that is not
    /// found may have just been made.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn search_customers_by_metadata(
        &self,
        key: &str,
        value: &str,
    ) -> Result<List<Customer>, Error> {
        let query = Form::new()
            .with(
                "query",
                format!("metadata[{}]:{}", quoted(key), quoted(value)),
            )
            .with("limit", 100);
        self.read(Request::get("/v1/customers/search", &query))
            .await
    }
}

/// A text of the search query language (Stripe's documentation: Search query language).
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        if matches!(character, '\'' | '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_searched_text_cannot_leave_its_quotes() {
        assert_eq!(quoted("acme"), "'acme'");
        assert_eq!(quoted(r#"a' OR email:"x" \"#), r#"'a\' OR email:\"x\" \\'"#);
    }

    #[test]
    fn a_deleted_customer_is_readable() {
        let json = r#"{"id": "cus_1", "object": "customer", "deleted": true}"#;
        let customer: Customer = serde_json::from_str(json).unwrap();
        assert!(customer.deleted);
        assert_eq!(customer.email, None);
    }
}
