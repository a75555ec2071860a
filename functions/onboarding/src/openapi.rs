//! The routes of onboarding, described for `openapi.json`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::path::{HttpMethod, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{AnyOf, AnyOfBuilder, ArrayBuilder, Schema};
use utoipa::openapi::{Object, ObjectBuilder, Ref, Required, Type};
use web::openapi::{Operation, Part, schema};
use web::{BODY_BYTES_MAX, ProblemType};

use crate::body::{Body, CheckoutBody, EMAIL_BYTES_MAX, EXTERNAL_ID_BYTES_MAX, URL_BYTES_MAX};
use crate::subscription::Changes;
use crate::terms::{
    ADDITIONAL_PRICES_MAX, AddressBody, METADATA_KEY_CHARS_MAX, METADATA_KEYS_MAX, METADATA_OWN,
    METADATA_VALUE_CHARS_MAX, TAX_IDS_MAX, TRIAL_DAYS_MAX, TaxIdBody,
};
use crate::{Answer, AwaitedAnswer, portal, subscription};

const DESCRIPTION: &str = "Customers, and their metered subscriptions in Stripe.";

const CUSTOMER: &str = "cus_Q7hYc2mN4pXs1a";

/// Onboarding's part of the document.
pub fn part() -> Part {
    use HttpMethod::{Delete, Post};
    Part::new("onboarding", DESCRIPTION)
        .operation(Post, "/v1/customers", create_customer())
        .operation(
            Post,
            "/v1/customers/{customer_id}/subscription",
            update_subscription(),
        )
        .operation(
            Delete,
            "/v1/customers/{customer_id}/subscription",
            cancel_subscription(),
        )
        .operation(
            Post,
            "/v1/customers/{customer_id}/billing-portal-sessions",
            create_portal_session(),
        )
}

/// What Stripe may say to a change.
const STRIPE: [ProblemType; 3] = [
    ProblemType::CardDeclined,
    ProblemType::StripeRefused,
    ProblemType::StripeUnavailable,
];

fn create_customer() -> Operation {
    let body = json!({
        "email": "ada@example.com", "payment_method": "pm_card_visa", "external_id": "acme",
    });
    let item = json!({
        "subscription_item_id": "si_U1", "price_id": "price_1",
        "meter_event_name": "agent_operations",
    });
    let created = json!({
        "customer_id": CUSTOMER, "subscription_id": "sub_1", "subscription_item_id": "si_U1",
        "subscription_items": [item], "status": "active",
    });
    let awaited = json!({
        "customer_id": CUSTOMER, "status": "awaiting_payment_method",
        "checkout_url": "https://checkout.stripe.com/c/pay/cs_test_1",
        "checkout_expires_at": "2026-02-01T12:00:00Z",
    });
    Operation::new("createCustomer", "Make a customer with a metered subscription")
        .description(
            "Exactly one for each `external_id`: the same one again finishes or returns the first. Needs a \
             key that may administer every customer.",
        )
        .keyed()
        .idempotency_key(
            EXTERNAL_ID_BYTES_MAX,
            "Names the customer where `external_id` is omitted: the same key returns the same one.",
        )
        .body::<Body>(BODY_BYTES_MAX, &[("A card that is known", body)])
        .component::<CheckoutBody>()
        .component::<AddressBody>()
        .component::<TaxIdBody>()
        .answer::<Answer<'static>>(
            StatusCode::CREATED,
            "The customer is onboarded, by this call or an earlier one.",
            &[("Onboarded", created)],
        )
        .answer::<AwaitedAnswer<'static>>(
            StatusCode::ACCEPTED,
            "The person has to enter a payment method first; the same call again then finishes.",
            &[("Waits for Checkout", awaited)],
        )
        .header(StatusCode::ACCEPTED, "Cache-Control", "no-store: it is for the person who pays.")
        .problems(&STRIPE)
        .problems(&[ProblemType::Conflict])
}

fn of_a_customer(operation_id: &str, summary: &str) -> Operation {
    Operation::new(operation_id, summary)
        .keyed()
        .path("customer_id", schema::customer_id(), CUSTOMER)
        .problems(&STRIPE)
        .problems(&[ProblemType::CustomerNotFound, ProblemType::Conflict])
}

fn a_subscription() -> (&'static str, serde_json::Value) {
    let subscription = json!({
        "customer_id": CUSTOMER, "subscription_id": "sub_1", "subscription_item_id": "si_U1",
        "subscription_items": [{
            "subscription_item_id": "si_U1", "price_id": "price_1",
            "meter_event_name": "agent_operations",
        }],
        "status": "active", "price_id": "price_1",
        "current_period_end": "2026-02-01T00:00:00Z", "ends_at": null,
    });
    ("As it is now", subscription)
}

fn update_subscription() -> Operation {
    let another = json!({ "price_lookup_key": "agent_operations_monthly" });
    of_a_customer(
        "updateSubscription",
        "Change a customer's price, or let the subscription end",
    )
    .description("One of `price_lookup_key` and `cancel_at_period_end` is needed.")
    .body::<Changes>(
        BODY_BYTES_MAX,
        &[
            ("Another price", another),
            (
                "Ends with its period",
                json!({ "cancel_at_period_end": true }),
            ),
        ],
    )
    .answer::<subscription::Answer<'static>>(
        StatusCode::OK,
        "It is changed.",
        &[a_subscription()],
    )
}

fn cancel_subscription() -> Operation {
    let invoice_now = ParameterBuilder::new()
        .name("invoice_now")
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(
            "Whether the usage so far is billed by a last invoice.",
        ))
        .schema(Some(
            ObjectBuilder::new()
                .schema_type(Type::Boolean)
                .default(Some(true.into())),
        ));
    of_a_customer(
        "cancelSubscription",
        "End a customer's subscription at once",
    )
    .description("Ending what has ended is no error.")
    .parameter(invoice_now)
    .answer::<subscription::Answer<'static>>(
        StatusCode::OK,
        "It has ended.",
        &[a_subscription()],
    )
}

fn create_portal_session() -> Operation {
    let body = json!({ "return_url": "https://example.com/account" });
    let session = json!({ "url": "https://billing.stripe.com/p/session/test_1" });
    of_a_customer(
        "createBillingPortalSession",
        "A way into Stripe's billing portal",
    )
    .body::<portal::Body>(BODY_BYTES_MAX, &[("With a way back", body)])
    .answer::<portal::Answer<'static>>(
        StatusCode::CREATED,
        "Whoever has the address acts as the customer there, for minutes.",
        &[("A session", session)],
    )
    .header(
        StatusCode::CREATED,
        "Cache-Control",
        "no-store: the address is a secret.",
    )
}

pub(crate) fn awaiting() -> ObjectBuilder {
    schema::words(["awaiting_payment_method"])
}

pub(crate) fn email() -> Object {
    schema::or_null(
        schema::pattern(r"^[^@\s\x00-\x1f\x7f-\x9f]+@[^@\s\x00-\x1f\x7f-\x9f]+$")
            .max_length(Some(EMAIL_BYTES_MAX))
            .description(Some(
                "Whom Stripe writes to. Needed, unless `stripe_customer_id` is given.",
            )),
    )
}

pub(crate) fn payment_method() -> Object {
    schema::or_null(schema::stripe_id_of("pm_").description(Some(
        "What Stripe charges. Needed, or `checkout` or `setup_intent`; one of the three.",
    )))
}

pub(crate) fn stripe_customer_id() -> Object {
    schema::or_null(
        schema::stripe_id_of("cus_")
            .description(Some("A customer whom Stripe has, to be adopted.")),
    )
}

pub(crate) fn test_clock() -> Object {
    schema::or_null(schema::stripe_id_of("clock_").description(Some(
        "With a test key only: a test clock that the customer lives on.",
    )))
}

pub(crate) fn external_id() -> Object {
    schema::or_null(schema::short_text(EXTERNAL_ID_BYTES_MAX).description(Some("Your own id of the customer, at most 255 bytes: the same one again finishes or returns the first.")))
}

pub(crate) fn metadata() -> ObjectBuilder {
    let value = schema::text()
        .min_length(Some(1))
        .max_length(Some(METADATA_VALUE_CHARS_MAX));
    let key = schema::pattern(&format!(r"^(?!{METADATA_OWN})[^\[\]]+$"))
        .max_length(Some(METADATA_KEY_CHARS_MAX));
    ObjectBuilder::new()
        .schema_type(Type::Object)
        .max_properties(Some(METADATA_KEYS_MAX))
        .property_names(Some(Schema::Object(key.build())))
        .additional_properties(Some(Schema::Object(value.build())))
        .description(Some(
            "Keys of your own, on the customer and the subscription in Stripe.",
        ))
}

pub(crate) fn trial_period_days() -> Object {
    schema::or_null(
        schema::whole(1, usize::try_from(TRIAL_DAYS_MAX).unwrap_or_default())
            .description(Some("Days before the first invoice.")),
    )
}

pub(crate) fn proration_behavior() -> Object {
    schema::or_null(
        schema::words(["create_prorations", "always_invoice", "none"]).description(Some(
            "Whether agreed amounts are billed in part where a period is cut.",
        )),
    )
}

pub(crate) fn tax_exempt() -> Object {
    schema::or_null(
        schema::words(["none", "exempt", "reverse"])
            .description(Some("Whether the customer pays taxes.")),
    )
}

pub(crate) fn additional_prices() -> ArrayBuilder {
    ArrayBuilder::new()
        .items(schema::stripe_id_of("price_"))
        .max_items(Some(ADDITIONAL_PRICES_MAX))
        .description(Some("Prices beside the metered ones, such as a base fee."))
}

pub(crate) fn tax_ids() -> ArrayBuilder {
    ArrayBuilder::new()
        .items(component::<TaxIdBody>())
        .max_items(Some(TAX_IDS_MAX))
        .description(Some("The customer's tax ids."))
}

pub(crate) fn checkout() -> AnyOfBuilder {
    or_null(component::<CheckoutBody>()).description(Some(
        "Asks the person for a payment method on Stripe's page.",
    ))
}

pub(crate) fn address() -> AnyOfBuilder {
    or_null(component::<AddressBody>()).description(Some("Where the customer is, for taxes."))
}

fn component<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

fn or_null(component: Ref) -> AnyOfBuilder {
    let null = ObjectBuilder::new().schema_type(Type::Null);
    AnyOf::builder().item(component).item(null)
}

pub(crate) fn country() -> ObjectBuilder {
    schema::pattern("^[A-Z]{2}$")
}

pub(crate) fn lookup_key_or_null() -> Object {
    schema::or_null(
        schema::not_empty().description(Some("The price that usage is billed at from now on.")),
    )
}

pub(crate) fn web_address() -> ObjectBuilder {
    schema::pattern("^https?://[!-.0-~][!-~]*$").max_length(Some(URL_BYTES_MAX))
}

pub(crate) fn web_address_or_null() -> Object {
    schema::or_null(web_address())
}
