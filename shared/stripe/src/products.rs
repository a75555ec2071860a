//! Products (Stripe API reference: Products).

use serde::Deserialize;

use crate::client::{Client, RequestOptions};
use crate::error::Error;
use crate::form::Form;
use crate::object::{Metadata, or_default};
use crate::request::{Request, segment};

const PATH: &str = "/v1/products";

/// What prices are for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Product {
    /// `prod_…`, or an id of your own.
    pub id: String,
    /// What invoices call it.
    pub name: String,
    /// Whether it can be bought.
    pub active: bool,
    /// Your own keys.
    #[serde(default, deserialize_with = "or_default")]
    pub metadata: Metadata,
}

/// A product to be.
#[derive(Clone, Debug, Default)]
pub struct CreateProduct {
    /// An id of your own, by which a second product of its kind is refused
    /// (`resource_already_exists`).
    pub id: Option<String>,
    /// What invoices call it.
    pub name: String,
    /// What one unit is called on invoices.
    pub unit_label: Option<String>,
    /// Your own keys.
    pub metadata: Metadata,
}

impl Client {
    /// Makes a product.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn create_product(
        &self,
        product: &CreateProduct,
        options: &RequestOptions,
    ) -> Result<Product, Error> {
        let form = Form::new()
            .with_some("id", product.id.as_deref())
            .with("name", &product.name)
            .with_some("unit_label", product.unit_label.as_deref())
            .with_metadata(&product.metadata);
        self.call(Request::post(PATH, form), options).await
    }

    /// The product `id`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn retrieve_product(&self, id: &str) -> Result<Product, Error> {
        let path = format!("{PATH}/{}", segment(id)?);
        self.read(Request::get(path, &Form::new())).await
    }
}
