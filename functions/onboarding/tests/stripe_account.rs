//! Tables belong to one Stripe account and mode: what a function finds at its start.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use ledger::StripeAccount;
use stripe::SecretString;
use support::world::{World, stripe_client};
use web::check_stripe_account;

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
    let config = stripe::Config::new(SecretString::from("rk_test_unknown"))
        .with_api_base(world.stripe_url());
    let unknown = stripe::Client::new(config).unwrap();
    check_stripe_account(&world.ledger, &unknown).await.unwrap();
    assert_eq!(world.ledger.stripe_account().await.unwrap(), None);
    check_stripe_account(&world.ledger, &world.stripe)
        .await
        .unwrap();
    assert!(world.ledger.stripe_account().await.unwrap().is_some());
}
