//! What is asked again, and what is not.

use std::time::Duration;

use serde_json::json;
use stripe::{Client, CreateCustomer, Error, RequestOptions, Sent};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, timeout};

use crate::support::{Answer, Scripted, config, free_address};

/// Far enough that no test gets there.
const FAR: Duration = Duration::from_secs(20);

fn customer() -> Answer {
    Answer::ok(&json!({ "id": "cus_1", "object": "customer", "created": 1 }))
}

fn trouble(status: u16) -> Answer {
    Answer::error(status, "api_error", "trouble")
}

async fn create(client: &Client, options: &RequestOptions) -> Result<String, Error> {
    let customer = client
        .create_customer(&CreateCustomer::default(), options)
        .await?;
    Ok(customer.id)
}

#[tokio::test]
async fn one_intent_keeps_its_key_through_all_attempts() {
    let stripe = Scripted::with([trouble(500), Answer::Vanish, customer()]).await;
    assert_eq!(
        create(&stripe.client(), &RequestOptions::new())
            .await
            .unwrap(),
        "cus_1"
    );
    let received = stripe.received();
    let keys: Vec<&str> = received
        .iter()
        .map(|post| post.header("idempotency-key"))
        .collect();
    assert_eq!(keys.len(), 3);
    assert!(!keys[0].is_empty());
    assert!(keys.iter().all(|key| *key == keys[0]), "{keys:?}");
}

#[tokio::test]
async fn what_may_pass_is_asked_again() {
    let answers = [409, 429, 500, 502, 503, 504].map(trouble);
    let told = [400, 402].map(|status| trouble(status).header("stripe-should-retry", "true"));
    for answer in answers
        .into_iter()
        .chain(told)
        .chain([Answer::Vanish, Answer::CutShort])
    {
        let stripe = Scripted::with([answer.clone(), customer()]).await;
        let made = create(&stripe.client(), &RequestOptions::new()).await;
        assert_eq!(made.unwrap(), "cus_1", "{answer:?}");
        assert_eq!(stripe.calls().len(), 2, "{answer:?}");
    }
}

#[tokio::test]
async fn what_stays_is_asked_once() {
    let answers = [400, 401, 402, 403, 404].map(trouble);
    let told = [409, 429, 500].map(|status| trouble(status).header("stripe-should-retry", "false"));
    for answer in answers.into_iter().chain(told) {
        let stripe = Scripted::with([answer.clone(), customer()]).await;
        create(&stripe.client(), &RequestOptions::new())
            .await
            .unwrap_err();
        assert_eq!(stripe.calls().len(), 1, "{answer:?}");
    }
}

#[tokio::test]
async fn attempts_are_counted() {
    let stripe = Scripted::start(|_| trouble(503)).await;
    let client = Client::new(stripe.config().with_max_attempts(4)).unwrap();
    let error = client.retrieve_customer("cus_1").await.unwrap_err();
    assert_eq!(error.status(), Some(503));
    assert!(error.is_transient());
    assert_eq!(stripe.calls().len(), 4);
}

/// Were the header not heeded, the next attempt would follow at once.
#[tokio::test]
async fn a_longer_wait_than_there_is_time_for_ends_the_call() {
    let busy = trouble(429).header("retry-after", "30");
    let stripe = Scripted::with([busy, customer()]).await;
    let options = RequestOptions::until(Instant::now() + FAR);
    let error = create(&stripe.client(), &options).await.unwrap_err();
    assert_eq!(error.status(), Some(429));
    assert_eq!(stripe.calls().len(), 1);
}

#[tokio::test]
async fn a_wait_beyond_reason_is_the_callers_to_take() {
    let busy = trouble(429).header("retry-after", "3600");
    let stripe = Scripted::with([busy, customer()]).await;
    let error = stripe
        .client()
        .retrieve_customer("cus_1")
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(429));
    assert_eq!(stripe.calls().len(), 1);
}

#[tokio::test]
async fn the_back_off_does_not_outlast_the_deadline_either() {
    let stripe = Scripted::with([trouble(500), customer()]).await;
    let patient = stripe.config().with_retry_delay_ms(60_000, 60_000);
    let options = RequestOptions::until(Instant::now() + FAR);
    let error = create(&Client::new(patient).unwrap(), &options)
        .await
        .unwrap_err();
    assert_eq!(error.status(), Some(500));
    assert_eq!(stripe.calls().len(), 1);
}

#[tokio::test]
async fn the_deadline_cuts_an_attempt_short() {
    let stripe = Scripted::with([Answer::Silence, customer()]).await;
    let patient = Client::new(stripe.config().with_timeout_ms(600_000)).unwrap();
    let options = RequestOptions::until(Instant::now() + Duration::from_millis(100));
    let made = timeout(FAR, create(&patient, &options)).await;
    let error = made.expect("the call ends by itself").unwrap_err();
    let Error::Transport(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.sent, Sent::Perhaps);
    assert_eq!(
        error.to_string(),
        "no answer from Stripe: the answer took too long"
    );
    assert_eq!(stripe.calls().len(), 1);
}

#[tokio::test]
async fn after_the_deadline_nothing_is_sent() {
    let stripe = Scripted::with([customer()]).await;
    let options = RequestOptions::until(Instant::now());
    let error = create(&stripe.client(), &options).await.unwrap_err();
    assert!(matches!(error, Error::DeadlineOver), "{error}");
    assert!(stripe.calls().is_empty());
}

#[tokio::test]
async fn an_attempt_that_hangs_is_given_up_and_made_again() {
    let stripe = Scripted::with([Answer::Silence, customer()]).await;
    let impatient = Client::new(stripe.config().with_timeout_ms(100)).unwrap();
    assert_eq!(
        create(&impatient, &RequestOptions::new()).await.unwrap(),
        "cus_1"
    );
    assert_eq!(stripe.calls().len(), 2);
}

#[tokio::test]
async fn what_found_no_connection_was_not_sent() {
    let (listener, url) = free_address().await;
    drop(listener);
    let client = Client::new(config(&url)).unwrap();
    let error = create(&client, &RequestOptions::new()).await.unwrap_err();
    let Error::Transport(error) = error else {
        panic!("{error}")
    };
    assert_eq!(error.sent, Sent::No);
}

#[tokio::test]
async fn one_attempt_that_was_perhaps_received_is_enough_for_doubt() {
    let (listener, url) = free_address().await;
    let only_one = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        drop(listener);
        connection.read(&mut [0; 1_024]).await.unwrap()
    });
    let client = Client::new(config(&url)).unwrap();
    let error = create(&client, &RequestOptions::new()).await.unwrap_err();
    assert!(only_one.await.unwrap() > 0);
    let Error::Transport(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        error.to_string(),
        "no answer from Stripe: the connection failed"
    );
    assert_eq!(error.sent, Sent::Perhaps, "the first attempt was received");
}

#[tokio::test]
async fn a_refusal_says_whether_an_earlier_attempt_may_have_been_taken() {
    for (earlier, may_have_been) in [
        (Answer::Vanish, Sent::Perhaps),
        (Answer::CutShort, Sent::Perhaps),
        (trouble(500), Sent::Perhaps),
        (trouble(409), Sent::Perhaps),
        (trouble(429), Sent::No),
    ] {
        let stripe = Scripted::with([earlier.clone(), trouble(400)]).await;
        let refused = create(&stripe.client(), &RequestOptions::new()).await;
        let refused = refused.unwrap_err();
        let taken_before = refused.api().unwrap().taken_before;
        assert_eq!(taken_before, may_have_been, "{earlier:?}");
    }
    let stripe = Scripted::with([trouble(400)]).await;
    let refused = create(&stripe.client(), &RequestOptions::new()).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.api().unwrap().taken_before, Sent::No);
}

#[tokio::test]
async fn an_error_that_stripe_has_stored_is_told_from_a_new_one() {
    for (status, replayed, is_stored) in [
        (500, Some("true"), true),
        (500, None, false),
        (503, Some("false"), false),
        (400, Some("true"), false),
    ] {
        let answer = trouble(status).header("stripe-should-retry", "false");
        let answer = match replayed {
            Some(replayed) => answer.header("idempotent-replayed", replayed),
            None => answer,
        };
        let stripe = Scripted::with([answer]).await;
        let error = create(&stripe.client(), &RequestOptions::new()).await;
        let error = error.unwrap_err();
        assert_eq!(
            error.is_stored_server_error(),
            is_stored,
            "{status} {replayed:?}"
        );
    }
}
