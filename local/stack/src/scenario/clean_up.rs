//! Ends in Stripe what a run has made, found by the run's id: test clocks are
//! deleted with their customers; price, product and meter, which cannot be,
//! are deactivated.

use std::time::Duration;

use serde_json::Value;

use crate::catalog::CatalogNames;
use crate::http::percent_encoded;
use crate::story::Narrator;
use crate::stripe_requests::{StripeRequestError, StripeRequests};

/// A clock that is on its way cannot be deleted at once.
const ATTEMPTS_MAX: u32 = 8;
const PAUSE_MIN: Duration = Duration::from_millis(500);

type Ended = Result<(), StripeRequestError>;

/// Ends all of the run `run_id`, and says what. What cannot be ended is said, and
/// makes the last figure a wrong one.
pub(crate) async fn clean_up(requests: &StripeRequests, run_id: &str, narrator: &mut Narrator) {
    let mut left = 0;
    let names = Names::of(run_id);
    for (what, ended) in [
        (
            "the test clocks",
            delete_clocks(requests, run_id, narrator).await,
        ),
        (
            "the price",
            deactivate_prices(requests, &names, narrator).await,
        ),
        (
            "the product",
            deactivate_product(requests, &names, narrator).await,
        ),
        (
            "the meter",
            deactivate_meters(requests, &names, narrator).await,
        ),
    ] {
        if let Err(error) = ended {
            left += 1;
            narrator.say(format!("{what} could not be ended: {error}"));
        }
    }
    narrator.figure("kinds of objects that are left active", left, 0);
}

/// What a run's objects are called, whatever the API for its usage.
struct Names {
    event_name: String,
    lookup_keys: Vec<String>,
}

impl Names {
    fn of(run_id: &str) -> Self {
        let names = stripe::UsageApi::ALL.map(|api| CatalogNames::new(api, Some(run_id)));
        let mut lookup_keys: Vec<_> = names.iter().map(|name| name.lookup_key.clone()).collect();
        lookup_keys.dedup();
        let [names, ..] = names;
        Self {
            event_name: names.event_name,
            lookup_keys,
        }
    }
}

async fn delete_clocks(requests: &StripeRequests, run_id: &str, narrator: &mut Narrator) -> Ended {
    let suffix = format!("-{run_id}");
    for clock in all(requests, "/v1/test_helpers/test_clocks?limit=100").await? {
        if !text(&clock, "name").ends_with(&suffix) {
            continue;
        }
        let path = format!(
            "/v1/test_helpers/test_clocks/{}",
            percent_encoded(text(&clock, "id"))
        );
        patiently(async || requests.delete(&path).await).await?;
        narrator.say(format!(
            "deleted     {} and its customer",
            text(&clock, "id")
        ));
    }
    Ok(())
}

async fn deactivate_prices(
    requests: &StripeRequests,
    names: &Names,
    narrator: &mut Narrator,
) -> Ended {
    let parameter = percent_encoded("lookup_keys[0]");
    for lookup_key in &names.lookup_keys {
        let list = format!(
            "/v1/prices?{parameter}={}&active=true",
            percent_encoded(lookup_key)
        );
        for price in all(requests, &list).await? {
            let path = format!("/v1/prices/{}", percent_encoded(text(&price, "id")));
            patiently(async || requests.post(&path, "active=false").await).await?;
            narrator.say(format!("deactivated {}", text(&price, "id")));
        }
    }
    Ok(())
}

async fn deactivate_product(
    requests: &StripeRequests,
    names: &Names,
    narrator: &mut Narrator,
) -> Ended {
    let id = meterline_cli::setup::product_id(&names.event_name);
    let path = format!("/v1/products/{}", percent_encoded(&id));
    match patiently(async || requests.post(&path, "active=false").await).await {
        Err(error) if error.is_not_found() => return Ok(()),
        ended => ended?,
    };
    narrator.say(format!("deactivated {id}"));
    Ok(())
}

async fn deactivate_meters(
    requests: &StripeRequests,
    names: &Names,
    narrator: &mut Narrator,
) -> Ended {
    for meter in all(requests, "/v1/billing/meters?limit=100&status=active").await? {
        if text(&meter, "event_name") != names.event_name {
            continue;
        }
        let id = text(&meter, "id");
        let path = format!("/v1/billing/meters/{}/deactivate", percent_encoded(id));
        patiently(async || requests.post(&path, "").await).await?;
        narrator.say(format!("deactivated {id}"));
    }
    Ok(())
}

async fn all(requests: &StripeRequests, list: &str) -> Result<Vec<Value>, StripeRequestError> {
    patiently(async || requests.list(list).await).await
}

/// A request that is repeated where Stripe may answer otherwise later.
async fn patiently<T>(
    request: impl AsyncFn() -> Result<T, StripeRequestError>,
) -> Result<T, StripeRequestError> {
    let mut pause = PAUSE_MIN;
    for _ in 1..ATTEMPTS_MAX {
        match request().await {
            Err(error) if error.may_pass() => {}
            answer => return answer,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    request().await
}

fn text<'a>(object: &'a Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_default()
}
