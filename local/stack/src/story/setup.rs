//! Step 1: what Stripe must hold, made or found by the operator's command.

use secrecy::ExposeSecret;
use serde_json::Value;

use super::{Narrator, Program, Stage, StoryError};
use crate::catalog::WEBHOOK_SECRETS_FILE;

/// Runs the command twice: the second run must find what the first one left.
pub(crate) async fn play(stage: &Stage<'_>, narrator: &mut Narrator) -> Result<String, StoryError> {
    let usage_api = stage.stripe().usage_api();
    narrator.say(format!("usage goes to Stripe by {usage_api}"));
    let first = run(stage).await?;
    for (what, detail) in [
        ("product", "Agent Operations"),
        (
            "meter",
            &format!("sums {}", stage.place.catalog_names.event_name),
        ),
        ("price", "monthly"),
    ] {
        if usage_api.has_meter() || what != "meter" {
            narrator.say(format!("{what:8} {} {detail}", id(&first, what)));
        }
    }
    for what in ["endpoint", "event_destination"] {
        if let Some(id) = first["webhook"][what][0].as_str() {
            narrator.say(format!("webhook  {id} {}", stage.place.webhook_url));
        }
    }
    let terms = first["terms"].as_str().unwrap_or_default();
    narrator.figure("what usage costs", terms, "0.02 usd a unit");
    let second = run(stage).await?;
    let unchanged = ids(&second) == ids(&first) && all_found(&second);
    narrator.figure(
        "run again, it finds all of it and changes nothing",
        unchanged,
        true,
    );
    Ok(id(&first, "meter"))
}

async fn run(stage: &Stage<'_>) -> Result<Value, StoryError> {
    let place = &stage.place;
    let mut setup = Program::new("meterline")?
        .args(["setup", "--json"])
        .env("STRIPE_SECRET_KEY", place.stripe_secret_key.expose_secret())
        .env("STRIPE_API_BASE", &place.stripe_url);
    let usage_api = place.stripe.usage_api();
    let names = &place.catalog_names;
    setup = setup.args(["--lookup-key", &names.lookup_key]);
    setup = if usage_api.has_meter() {
        setup.args(["--event-name", &names.event_name])
    } else {
        setup.args(["--legacy"])
    };
    // Where the environment knows the secret, the endpoint is the operator's own;
    // where events are fetched, there is none.
    let secrets = place.folder.join(WEBHOOK_SECRETS_FILE);
    if secrets.is_file() && !place.fetches_events {
        setup = setup
            .args(["--webhook-url", &place.webhook_url])
            .args(["--webhook-name", &place.folder.to_string_lossy()])
            .args(["--webhook-secret-file".as_ref(), secrets.as_os_str()]);
    }
    let printed = setup.output().await?;
    serde_json::from_str(&printed)
        .map_err(|_| StoryError::Unexpected("what meterline setup printed".to_owned()))
}

fn id(report: &Value, what: &str) -> String {
    report[what][0].as_str().unwrap_or("(absent)").to_owned()
}

fn parts(report: &Value) -> [&Value; 5] {
    [
        &report["product"],
        &report["meter"],
        &report["price"],
        &report["webhook"]["endpoint"],
        &report["webhook"]["event_destination"],
    ]
}

fn ids(report: &Value) -> Vec<&Value> {
    parts(report).iter().map(|part| &part[0]).collect()
}

fn all_found(report: &Value) -> bool {
    parts(report)
        .iter()
        .all(|part| part.is_null() || part[1] == "found")
}
