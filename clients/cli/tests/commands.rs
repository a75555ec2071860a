//! The operator's commands as a program: what they print, their exit status,
//! and what came of it.

use billing::{CustomerId, EventId, Identifier, UsageStatus};
use ledger::{TableNames, Transition, Transitioned};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use stack::System;
use stack::connection::Connection;
use stack::tables::names;
use tokio::process::Command;

use crate::support::{Caller, fault, pump_all, start};

/// Runs `meterline` in the surroundings of `system`: its exit status, and what
/// it prints on stdout and stderr.
async fn meterline(system: &System, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meterline"));
    command.args(arguments).env_clear();
    command.envs(TableNames::VARIABLES);
    let key = system.stripe_secret_key().expose_secret();
    for (name, value) in [
        ("STRIPE_API_BASE", system.stripe_url()),
        ("STRIPE_METER_EVENTS_BASE", system.meter_events_url()),
        ("STRIPE_SECRET_KEY", key),
        ("AWS_ENDPOINT_URL_DYNAMODB", system.dynamodb_url()),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "local"),
        ("AWS_SECRET_ACCESS_KEY", "local"),
    ] {
        command.env(name, value);
    }
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn event(customer_id: &str, event_id: &str) -> Value {
    json!({
        "event_id": event_id, "customer_id": customer_id, "quantity": 5,
        "action_type": "document_processed",
    })
}

/// As redelivery would, past the send window.
async fn quarantine(system: &System, customer_id: &str, event_id: &str) {
    let customer_id = CustomerId::parse(customer_id).unwrap();
    let identifier = Identifier::of(&customer_id, &EventId::parse(event_id).unwrap());
    let transition = Transition {
        from: UsageStatus::Pending,
        to: UsageStatus::Quarantined,
        at: system.clock().now(),
        stripe_code: None,
    };
    let ledger = system.ledger();
    let moved = ledger.transition_usage_event(&identifier, transition).await;
    assert_eq!(moved.unwrap(), Transitioned::Done);
}

/// Somebody deletes all totals, and leaves the checkpoints.
async fn lose_totals(system: &System) {
    let tables = Connection::embedded(system.dynamodb_url()).client();
    let table = names().usage_totals;
    let scanned = tables.scan().table_name(&table).send().await.unwrap();
    for item in scanned.items.unwrap_or_default() {
        let customer_id = item["customer_id"].clone();
        if customer_id.as_s().unwrap().contains('#') {
            continue;
        }
        tables
            .delete_item()
            .table_name(&table)
            .key("customer_id", customer_id)
            .key("total_key", item["total_key"].clone())
            .send()
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_key_is_made_for_its_scope_and_its_customers() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let admin = Caller::of(&system);
    let (ada, bob) = (admin.onboard("ada").await, admin.onboard("bob").await);
    let create = ["keys", "create", "--scope", "emit", "--customer", &ada];
    let (status, key, err) = meterline(&system, &create).await;
    assert_eq!(status, Some(0), "{err}");
    let emitter = Caller::new(system.url(), SecretString::from(key.trim()));
    let (status, _) = emitter.post("/v1/usage", event(&ada, "a")).await;
    assert_eq!(status, 200);
    let (status, _) = emitter.post("/v1/usage", event(&bob, "b")).await;
    assert_eq!(status, 403);
    let (status, _) = emitter.get(&format!("/v1/customers/{ada}/usage")).await;
    assert_eq!(status, 403);

    let create = ["keys", "create", "--scope", "admin", "--json"];
    let (status, made, _) = meterline(
        &system,
        &[&create[..], &["--expires-in-days", "1"]].concat(),
    )
    .await;
    assert_eq!(status, Some(0));
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["scopes"], json!(["admin"]));
    assert!(made["expires_at"].is_string());
    let caller = Caller::new(
        system.url(),
        SecretString::from(made["key"].as_str().unwrap()),
    );
    caller.onboard("carol").await;
    let (status, _, _) = meterline(&system, &["keys", "create"]).await;
    assert_eq!(status, Some(2));
    system.stop().await.unwrap();
}

#[tokio::test]
async fn an_event_is_voided_and_the_second_time_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let caller = Caller::of(&system);
    let customer = caller.onboard("ada").await;
    caller.post("/v1/usage", event(&customer, "wrong/1")).await;
    let void = ["void", "--customer", &customer, "wrong/1"];
    let (status, out, err) = meterline(&system, &void).await;
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("voided; cancelled in Stripe"), "{out}");
    let (status, out, _) = meterline(&system, &[&void[..], &["--json"]].concat()).await;
    let again: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (status, &again["outcome"]),
        (Some(0), &json!("voided_before"))
    );
    let identifier = again["identifier"].as_str().unwrap();
    let (status, _, _) = meterline(&system, &["void", "--identifier", identifier]).await;
    assert_eq!(status, Some(0));

    let nobodys = ["void", "--customer", &customer, "nobody's"];
    let (status, _, err) = meterline(&system, &nobodys).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("no such event"), "{err}");
    for incomplete in [
        vec!["void"],
        vec!["void", "wrong/1"],
        vec!["void", "--customer", &customer],
    ] {
        assert_eq!(
            meterline(&system, &incomplete).await.0,
            Some(2),
            "{incomplete:?}"
        );
    }
    system.stop().await.unwrap();
}

#[tokio::test]
async fn a_redrive_lists_first_and_asks_for_reconcile_where_it_could_double() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let caller = Caller::of(&system);
    let customer = caller.onboard("ada").await;
    let refuse = json!({
        "kind": "error_before", "path_prefix": "/v2/billing/meter_event_stream", "times": 100,
    });
    fault(&system, Some(refuse)).await;
    caller.post("/v1/usage", event(&customer, "a")).await;
    fault(&system, None).await;
    quarantine(&system, &customer, "a").await;

    let redrive = ["redrive", "--status", "quarantined"];
    let (status, out, err) = meterline(&system, &redrive).await;
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("to be billed at"), "{out}");
    assert!(err.contains("1 found; --yes sends them"), "{err}");
    let (status, _, err) = meterline(&system, &[&redrive[..], &["--yes"]].concat()).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("run reconcile first"), "{err}");
    let sure = [
        "--yes",
        "--not-in-stripe",
        "--customer",
        &customer,
        "--event",
        "a",
    ];
    let (status, out, err) = meterline(&system, &[&redrive[..], &sure].concat()).await;
    assert_eq!(status, Some(0), "{out}{err}");
    assert!(
        out.contains("delivered") && err.contains("1 of 1"),
        "{out}{err}"
    );
    pump_all(&system).await;
    assert_eq!(caller.total_units(&customer).await, 5);
    system.stop().await.unwrap();
}

#[tokio::test]
async fn a_rebuild_says_by_its_status_whether_something_differs() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let caller = Caller::of(&system);
    let customer = caller.onboard("ada").await;
    caller.emit(&customer, "job", 3).await;
    let check = [
        "rebuild",
        "--check",
        "--wait-s",
        "0",
        "--stream-delay-s",
        "0",
    ];
    let (status, _, err) = meterline(&system, &check).await;
    assert_eq!(status, Some(2));
    assert!(err.contains("not at rest"), "{err}");
    pump_all(&system).await;
    let (status, out, err) = meterline(&system, &check).await;
    assert_eq!((status, out.as_str()), (Some(0), ""), "{err}");
    assert!(err.contains("3 events, 0 differences"), "{err}");

    lose_totals(&system).await;
    let (status, out, err) = meterline(&system, &check).await;
    assert_eq!(status, Some(1), "{err}");
    assert!(
        out.contains("the log says delivered 3 units in 3 events"),
        "{out}"
    );
    let rebuild = ["rebuild", "--wait-s", "0", "--stream-delay-s", "0"];
    assert_eq!(meterline(&system, &rebuild).await.0, Some(0));
    assert_eq!(meterline(&system, &check).await.0, Some(0));
    assert_eq!(caller.total_units(&customer).await, 3);
    system.stop().await.unwrap();
}
