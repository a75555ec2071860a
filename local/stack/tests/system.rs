//! The system as a whole: started, used, stopped, killed, and started again.

use std::fs;
use std::net::TcpListener;
use std::sync::Arc;

use aws_sdk_dynamodb::types::AttributeValue;
use billing::Clock;
use ledger::TableNames;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::connection::Connection;
use stack::{Options, Pumping, StartError, System};

use crate::support::{Caller, HandClock, fault, http, pump_all, settle, start, totals, variables};

#[tokio::test]
async fn a_restart_keeps_the_data_and_the_keys() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let key = system.api_key().expose_secret().to_owned();
    let caller = Caller::of(&system);
    let customer_id = caller.onboard("first").await;
    caller.emit(&customer_id, "before", 3).await;
    let link = format!("/v1/customers/{customer_id}/dashboard-links");
    let (_, link) = caller.post(&link, json!({})).await;
    system.stop().await.unwrap();

    let system = start(folder.path()).await;
    assert_eq!(system.api_key().expose_secret(), key);
    let caller = Caller::of(&system);
    assert_eq!(caller.onboard("first").await, customer_id);
    let (status, event) = caller
        .get(&format!("/v1/usage/{customer_id}/before-0"))
        .await;
    assert_eq!(
        (status, &event["status"]),
        (200, &json!("delivered")),
        "{event}"
    );
    pump_all(&system).await;
    assert_eq!(caller.total_units(&customer_id).await, 3);
    // A link that is out still opens: only the port is another.
    let (_, query) = link["url"]
        .as_str()
        .unwrap()
        .split_once("/dashboard")
        .unwrap();
    let (status, _) = caller.get(&format!("/dashboard{query}")).await;
    assert_eq!(status, 200);
    system.stop().await.unwrap();
}

#[tokio::test]
async fn the_env_file_is_there_while_the_system_is() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let env_file = system.env_file();
    let variables = variables(&env_file);
    for (name, value) in [
        ("METERLINE_URL", system.url()),
        ("METERLINE_API_KEY", system.api_key().expose_secret()),
        ("STRIPE_API_BASE", system.stripe_url()),
        ("STRIPE_METER_EVENTS_BASE", system.meter_events_url()),
        (
            "STRIPE_SECRET_KEY",
            system.stripe_secret_key().expose_secret(),
        ),
        ("STRIPE_WEBHOOK_URL", system.webhook_url()),
        ("AWS_ENDPOINT_URL_DYNAMODB", system.dynamodb_url()),
    ] {
        assert_eq!(variables[name], value, "{name}");
    }
    assert!(variables["STRIPE_WEBHOOK_SECRET"].starts_with("whsec_"));
    let tables = TableNames::from_variables(|name| variables.get(name).cloned());
    assert_eq!(tables, *system.ledger().tables());
    system.stop().await.unwrap();
    assert!(!env_file.exists());
}

/// What ends `customer_id` in Stripe, which then tells of it.
async fn delete_in_stripe(system: &System, customer_id: &str) {
    let url = format!("{}/v1/customers/{customer_id}", system.stripe_url());
    let key = system.stripe_secret_key().expose_secret();
    let deleted = http().delete(url).bearer_auth(key).send().await.unwrap();
    assert_eq!(deleted.status(), 200);
    settle(system).await;
}

fn told(system: &System) -> Vec<String> {
    let told = fs::read_to_string(system.notifications().file()).unwrap();
    let kinds = told.lines().map(|line| {
        let message: Value = serde_json::from_str(line).unwrap();
        message["kind"].as_str().unwrap().to_owned()
    });
    let mut kinds: Vec<String> = kinds.collect();
    kinds.sort();
    kinds
}

#[tokio::test]
async fn what_the_operator_is_told_is_kept_and_what_no_webhook_brought_is_swept() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::at_unix_s(1_769_904_000));
    let mut options = Options::manual(folder.path());
    options.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let system = System::start(options).await.unwrap();
    let caller = Caller::of(&system);
    let first = caller.onboard("first").await;
    delete_in_stripe(&system, &first).await;
    assert_eq!(told(&system), ["canceled", "customer_deleted"]);

    // From here on nothing that Stripe sends is believed.
    let second = caller.onboard("second").await;
    settle(&system).await;
    system.set_webhook_secret("whsec_another".into()).unwrap();
    delete_in_stripe(&system, &second).await;
    assert_eq!(told(&system).len(), 2);
    clock.advance_s(2 * 3_600);
    assert!(system.sweep().await.unwrap().applied > 0);
    let access = format!("/v1/customers/{second}/access");
    assert_eq!(caller.get(&access).await.1["status"], "canceled");
    assert_eq!(told(&system).len(), 4);
    assert_eq!(system.sweep().await.unwrap().applied, 0);
    system.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_has_one_system_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let before = variables(&system.env_file());
    let Err(refused) = System::start(Options::manual(folder.path())).await else {
        panic!("two systems in one folder");
    };
    assert!(refused.to_string().contains("LOCAL_DIR"), "{refused}");
    assert_eq!(variables(&system.env_file()), before);
    system.stop().await.unwrap();
    start(folder.path()).await.stop().await.unwrap();
}

#[tokio::test]
async fn tables_of_another_stripe_account_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let owner = system.ledger().stripe_account().await.unwrap().unwrap();
    let item = [
        (
            "customer_id",
            AttributeValue::S("account#stripe".to_owned()),
        ),
        ("account_id", AttributeValue::S("acct_another".to_owned())),
        ("livemode", AttributeValue::Bool(false)),
    ];
    let item = item.map(|(name, value)| (name.to_owned(), value)).into();
    let tables = Connection::embedded(system.dynamodb_url()).client();
    let put = tables.put_item().set_item(Some(item));
    let put = put.table_name(&system.ledger().tables().customers);
    put.send().await.unwrap();
    system.stop().await.unwrap();
    let Err(refused) = System::start(Options::manual(folder.path())).await else {
        panic!("the tables of acct_another were used for {owner}");
    };
    let StartError::OtherStripeAccount(other) = refused else {
        panic!("{refused}");
    };
    let message = other.to_string();
    assert!(message.contains("acct_another"), "{message}");
    assert!(message.contains(&owner.account_id), "{message}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_by_its_variable() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    type SetPort = fn(&mut Options, u16);
    let ports: [(&str, SetPort); 3] = [
        ("METERLINE_PORT", |options, port| {
            options.meterline_port = port
        }),
        ("DYNAMODB_PORT", |options, port| {
            options.dynamodb_port = port
        }),
        ("STRIPE_PORT", |options, port| options.stripe_port = port),
    ];
    for (variable, set_port) in ports {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::manual(folder.path());
        set_port(&mut options, taken);
        let Err(refused) = System::start(options).await else {
            panic!("{variable}: the port was free");
        };
        assert!(matches!(refused, StartError::Port { port, .. } if port == taken));
        assert!(refused.to_string().contains(variable), "{refused}");
    }
}

#[tokio::test]
async fn webhooks_arrive_and_are_taken_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    for external_id in ["first", "second"] {
        let system = start(folder.path()).await;
        Caller::of(&system).onboard(external_id).await;
        let settled = settle(&system).await;
        assert_ne!(settled["delivered"], 0, "{settled}");
        assert_eq!(settled["failed"], 0, "{settled}");
        system.stop().await.unwrap();
    }
}

#[tokio::test]
async fn webhooks_are_refused_once_the_secret_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    system.set_webhook_secret("whsec_another".into()).unwrap();
    let variables = variables(&system.env_file());
    assert_eq!(variables["STRIPE_WEBHOOK_SECRET"], "whsec_another");
    Caller::of(&system).onboard("first").await;
    let settled = settle(&system).await;
    assert_eq!(settled["delivered"], 0, "{settled}");
    assert_ne!(settled["failed"], 0, "{settled}");
    system.stop().await.unwrap();
}

#[tokio::test]
async fn what_stripe_would_not_take_is_redelivered() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(HandClock::at_unix_s(1_790_000_000));
    let mut options = Options::manual(folder.path());
    options.clock = clock.clone();
    let system = System::start(options).await.unwrap();
    let caller = Caller::of(&system);
    let customer_id = caller.onboard("first").await;

    let outage = json!({ "kind": "error_before", "path_prefix": "/v2/billing", "times": 100 });
    fault(&system, Some(outage)).await;
    let event = json!({
        "event_id": "a",
        "customer_id": customer_id,
        "quantity": 7,
        "action_type": "document_processed",
    });
    let (status, emitted) = caller.post("/v1/usage", event).await;
    assert_eq!(
        (status, &emitted["status"]),
        (202, &json!("pending")),
        "{emitted}"
    );
    fault(&system, None).await;

    pump_all(&system).await;
    assert_eq!(totals(system.ledger(), &customer_id).await, (0, 7));
    clock.advance_s(61);
    assert_eq!(system.redeliver().await.unwrap().delivered, 1);
    pump_all(&system).await;
    assert_eq!(totals(system.ledger(), &customer_id).await, (7, 0));
    system.stop().await.unwrap();
}

/// The tables and Stripe may run elsewhere: here, in another system.
#[tokio::test]
async fn a_system_takes_tables_and_stripe_that_run_elsewhere() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let elsewhere = start(there.path()).await;
    let mut options = Options::manual(here.path());
    options.dynamodb_elsewhere = Some(elsewhere.dynamodb_url().to_owned());
    options.stripe_elsewhere = Some(stack::options::StripeElsewhere {
        secret_key: elsewhere.stripe_secret_key().clone(),
        api_base: elsewhere.stripe_url().to_owned(),
        meter_events_base: elsewhere.meter_events_url().to_owned(),
        webhook_secret: None,
    });
    let system = System::start(options).await.unwrap();
    assert_eq!(system.dynamodb_url(), elsewhere.dynamodb_url());
    assert!(!system.is_stripe_simulated());
    let caller = Caller::of(&system);
    let customer_id = caller.onboard("first").await;
    caller.emit(&customer_id, "a", 2).await;
    pump_all(&system).await;
    assert_eq!(totals(elsewhere.ledger(), &customer_id).await, (2, 0));
    system.stop().await.unwrap();
    elsewhere.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn by_itself_a_system_rolls_up_and_hears_from_stripe() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = Options::manual(folder.path());
    options.pumping = Pumping::Automatic;
    let system = System::start(options).await.unwrap();
    let caller = Caller::of(&system);
    let customer_id = caller.onboard("first").await;
    // In several steps: the pump must go on after each.
    for step in 1..=3 {
        caller.emit(&customer_id, &format!("step-{step}"), 10).await;
        while totals(system.ledger(), &customer_id).await != (step * 10, 0) {
            tokio::task::yield_now().await;
        }
    }
    caller.emit(&customer_id, "last", 10).await;
    system.stop().await.unwrap();
    // What was emitted just before the end is rolled up by the end.
    let system = start(folder.path()).await;
    assert_eq!(totals(system.ledger(), &customer_id).await, (40, 0));
    system.stop().await.unwrap();
}
