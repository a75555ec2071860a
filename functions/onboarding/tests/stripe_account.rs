//! Tables belong to one Stripe account and mode: what a function finds at its start.

use ledger::StripeAccount;
use serde_json::json;
use stripe::SecretString;
use stripe_simulator::DEFAULT_SECRET_KEY;
use web::check_stripe_account;

use crate::support::world::{World, stripe_client};

fn key_that_stripe_does_not_know(world: &World) -> stripe::Client {
    let config = stripe::Config::new(SecretString::from("rk_test_unknown"))
        .with_api_base(world.stripe_url());
    stripe::Client::new(config).unwrap()
}

#[tokio::test]
async fn new_tables_belong_to_the_account_whose_key_comes_first() {
    let world = World::start().await;
    assert_eq!(world.ledger.stripe_account().await.unwrap(), None);
    for _ in 0..2 {
        check_stripe_account(&world.ledger, &world.stripe)
            .await
            .unwrap();
    }
    let account_id = world.stripe.retrieve_account().await.unwrap().id;
    let owner = world.ledger.stripe_account().await.unwrap().unwrap();
    assert_eq!((owner.account_id, owner.livemode), (account_id, false));
}

#[tokio::test]
async fn a_key_of_another_account_is_refused() {
    let world = World::start().await;
    let owner = StripeAccount {
        account_id: "acct_another".to_owned(),
        livemode: false,
    };
    world.ledger.claim_for_stripe_account(&owner).await.unwrap();
    let refused = check_stripe_account(&world.ledger, &world.stripe).await;
    let message = refused.unwrap_err().to_string();
    let account_id = world.stripe.retrieve_account().await.unwrap().id;
    assert!(message.contains("acct_another"), "{message}");
    assert!(message.contains(&account_id), "{message}");
    assert_eq!(world.ledger.stripe_account().await.unwrap(), Some(owner));
}

#[tokio::test]
async fn the_first_of_two_accounts_keeps_the_tables() {
    let world = World::start().await;
    let account = |account_id: &str| StripeAccount {
        account_id: account_id.to_owned(),
        livemode: false,
    };
    let (first, second) = (account("acct_1"), account("acct_2"));
    let ledger = &world.ledger;
    let owner = ledger.claim_for_stripe_account(&first).await.unwrap();
    assert_eq!(owner, first);
    let owner = ledger.claim_for_stripe_account(&second).await.unwrap();
    assert_eq!(owner, first);
}

#[tokio::test]
async fn a_key_of_the_other_mode_is_refused_while_stripe_is_away_too() {
    let world = World::start().await;
    let owner = StripeAccount {
        account_id: world.stripe.retrieve_account().await.unwrap().id,
        livemode: true,
    };
    world.ledger.claim_for_stripe_account(&owner).await.unwrap();
    // Nothing listens there.
    let away = stripe_client("http://127.0.0.1:1", 1);
    let refused = check_stripe_account(&world.ledger, &away).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("live mode"), "{message}");
    assert!(message.contains("of test mode"), "{message}");
}

#[tokio::test]
async fn a_start_goes_on_where_stripe_does_not_say_whose_the_key_is() {
    let world = World::start().await;
    let away = stripe_client("http://127.0.0.1:1", 1);
    check_stripe_account(&world.ledger, &away).await.unwrap();
    let unknown = key_that_stripe_does_not_know(&world);
    check_stripe_account(&world.ledger, &unknown).await.unwrap();
    assert_eq!(world.ledger.stripe_account().await.unwrap(), None);
    check_stripe_account(&world.ledger, &world.stripe)
        .await
        .unwrap();
    assert!(world.ledger.stripe_account().await.unwrap().is_some());
}

#[tokio::test]
async fn stripe_is_asked_once_whose_a_key_is() {
    let world = World::start().await;
    let asked = async || {
        // It changes nothing, but it counts.
        let fault = json!({
            "kind": "delay_ms", "delay_ms": 0, "method": "GET", "path_prefix": "/v1/account",
            "times": 9,
        });
        world.break_stripe(&fault).await;
        let checked = check_stripe_account(&world.ledger, &world.stripe);
        checked.await.unwrap();
        world.repair_stripe().await
    };
    assert_eq!(asked().await, 1);
    let row = world.ledger.stripe_account_row().await.unwrap().unwrap();
    assert_eq!(row.known_keys.len(), 1);
    assert!(!row.known_keys[0].contains(DEFAULT_SECRET_KEY));

    assert_eq!(asked().await, 0);
    let again = world.ledger.stripe_account_row().await.unwrap();
    assert_eq!(again, Some(row));
}

#[tokio::test]
async fn a_key_is_known_to_its_own_account_only() {
    let world = World::start().await;
    check_stripe_account(&world.ledger, &world.stripe)
        .await
        .unwrap();
    let of_its_own = world.ledger.stripe_account_row().await.unwrap().unwrap();

    let world = World::start().await;
    let mut of_another = of_its_own.clone();
    of_another.account.account_id = "acct_another".to_owned();
    let ledger = &world.ledger;
    ledger
        .claim_for_stripe_account(&of_another.account)
        .await
        .unwrap();
    let digest = of_its_own.known_keys[0].clone();
    ledger
        .remember_stripe_key(&of_another, digest)
        .await
        .unwrap();
    let refused = check_stripe_account(ledger, &world.stripe).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("acct_another"), "{message}");
}

#[tokio::test]
async fn only_the_latest_keys_are_remembered() {
    let world = World::start().await;
    check_stripe_account(&world.ledger, &world.stripe)
        .await
        .unwrap();
    for key in 0..20 {
        let row = world.ledger.stripe_account_row().await.unwrap().unwrap();
        let key = format!("key-{key}");
        world.ledger.remember_stripe_key(&row, key).await.unwrap();
    }
    let row = world.ledger.stripe_account_row().await.unwrap().unwrap();
    let expected: Vec<_> = (12..20).map(|key| format!("key-{key}")).collect();
    assert_eq!(row.known_keys, expected);

    // A row that was read before the tables changed hands adds nothing.
    let mut stale = row.clone();
    stale.account.livemode = true;
    let refused = world.ledger.remember_stripe_key(&stale, "late".to_owned());
    refused.await.unwrap_err();
    assert_eq!(world.ledger.stripe_account_row().await.unwrap(), Some(row));
}
