//! The API's description (OpenAPI 3.1), put together from the functions' parts.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder};
use web::openapi::{API_KEY, shared_components};

const DESCRIPTION: &str = "\
Metered billing on Stripe for agents. Every billable action is recorded once and reaches Stripe in the \
same call.

Errors are problem documents (RFC 9457) with a stable `type`. What does not reach a function, API Gateway \
answers itself, as `{\"message\": …}`. A 429 or 503 of Meterline's own says in `Retry-After` when to come \
again. A path that is not described here is answered with 404 `not-found`, a method that is not with 405 \
`method-not-allowed`. Amounts of money are decimal texts with their currency beside them; times go in as \
RFC 3339 or unix seconds and come out as RFC 3339 in UTC.

Stripe's webhooks go to a function URL of their own and are no part of this API.";

/// The whole document.
pub fn document() -> OpenApi {
    let mut components = shared_components();
    components.add_security_scheme(API_KEY, api_key());
    let license = LicenseBuilder::new()
        .name("Apache-2.0")
        .identifier(Some("Apache-2.0"));
    let info = InfoBuilder::new()
        .title("Meterline")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(license.build()))
        .build();
    let mut document = OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build();
    for part in [
        onboarding::openapi::part(),
        emission::openapi::part(),
        report::openapi::part(),
    ] {
        document.merge(part.into_openapi());
    }
    document
}

/// The document as it is checked in and served.
///
/// # Errors
/// JSON's, which a document of texts and numbers does not have.
pub fn document_text() -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&document())?;
    text.push('\n');
    Ok(text)
}

fn api_key() -> SecurityScheme {
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("mk_…")
        .description(Some(
            "An API key. What it may do, and for which customers, is said when it is made.",
        ));
    SecurityScheme::Http(scheme.build())
}
