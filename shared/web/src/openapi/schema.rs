//! Schemas of the values that requests and answers are made of, with the limits
//! that the code checks. For `#[schema(schema_with = …)]`.

use billing::UsageStatus;
use billing::usage_event::{
    ACTION_TYPE_LENGTH_MAX, EVENT_ID_BYTES_MAX, QUANTITY_MAX, STRIPE_ID_LENGTH_MAX,
};
use serde_json::Value;
use utoipa::openapi::schema::{AnyOf, AnyOfBuilder, SchemaType};
use utoipa::openapi::{KnownFormat, Object, ObjectBuilder, SchemaFormat, Type};

/// A text.
pub fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

/// [`text`], or null.
pub fn text_or_null() -> Object {
    or_null(text())
}

/// A text that is not empty.
pub fn not_empty() -> ObjectBuilder {
    text().min_length(Some(1))
}

/// A text of `bytes_max` bytes at most, which are as many characters or fewer.
pub fn short_text(bytes_max: usize) -> ObjectBuilder {
    text().min_length(Some(1)).max_length(Some(bytes_max))
}

/// A text that `pattern` matches.
pub fn pattern(pattern: &str) -> ObjectBuilder {
    text().pattern(Some(pattern))
}

/// One of `words`.
pub fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> ObjectBuilder {
    text().enum_values(Some(words))
}

/// A whole number from `least` to `most`.
pub fn whole(least: usize, most: usize) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(least))
        .maximum(Some(most))
}

/// What `schema` describes, or null.
pub fn or_null(schema: ObjectBuilder) -> Object {
    let mut object = schema.build();
    if let SchemaType::Type(kind) = &object.schema_type {
        object.schema_type = [kind.clone(), Type::Null].into_iter().collect();
    }
    if let Some(values) = &mut object.enum_values {
        values.push(Value::Null);
    }
    object
}

/// An id of Stripe's.
pub fn stripe_id() -> ObjectBuilder {
    pattern(&format!("^[A-Za-z0-9_]{{1,{STRIPE_ID_LENGTH_MAX}}}$"))
}

/// An id of Stripe's that begins with `prefix`.
pub fn stripe_id_of(prefix: &str) -> ObjectBuilder {
    let rest_max = STRIPE_ID_LENGTH_MAX.saturating_sub(prefix.len());
    pattern(&format!("^{prefix}[A-Za-z0-9_]{{1,{rest_max}}}$"))
}

/// A customer's id, which is that of the Stripe customer.
pub fn customer_id() -> ObjectBuilder {
    stripe_id().description(Some("The id of the Stripe customer."))
}

/// An agent's id of a usage event.
pub fn event_id() -> ObjectBuilder {
    let description = format!(
        "The agent's own name for the event, unique for the customer: any characters, at most \
         {EVENT_ID_BYTES_MAX} bytes of UTF-8."
    );
    short_text(EVENT_ID_BYTES_MAX).description(Some(description))
}

/// What was done.
pub fn action_type() -> ObjectBuilder {
    pattern(&format!("^[A-Za-z0-9_.:-]{{1,{ACTION_TYPE_LENGTH_MAX}}}$"))
}

/// The units of one event.
pub fn quantity() -> ObjectBuilder {
    // On every machine that this is made on, a billion fits.
    whole(1, usize::try_from(QUANTITY_MAX).unwrap_or(usize::MAX))
}

/// Units in sum.
pub fn units() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0_usize))
}

/// A time in an answer: RFC 3339, in UTC.
pub fn time() -> ObjectBuilder {
    text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .pattern(Some("Z$"))
}

/// [`time`], or null.
pub fn time_or_null() -> Object {
    or_null(time())
}

/// A time in a request's body.
pub fn wire_time() -> AnyOfBuilder {
    let description = "RFC 3339 with any offset, or whole unix seconds, between the years 2000 and \
                       2100. Fractions of a second are kept to the millisecond.";
    AnyOf::builder()
        .item(text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime))))
        .item(whole(946_684_800, 4_102_444_800))
        .description(Some(description))
}

/// [`wire_time`], or null, which is as if it were omitted.
pub fn wire_time_or_null() -> AnyOfBuilder {
    wire_time().item(ObjectBuilder::new().schema_type(Type::Null))
}

/// An amount of money in major units with its currency's decimals: a text, since
/// a number of JSON's passes through floating point on its way.
pub fn amount() -> ObjectBuilder {
    pattern(r"^-?[0-9]+(\.[0-9]{2,3})?$")
        .description(Some(
            "A decimal text in major units: 20.10 is twenty dollars and ten cents.",
        ))
        .examples(["20.10"])
}

/// [`amount`], or null.
pub fn amount_or_null() -> Object {
    or_null(amount())
}

/// An amount that is not rounded to its currency's decimals, or null.
pub fn exact_amount_or_null() -> Object {
    let amount = pattern(r"^-?[0-9]+(\.[0-9]{1,15})?$").description(Some(
        "A decimal text in major units, to its last fraction: 0.0025 is a quarter of a cent.",
    ));
    or_null(amount.examples(["0.0025"]))
}

/// A currency by its lower-case ISO code.
pub fn currency() -> ObjectBuilder {
    pattern("^[a-z]{3}$").examples(["usd"])
}

/// Where a usage event stands.
pub fn usage_status() -> ObjectBuilder {
    words(UsageStatus::ALL.map(UsageStatus::as_str))
}

/// Whether a customer may go on acting.
pub fn customer_status() -> ObjectBuilder {
    words(["active", "past_due", "suspended", "canceled"])
}

/// An address of a web page.
pub fn url() -> ObjectBuilder {
    text().format(Some(SchemaFormat::Custom("uri".to_owned())))
}
