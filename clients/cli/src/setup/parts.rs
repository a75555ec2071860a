//! What one kind of usage needs in Stripe: a product, its meter, and the price
//! between them. Found and checked first, and made only then, so that nothing is
//! made where anything else is not as it should be.

use billing::PriceTerms;
use metering::{price_amount, price_of};
use stripe::{
    Aggregation, Client, CreateMeter, CreatePrice, CreateProduct, IdempotencyKey, Meter, Price,
    Recurring, RequestOptions,
};

use super::{Found, SetupError, SetupOptions};

/// What Stripe has, as it should be; what is none has to be made.
pub(crate) struct Known {
    pub(crate) product_id: Option<String>,
    /// None, too, for a price that is to have no meter.
    pub(crate) meter_id: Option<String>,
    pub(crate) price_id: Option<String>,
}

/// The parts, and whether they were there.
pub(crate) struct Parts {
    pub(crate) product: (String, Found),
    /// None for a price without one.
    pub(crate) meter: Option<(String, Found)>,
    pub(crate) price: (String, Found),
}

/// The id of the product whose usage is counted under `event_name`.
pub fn product_id(event_name: &str) -> String {
    format!("meterline_{event_name}")
}

/// Looks for the parts that `options` name, whose price is `asked`.
///
/// # Errors
/// [`SetupError`], also where a part is there and is another.
pub(crate) async fn find(
    stripe: &Client,
    options: &SetupOptions,
    asked: &billing::Price,
) -> Result<Known, SetupError> {
    let known = stripe.list_prices_by_lookup_key(&options.lookup_key).await;
    let known = known.map_err(SetupError::stripe("find the price"))?;
    let Some(price) = known.into_iter().next() else {
        return find_without_price(stripe, options).await;
    };
    let meter_id = check_price(&price, asked, options)?;
    if let Some(meter_id) = &meter_id {
        let meter = stripe.retrieve_meter(meter_id).await;
        let meter = meter.map_err(SetupError::stripe("find the meter"))?;
        check_meter(&meter, options)?;
    }
    Ok(Known {
        product_id: Some(price.product),
        meter_id,
        price_id: Some(price.id),
    })
}

async fn find_without_price(stripe: &Client, options: &SetupOptions) -> Result<Known, SetupError> {
    // The product has an id of ours, so that it is found without a price.
    let product_id = product_id(&options.event_name);
    let product_id = match stripe.retrieve_product(&product_id).await {
        Ok(product) => Some(product.id),
        Err(error) if error.is_not_found() => None,
        Err(error) => return Err(SetupError::stripe("find the product")(error)),
    };
    let mut known = Known {
        product_id,
        meter_id: None,
        price_id: None,
    };
    if options.legacy {
        return Ok(known);
    }
    let meters = stripe.list_meters().await;
    let meters = meters.map_err(SetupError::stripe("list the meters"))?;
    let of_name = || {
        let meters = meters.iter();
        meters.filter(|meter| meter.event_name == options.event_name)
    };
    // An event name belongs to one active meter at most. An inactive one is not
    // passed over for a new one: customers may have items of it.
    let meter = of_name().find(|meter| meter.is_active());
    if let Some(meter) = meter.or_else(|| of_name().next()) {
        check_meter(meter, options)?;
        known.meter_id = Some(meter.id.clone());
    }
    Ok(known)
}

/// Makes what is not `known`.
///
/// # Errors
/// [`SetupError::Stripe`]. Run again, it goes on where it stopped.
pub(crate) async fn make(
    stripe: &Client,
    options: &SetupOptions,
    asked: &billing::Price,
    known: Known,
) -> Result<Parts, SetupError> {
    let product = match known.product_id {
        Some(id) => (id, Found::Found),
        None => (create_product(stripe, options).await?, Found::Created),
    };
    let meter = match known.meter_id {
        Some(id) => Some((id, Found::Found)),
        None if options.legacy => None,
        None => {
            let id = create_meter(stripe, options).await?;
            Some((id, Found::Created))
        }
    };
    let price = match known.price_id {
        Some(id) => (id, Found::Found),
        None => {
            let meter_id = meter.as_ref().map(|(id, _)| id.as_str());
            let id = create_price(stripe, options, asked, (&product.0, meter_id)).await?;
            (id, Found::Created)
        }
    };
    Ok(Parts {
        product,
        meter,
        price,
    })
}

/// The price's meter, if the price is the one that is asked for; none for one
/// that is to have none.
fn check_price(
    price: &Price,
    asked: &billing::Price,
    options: &SetupOptions,
) -> Result<Option<String>, SetupError> {
    let other = |difference: String| SetupError::OtherPrice {
        id: price.id.clone(),
        lookup_key: options.lookup_key.clone(),
        difference,
    };
    // 2 and 2.000 are one price.
    match price_of(price) {
        Ok(found) if found == *asked => {}
        Ok(found) => return Err(other(format!("it is {found}, not {asked}"))),
        Err(error) => return Err(other(format!("it cannot be computed with: {error}"))),
    }
    let recurring = price.recurring.as_ref();
    let is_monthly = |recurring: &&Recurring| {
        recurring.interval == "month" && recurring.interval_count.unwrap_or(1) == 1
    };
    let Some(recurring) = recurring.filter(is_monthly) else {
        return Err(other("it does not recur monthly".to_owned()));
    };
    let difference = match (&recurring.meter, options.legacy) {
        (Some(_), false) => return Ok(recurring.meter.clone()),
        (None, true) if recurring.usage_type == "metered" => return Ok(None),
        (Some(_), true) => "it has a meter, and usage records are for prices without one",
        (None, true) => "it is not metered",
        (None, false) => "it has no meter: --legacy takes such a price",
    };
    Err(other(difference.to_owned()))
}

fn check_meter(meter: &Meter, options: &SetupOptions) -> Result<(), SetupError> {
    let other = |difference: String| SetupError::OtherMeter {
        id: meter.id.clone(),
        event_name: meter.event_name.clone(),
        difference,
    };
    if meter.event_name != options.event_name {
        return Err(other(format!("{} are asked for", options.event_name)));
    }
    if !meter.is_active() {
        return Err(SetupError::InactiveMeter {
            id: meter.id.clone(),
            event_name: meter.event_name.clone(),
        });
    }
    if meter.default_aggregation.formula != Aggregation::Sum {
        let formula = meter.default_aggregation.formula;
        return Err(other(format!("its formula is {formula} and not sum")));
    }
    if !meter.has_default_payload_keys() {
        return Err(other("it has payload keys of its own".to_owned()));
    }
    Ok(())
}

async fn create_product(stripe: &Client, options: &SetupOptions) -> Result<String, SetupError> {
    let id = product_id(&options.event_name);
    let product = CreateProduct {
        id: Some(id.clone()),
        name: options.product_name.clone(),
        unit_label: Some("operation".to_owned()),
        metadata: options.metadata.clone(),
    };
    let key = key(&["product", &id, &options.product_name]);
    let created = stripe.create_product(&product, &key).await;
    let created = created.map_err(SetupError::stripe("make the product"))?;
    Ok(created.id)
}

async fn create_meter(stripe: &Client, options: &SetupOptions) -> Result<String, SetupError> {
    let meter = CreateMeter {
        display_name: options.product_name.clone(),
        event_name: options.event_name.clone(),
        formula: Aggregation::Sum,
    };
    // Meters cannot be deleted, and one of the name that was deactivated is
    // refused before: no old answer comes back.
    let key = key(&["meter", &options.event_name, &options.product_name]);
    let created = stripe.create_meter(&meter, &key).await;
    let created = created.map_err(SetupError::stripe("make the meter"))?;
    Ok(created.id)
}

async fn create_price(
    stripe: &Client,
    options: &SetupOptions,
    asked: &billing::Price,
    (product, meter): (&str, Option<&str>),
) -> Result<String, SetupError> {
    let terms = PriceTerms::from(asked.clone());
    // The lookup key names the price, and what it says is said once more, so that
    // another price under it is another request.
    let parts = [
        "price",
        &options.lookup_key,
        &asked.to_string(),
        product,
        meter.unwrap_or("no meter"),
    ];
    let key = key(&parts);
    let price = CreatePrice {
        product: product.to_owned(),
        currency: asked.currency().as_str().to_owned(),
        amount: price_amount(&terms),
        interval: "month".to_owned(),
        meter: meter.map(str::to_owned),
        lookup_key: Some(options.lookup_key.clone()),
        metadata: options.metadata.clone(),
        ..CreatePrice::default()
    };
    let created = stripe.create_price(&price, &key).await;
    Ok(created.map_err(SetupError::stripe("make the price"))?.id)
}

/// Derived from what is made: two runs at once make it once.
fn key(parts: &[&str]) -> RequestOptions {
    let parts = [&["meterline setup"], parts].concat();
    RequestOptions::new().idempotency_key(IdempotencyKey::derived(&parts))
}
