//! The dashboard's links and what is behind them, described.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::path::{ParameterBuilder, ParameterIn};
use utoipa::openapi::{ContentBuilder, Required, ResponseBuilder};
use web::openapi::{Operation, schema};
use web::{BODY_BYTES_MAX, ProblemType};

use super::{of_a_known_customer, query, unless_known};
use crate::dashboard::board;
use crate::dashboard::payments::Payments;
use crate::dashboard::{LinkAnswer, LinkRequest};

pub(super) fn link() -> Operation {
    let answer = json!({
        "url": "https://api.example/dashboard?customer=cus_Q7hYc2mN4pXs1a&expires=1769947200&signature=9f…",
        "expires_at": "2026-02-01T12:00:00Z",
    });
    of_a_known_customer(
        "createDashboardLink",
        "A link to the customer's dashboard, for a day",
    )
    .description(
        "With `billing_portal` the link leads on to Stripe's billing portal as well. That takes a key \
         of scope `admin`.",
    )
    .optional_body::<LinkRequest>(
        BODY_BYTES_MAX,
        &[("With a way to the billing portal", json!({ "billing_portal": true }))],
    )
    .answer::<LinkAnswer>(StatusCode::OK, "A new link.", &[("A link", answer)])
    .header(
        StatusCode::OK,
        "Cache-Control",
        "no-store: the link is a secret.",
    )
}

/// What a dashboard link opens: by its own signature, in the query.
fn under_a_link(operation_id: &str, summary: &str) -> Operation {
    let portal = "Is there if the link leads on to the billing portal.";
    Operation::new(operation_id, summary)
        .description(
            "The query is that of a link by `POST /v1/customers/{customer_id}/dashboard-links`.",
        )
        .open()
        .parameter(query("customer", Required::True, schema::customer_id()))
        .parameter(query(
            "expires",
            Required::True,
            schema::pattern("^[0-9]{1,12}$"),
        ))
        .parameter(
            query("billing_portal", Required::False, schema::words(["1"]))
                .description(Some(portal)),
        )
        .parameter(query(
            "signature",
            Required::True,
            schema::pattern("^[0-9a-f]{64}$"),
        ))
}

pub(super) fn page() -> Operation {
    let operation = under_a_link("showDashboard", "The customer's dashboard, as a page");
    let now = "The figures cannot be shown now.";
    pages(
        operation,
        &[
            (StatusCode::OK, "The dashboard."),
            (StatusCode::FORBIDDEN, NO_SUCH_LINK),
            (StatusCode::PAYMENT_REQUIRED, now),
            (StatusCode::NOT_FOUND, "The customer is not there any more."),
            (StatusCode::UNPROCESSABLE_ENTITY, now),
            (StatusCode::INTERNAL_SERVER_ERROR, now),
            (StatusCode::SERVICE_UNAVAILABLE, now),
        ],
    )
}

pub(super) fn billing_portal() -> Operation {
    let site = "What a browser says of a form on the dashboard itself; without it, `Origin` must be the dashboard's.";
    let site = ParameterBuilder::new()
        .name("Sec-Fetch-Site")
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some(site))
        .schema(Some(schema::words(["same-origin"])));
    let operation = under_a_link(
        "openBillingPortal",
        "From the dashboard to Stripe's billing portal",
    );
    let now = "The portal cannot be opened now.";
    pages(
        operation.parameter(site),
        &[
            (
                StatusCode::OK,
                "A page that leads on to the portal by itself.",
            ),
            (
                StatusCode::FORBIDDEN,
                "The link opens nothing, or no portal, or it is asked for from elsewhere.",
            ),
            (
                StatusCode::TOO_MANY_REQUESTS,
                "It was opened too often just now.",
            ),
            (StatusCode::PAYMENT_REQUIRED, now),
            (StatusCode::UNPROCESSABLE_ENTITY, now),
            (StatusCode::SERVICE_UNAVAILABLE, now),
        ],
    )
}

const NO_SUCH_LINK: &str = "The link was never issued like this, or its time is over.";

fn pages(operation: Operation, answers: &[(StatusCode, &str)]) -> Operation {
    answers
        .iter()
        .fold(operation, |operation, (status, description)| {
            let content = ContentBuilder::new().schema(Some(schema::text())).build();
            let response = ResponseBuilder::new()
                .description(*description)
                .content("text/html; charset=utf-8", content);
            operation.response(*status, response)
        })
}

/// JSON for the page's script, which has perhaps seen it.
fn for_script<T: ToSchema>(operation: Operation, description: &str) -> Operation {
    let operation = operation
        .answer::<T>(StatusCode::OK, description, &[])
        .header(StatusCode::OK, "ETag", "Of what the answer says.")
        .header(
            StatusCode::OK,
            "Cache-Control",
            "no-store: the script keeps it, and nobody else.",
        );
    unless_known(operation).problems(&[
        ProblemType::Forbidden,
        ProblemType::CustomerNotFound,
        ProblemType::CardDeclined,
        ProblemType::StripeRefused,
        ProblemType::StripeUnavailable,
        ProblemType::Unavailable,
        ProblemType::Internal,
    ])
}

pub(super) fn data() -> Operation {
    let operation = under_a_link("getDashboardData", "What the dashboard shows of usage");
    for_script::<board::Answer<'_>>(operation, "A second old at most.")
}

pub(super) fn invoices() -> Operation {
    let operation = under_a_link(
        "getDashboardInvoices",
        "What the dashboard shows of invoices",
    );
    for_script::<Payments>(operation, "A minute old at most.")
}

pub(super) fn asset() -> Operation {
    let name = schema::pattern("^[A-Za-z0-9.]{1,64}$");
    let content = ContentBuilder::new().schema(Some(schema::text())).build();
    let response = [
        "text/javascript; charset=utf-8",
        "text/css; charset=utf-8",
        "text/plain; charset=utf-8",
    ]
    .into_iter()
    .fold(
        ResponseBuilder::new().description("The file."),
        |response, kind| response.content(kind, content.clone()),
    );
    Operation::new("getDashboardAsset", "A file of the dashboard's page")
        .open()
        .path(
            "version",
            schema::pattern("^[0-9a-f]{16}$"),
            "0123456789abcdef",
        )
        .path("name", name, "dashboard.css")
        .response(StatusCode::OK, response)
        .header(
            StatusCode::OK,
            "Cache-Control",
            "For good, where the version is the current one; else no-store.",
        )
        .problems(&[ProblemType::NotFound])
}
