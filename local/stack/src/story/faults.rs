//! Step 7: repeats, conflicts, forgeries and nonsense, and that none of it is
//! billed.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use stripe::webhook_signature;

use super::customer::Customer;
use super::{Narrator, Stage, StoryError};

/// Sends what must not be billed, then counts.
pub(crate) async fn play(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    meter_id: &str,
) -> Result<(), StoryError> {
    repeats(stage, narrator, customer, "three units in the new period").await?;
    refused_here(stage, narrator, customer).await?;
    let period = stage.current_period(customer).await?;
    let in_stripe = stage.stripe_reaches(customer, meter_id, period, 3).await?;
    narrator.figure(
        "units in Stripe after all that: the three that were new",
        in_stripe,
        3,
    );
    let report = stage.report_of(customer, 3).await?;
    narrator.figure("units in the usage report", report.text("/total_units"), 3);
    Ok(())
}

fn usage(stage: &Stage<'_>, customer: &Customer) -> Value {
    json!({
        "event_id": format!("{}-again", stage.run),
        "customer_id": customer.customer_id,
        "quantity": 3,
        "action_type": "document_processed",
    })
}

/// What never reaches Stripe.
pub(crate) async fn refused_here(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
) -> Result<(), StoryError> {
    nonsense(stage, narrator, customer).await?;
    bad_bodies(stage, narrator).await?;
    forgeries(stage, narrator).await
}

/// Three units, which the narrator calls `what`; the same again; and others
/// under their id.
pub(crate) async fn repeats(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
    what: &str,
) -> Result<(), StoryError> {
    let event = usage(stage, customer);
    let first = stage.api.post("/v1/usage", &event).await?;
    narrator.figure(what, first.text("/status"), "delivered");
    let again = stage.api.post("/v1/usage", &event).await?;
    let said = format!("{} duplicate {}", again.status, again.text("/duplicate"));
    narrator.figure("the same event id again", said, "200 duplicate true");
    let mut other = event;
    other["quantity"] = 4.into();
    let conflict = stage.api.post("/v1/usage", &other).await?;
    let said = format!("{} {}", conflict.status, kind(&conflict.body));
    narrator.figure("with another quantity", said, "409 conflict");
    Ok(())
}

async fn nonsense(
    stage: &Stage<'_>,
    narrator: &mut Narrator,
    customer: &Customer,
) -> Result<(), StoryError> {
    let now = stage
        .stripe()
        .retrieve_test_clock(&customer.test_clock)
        .await;
    let now = now
        .map_err(StoryError::stripe("tell a test clock"))?
        .frozen_time;
    let day = 86_400;
    for (what, field, value, expected) in [
        (
            "an unknown customer",
            "customer_id",
            json!("cus_unknown"),
            "404 customer-not-found",
        ),
        (
            "a quantity of zero",
            "quantity",
            json!(0),
            "400 invalid-field",
        ),
        (
            "a negative quantity",
            "quantity",
            json!(-1),
            "400 invalid-field",
        ),
        (
            "a fractional quantity",
            "quantity",
            json!(1.5),
            "400 invalid-field",
        ),
        (
            "a huge quantity",
            "quantity",
            json!(1_000_000_000_001_u64),
            "400 invalid-field",
        ),
        (
            "a time far in the past",
            "occurred_at",
            json!(now - 60 * day),
            "400 invalid-field",
        ),
        (
            "a time far in the future",
            "occurred_at",
            json!(now + day),
            "400 invalid-field",
        ),
    ] {
        let mut event = usage(stage, customer);
        event["event_id"] = json!(format!("{}-{what}", stage.run));
        event[field] = value;
        let refused = stage.api.post("/v1/usage", &event).await?;
        let said = format!("{} {}", refused.status, kind(&refused.body));
        narrator.figure(what, said, expected);
    }
    Ok(())
}

async fn bad_bodies(stage: &Stage<'_>, narrator: &mut Narrator) -> Result<(), StoryError> {
    for (what, body, expected) in [
        (
            "a body that is no JSON",
            "quantity=1".to_owned(),
            "400 invalid-request",
        ),
        (
            "a body of a megabyte",
            " ".repeat(1 << 20),
            "413 body-too-large",
        ),
    ] {
        let refused = stage.api.post_text("/v1/usage", body).await?;
        let said = format!("{} {}", refused.status, kind(&refused.body));
        narrator.figure(what, said, expected);
    }
    Ok(())
}

async fn forgeries(stage: &Stage<'_>, narrator: &mut Narrator) -> Result<(), StoryError> {
    let body = json!({
        "id": format!("evt_{}", stage.run), "object": "event", "type": "invoice.paid",
        "created": stage.now().unix_s(), "livemode": false,
        "api_version": stripe::STRIPE_VERSION,
        "data": { "object": { "id": "in_forged", "object": "invoice" } },
    })
    .to_string();
    let now = stage.now().unix_s();
    let forged = webhook_signature::sign(body.as_bytes(), &"whsec_forged".into(), now);
    let refused = stage.post_webhook(&body, &forged).await?;
    narrator.figure("a forged webhook", refused, 400);
    let secret = stage.webhook_secret();
    let stale = webhook_signature::sign(body.as_bytes(), &secret, now - 600);
    let refused = stage.post_webhook(&body, &stale).await?;
    narrator.figure("a webhook signed ten minutes ago", refused, 400);
    let signature = webhook_signature::sign(body.as_bytes(), &secret, now);
    let altered = body.replace("in_forged", "in_altered");
    let refused = stage.post_webhook(&altered, &signature).await?;
    narrator.figure("a webhook whose body was altered", refused, 400);
    Ok(())
}

/// The last part of a problem's type.
fn kind(problem: &Value) -> &str {
    let kind = problem["type"].as_str().unwrap_or_default();
    kind.rsplit(':').next().unwrap_or_default()
}

impl Stage<'_> {
    /// A secret that webhooks here are signed with.
    fn webhook_secret(&self) -> SecretString {
        let secrets = self.place.webhook_secret.expose_secret();
        let first = secrets.split(',').next();
        first.unwrap_or_default().trim().into()
    }

    /// Sends `body` as Stripe would, signed now; answers the status.
    pub(crate) async fn post_signed_webhook(&self, body: &str) -> Result<u16, StoryError> {
        let secret = self.webhook_secret();
        let signature = webhook_signature::sign(body.as_bytes(), &secret, self.now().unix_s());
        self.post_webhook(body, &signature).await
    }

    async fn post_webhook(&self, body: &str, signature: &str) -> Result<u16, StoryError> {
        let request = self
            .http
            .post(&self.place.webhook_url)
            .header("stripe-signature", signature)
            .body(body.to_owned());
        Ok(request.send().await?.status().as_u16())
    }
}
