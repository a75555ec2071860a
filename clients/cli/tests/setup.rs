//! `meterline setup` against Stripe as it is simulated, over HTTP.

use std::fs;
use std::path::Path;

use billing::PriceTerms;
use meterline_cli::secret_file::SecretFile;
use meterline_cli::{Found, SetupError, SetupOptions, SetupReport, WebhookOptions, setup};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use stripe::{Client, Config};
use stripe_simulator::{DEFAULT_SECRET_KEY, Simulator};

async fn stripe() -> (Simulator, Client) {
    let simulator = Simulator::start(stripe_simulator::Config::manual())
        .await
        .unwrap();
    let config = Config::new(SecretString::from(DEFAULT_SECRET_KEY));
    let config = config.with_api_base(simulator.url());
    (simulator, Client::new(config).unwrap())
}

fn with_webhook(folder: &Path, url: &str) -> SetupOptions {
    SetupOptions {
        webhook: Some(WebhookOptions {
            url: url.to_owned(),
            name: Some("local".to_owned()),
            secret_file: SecretFile::new(folder.join("secrets")),
            replace: false,
        }),
        ..SetupOptions::default()
    }
}

fn ids(report: &SetupReport) -> Vec<String> {
    let mut ids = vec![report.product.0.clone(), report.price.0.clone()];
    ids.extend(report.meter.iter().map(|(id, _)| id.clone()));
    if let Some(webhook) = &report.webhook {
        ids.push(webhook.endpoint.0.clone());
        ids.push(webhook.event_destination.0.clone());
    }
    ids
}

#[tokio::test]
async fn a_second_run_finds_everything_and_changes_nothing() {
    let (simulator, stripe) = stripe().await;
    let folder = tempfile::tempdir().unwrap();
    let options = with_webhook(folder.path(), "http://127.0.0.1:1/stripe/webhook");
    let first = setup(&stripe, &options).await.unwrap();
    assert_eq!(first.price.1, Found::Created);
    assert_eq!(first.terms, "0.02 usd a unit");
    let kept = fs::read(folder.path().join("secrets")).unwrap();

    let second = setup(&stripe, &options).await.unwrap();
    assert_eq!(ids(&second), ids(&first));
    let webhook = second.webhook.unwrap();
    for found in [
        second.product.1,
        second.meter.unwrap().1,
        second.price.1,
        webhook.endpoint.1,
        webhook.event_destination.1,
    ] {
        assert_eq!(found, Found::Found);
    }
    assert_eq!(fs::read(folder.path().join("secrets")).unwrap(), kept);
    assert_eq!(stripe.list_webhook_endpoints().await.unwrap().data.len(), 1);
    assert_eq!(
        stripe.list_event_destinations().await.unwrap().data.len(),
        1
    );
    assert_eq!(stripe.list_meters().await.unwrap().data.len(), 1);
    simulator.stop().await;
}

#[tokio::test]
async fn an_address_that_moved_is_changed_under_the_same_secret() {
    let (simulator, stripe) = stripe().await;
    let folder = tempfile::tempdir().unwrap();
    let before = with_webhook(folder.path(), "http://127.0.0.1:1/stripe/webhook");
    let first = setup(&stripe, &before).await.unwrap();
    let secrets = SecretFile::new(folder.path().join("secrets"))
        .joined()
        .unwrap();
    let after = with_webhook(folder.path(), "http://127.0.0.1:2/stripe/webhook");
    let second = setup(&stripe, &after).await.unwrap();
    assert_eq!(ids(&second), ids(&first));
    assert_eq!(second.webhook.unwrap().endpoint.1, Found::Changed);
    let still = SecretFile::new(folder.path().join("secrets"))
        .joined()
        .unwrap();
    assert_eq!(still.expose_secret(), secrets.expose_secret());
    let endpoints = stripe.list_webhook_endpoints().await.unwrap();
    assert_eq!(endpoints.data[0].url, "http://127.0.0.1:2/stripe/webhook");
    simulator.stop().await;
}

#[tokio::test]
async fn a_lost_secret_is_said_and_a_new_endpoint_made_on_demand() {
    let (simulator, stripe) = stripe().await;
    let folder = tempfile::tempdir().unwrap();
    let mut options = with_webhook(folder.path(), "http://127.0.0.1:1/stripe/webhook");
    let first = setup(&stripe, &options).await.unwrap();
    fs::remove_file(folder.path().join("secrets")).unwrap();
    let lost = setup(&stripe, &options).await.unwrap_err();
    assert!(matches!(lost, SetupError::SecretLost { .. }), "{lost}");
    options.webhook.as_mut().unwrap().replace = true;
    let second = setup(&stripe, &options).await.unwrap();
    assert_ne!(ids(&second), ids(&first));
    let endpoints = stripe.list_webhook_endpoints().await.unwrap();
    let enabled = endpoints
        .iter()
        .filter(|endpoint| endpoint.status == "enabled");
    assert_eq!(enabled.count(), 1);
    simulator.stop().await;
}

#[tokio::test]
async fn a_legacy_price_has_no_meter_and_is_found_again() {
    let (simulator, stripe) = stripe().await;
    let legacy = SetupOptions {
        legacy: true,
        ..SetupOptions::default()
    };
    let first = setup(&stripe, &legacy).await.unwrap();
    assert!(first.meter.is_none());
    assert_eq!(first.price.1, Found::Created);
    let price = stripe.retrieve_price(&first.price.0).await.unwrap();
    let recurring = price.recurring.unwrap();
    assert_eq!(
        (recurring.usage_type.as_str(), recurring.meter),
        ("metered", None)
    );
    let second = setup(&stripe, &legacy).await.unwrap();
    assert_eq!(ids(&second), ids(&first));
    assert_eq!(second.price.1, Found::Found);

    // Neither kind is taken for the other.
    let other = setup(&stripe, &SetupOptions::default()).await.unwrap_err();
    assert!(other.to_string().contains("--legacy"), "{other}");
    let with_meter = SetupOptions {
        lookup_key: "with_meter".to_owned(),
        ..SetupOptions::default()
    };
    setup(&stripe, &with_meter).await.unwrap();
    let other = SetupOptions {
        legacy: true,
        ..with_meter
    };
    let other = setup(&stripe, &other).await.unwrap_err();
    assert!(other.to_string().contains("has a meter"), "{other}");
    simulator.stop().await;
}

#[tokio::test]
async fn another_price_under_the_lookup_key_is_refused() {
    let (simulator, stripe) = stripe().await;
    setup(&stripe, &SetupOptions::default()).await.unwrap();
    for (unit_amount_decimal, refused) in [("2.0", false), ("3", true), ("0.02", true)] {
        let options = SetupOptions {
            price: PriceTerms::per_unit(unit_amount_decimal, "usd"),
            ..SetupOptions::default()
        };
        let again = setup(&stripe, &options).await;
        assert_eq!(again.is_err(), refused, "{unit_amount_decimal}: {again:?}");
    }
    let nonsense = SetupOptions {
        price: PriceTerms::per_unit("2", "dollars"),
        ..SetupOptions::default()
    };
    assert!(matches!(
        setup(&stripe, &nonsense).await,
        Err(SetupError::Price(_))
    ));
    simulator.stop().await;
}

#[tokio::test]
async fn packages_and_tiers_are_made_and_found_again() {
    let (simulator, stripe) = stripe().await;
    let packages = json!({ "currency": "jpy", "unit_amount_decimal": "5",
        "transform_quantity": { "divide_by": 1_000, "round": "down" } });
    let tiers = json!({ "currency": "usd", "tiers_mode": "graduated", "tiers": [
        { "up_to": 1_000, "unit_amount_decimal": "0.5" },
        { "up_to": null, "unit_amount_decimal": "0.25", "flat_amount_decimal": "100" },
    ]});
    let other_tiers = json!({ "currency": "usd", "tiers_mode": "volume", "tiers": tiers["tiers"] });
    let options = |terms: &Value, lookup_key: &str| SetupOptions {
        price: serde_json::from_value(terms.clone()).unwrap(),
        lookup_key: lookup_key.to_owned(),
        ..SetupOptions::default()
    };
    for (terms, lookup_key) in [(&packages, "packages"), (&tiers, "tiers")] {
        let made = setup(&stripe, &options(terms, lookup_key)).await.unwrap();
        let found = setup(&stripe, &options(terms, lookup_key)).await.unwrap();
        assert_eq!(
            (made.price.1, found.price.1),
            (Found::Created, Found::Found)
        );
        assert_eq!(made.price.0, found.price.0);
    }
    for other in [&packages, &other_tiers] {
        let refused = setup(&stripe, &options(other, "tiers")).await.unwrap_err();
        let refused = refused.to_string();
        assert!(
            refused.contains("it is graduated tiers in usd"),
            "{refused}"
        );
    }
    simulator.stop().await;
}
