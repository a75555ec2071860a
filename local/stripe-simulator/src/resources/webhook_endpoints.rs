//! Webhook endpoints (Stripe API reference: Webhook Endpoints).

use serde_json::json;

use super::Answer;
use crate::api::error::{Result, StripeError};
use crate::api::expand::present;
use crate::api::list;
use crate::api::params::Params;
use crate::api::version::Version;
use crate::call::Call;
use crate::store::{deliveries, objects};

/// `POST /v1/webhook_endpoints`; the only answer that holds the secret.
pub(crate) fn create(call: &Call<'_>, mut params: Params) -> Answer {
    let url = params.required("url")?;
    check_url(&url)?;
    let enabled = params
        .texts("enabled_events")?
        .filter(|events| !events.is_empty())
        .ok_or_else(|| StripeError::missing("enabled_events"))?;
    let version = params.text("api_version")?;
    if let Some(version) = &version {
        Version::parse(version)?;
    }
    let secret = format!("whsec_{}", call.random.text(32));
    let mut endpoint = json!({
        "id": call.random.id("we"),
        "object": "webhook_endpoint",
        "_secret": secret,
        "api_version": version,
        "application": null,
        "created": call.now(),
        "description": params.text("description")?,
        "enabled_events": enabled,
        "livemode": false,
        "metadata": {},
        "status": "enabled",
        "url": url,
    });
    params.metadata(&mut endpoint)?;
    params.discard(&["connect"]);
    params.finish()?;
    call.insert(&endpoint)?;
    let mut answer = present(call, &endpoint)?;
    answer["secret"] = secret.into();
    Ok(answer)
}

fn check_url(url: &str) -> Result<()> {
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    if is_web && reqwest::Url::parse(url).is_ok() {
        return Ok(());
    }
    let message = "Not a valid URL";
    Err(StripeError::invalid_param("url", message).code("url_invalid"))
}

/// `GET /v1/webhook_endpoints/{id}`.
pub(crate) fn retrieve(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    present(call, &call.get("webhook_endpoint", id)?)
}

/// `POST /v1/webhook_endpoints/{id}`.
pub(crate) fn update(call: &Call<'_>, id: &str, mut params: Params) -> Answer {
    let mut endpoint = call.get("webhook_endpoint", id)?;
    if let Some(url) = params.text("url")? {
        check_url(&url)?;
        endpoint["url"] = url.into();
    }
    if let Some(enabled) = params.texts("enabled_events")? {
        endpoint["enabled_events"] = enabled.into();
    }
    if let Some(disabled) = params.boolean("disabled")? {
        let status = if disabled { "disabled" } else { "enabled" };
        endpoint["status"] = status.into();
    }
    params.copy_texts(&["description"], &mut endpoint)?;
    params.metadata(&mut endpoint)?;
    params.finish()?;
    call.save(&endpoint)?;
    present(call, &endpoint)
}

/// `DELETE /v1/webhook_endpoints/{id}`; what was queued for it is dropped.
pub(crate) fn delete(call: &Call<'_>, id: &str, params: Params) -> Answer {
    params.finish()?;
    call.get("webhook_endpoint", id)?;
    deliveries::drop_for(call.db, id)?;
    objects::delete(call.db, id)?;
    Ok(json!({ "id": id, "object": "webhook_endpoint", "deleted": true }))
}

/// `GET /v1/webhook_endpoints`.
pub(crate) fn list(call: &Call<'_>, params: Params) -> Answer {
    list::answer(
        call,
        params,
        "webhook_endpoint",
        "/v1/webhook_endpoints",
        &[],
    )
}
