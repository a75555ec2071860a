//! Products (Stripe API reference: Products).

use rusqlite::types::Value as Sql;
use serde_json::{Value, json};

use super::{Answer, prices};
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::list;
use crate::api::params::Params;
use crate::call::Call;
use crate::events;
use crate::store::objects;

const TEXTS: [&str; 6] = [
    "description",
    "name",
    "statement_descriptor",
    "tax_code",
    "unit_label",
    "url",
];
const UNUSED: [&str; 5] = [
    "images",
    "marketing_features",
    "package_dimensions",
    "shippable",
    "tax_details",
];

/// `POST /v1/products`.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let id = params.text("id")?;
    if let Some(id) = &id
        && call.find("product", id)?.is_some()
    {
        let message = format!("Product already exists: {id}");
        return Err(StripeError::invalid(message)
            .code("resource_already_exists")
            .param("id"));
    }
    params.discard(&["type"]);
    let default_price = params.hash("default_price_data")?;
    let mut product = make(call, params, id)?;
    if let Some(data) = default_price {
        let price = prices::make_for(call, data, &product["id"])?;
        product["default_price"] = price["id"].clone();
        call.save(&product)?;
    }
    present(call, &product)
}

/// Makes a product of its parameters: those of the call, or a price's `product_data`.
pub(crate) fn make(call: &Call<'_>, mut params: Params, id: Option<String>) -> Result<Value> {
    let name = params.required("name")?;
    let id = id.unwrap_or_else(|| format!("prod_{}", call.random.text(14)));
    let mut product = json!({
        "id": id,
        "object": "product",
        "active": params.boolean("active")?.unwrap_or(true),
        "created": call.now(),
        "default_price": null,
        "description": null,
        "images": [],
        "livemode": false,
        "marketing_features": [],
        "metadata": {},
        "name": name,
        "package_dimensions": null,
        "shippable": null,
        "statement_descriptor": null,
        "tax_code": null,
        "type": "service",
        "unit_label": null,
        "updated": call.now(),
        "url": null,
    });
    params.copy_texts(&TEXTS, &mut product)?;
    params.metadata(&mut product)?;
    params.discard(&UNUSED);
    params.finish()?;
    call.insert(&product)?;
    events::emit(call, "product.created", &product)?;
    Ok(product)
}

/// `GET /v1/products/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get("product", id)?)
}

/// `POST /v1/products/{id}`.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let before = call.get("product", id)?;
    let mut product = before.clone();
    if let Some(active) = params.boolean("active")? {
        product["active"] = active.into();
    }
    params.copy_texts(&TEXTS, &mut product)?;
    params.copy_texts(&["default_price"], &mut product)?;
    params.metadata(&mut product)?;
    params.discard(&UNUSED);
    params.finish()?;
    product["updated"] = call.now().into();
    call.save(&product)?;
    events::emit_update(call, "product.updated", &before, &product)?;
    present(call, &product)
}

/// `DELETE /v1/products/{id}`: only while it has no price.
pub(crate) fn delete(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    let product = call.get("product", id)?;
    let of_product = ("parent", Sql::Text(id.to_owned()));
    if !objects::all(call.db, "price", &[of_product])?.is_empty() {
        let message =
            "This product cannot be deleted because it has one or more user-created prices.";
        return Err(StripeError::invalid(message));
    }
    objects::delete(call.db, id)?;
    events::emit(call, "product.deleted", &product)?;
    Ok(json!({ "id": id, "object": "product", "deleted": true }))
}

/// `GET /v1/products`.
pub(crate) fn list(call: &Call<'_>, mut params: Params) -> Answer {
    let mut filters = Vec::new();
    if let Some(active) = params.boolean("active")? {
        filters.push(active_filter(active));
    }
    params.discard(&["shippable", "type", "url"]);
    list::answer(call, params, "product", "/v1/products", &filters)
}

/// The filter of `active=`.
pub(crate) fn active_filter(active: bool) -> (&'static str, Sql) {
    let status = if active { "active" } else { "inactive" };
    ("status", Sql::Text(status.to_owned()))
}
