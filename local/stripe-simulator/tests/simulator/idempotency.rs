//! One key, one piece of work.

use reqwest::Method;
use serde_json::json;

use crate::support::{DAY, Stripe, send};

#[tokio::test]
async fn a_repeat_gets_the_first_answer() {
    let stripe = Stripe::start().await;
    let form = [("name", "Documents")];
    let first = stripe.post_as("key", "/v1/products", &form).await;
    let again = stripe.post_as("key", "/v1/products", &form).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.header("original-request"), first.header("request-id"));
    assert_ne!(again.header("request-id"), first.header("request-id"));
    assert_eq!(first.header("idempotent-replayed"), None);
    assert_eq!(again.ok(), first.ok());
    assert_eq!(
        stripe.get("/v1/products").await["data"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    stripe.clock.pass(DAY);
    stripe.settle().await;
    stripe.post_as("key", "/v1/products", &form).await.ok();
    assert_eq!(
        stripe.get("/v1/products").await["data"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[tokio::test]
async fn another_request_under_the_same_key_is_refused() {
    let stripe = Stripe::start().await;
    stripe
        .post_as("key", "/v1/products", &[("name", "A")])
        .await
        .ok();
    for (path, name) in [("/v1/products", "B"), ("/v1/customers", "A")] {
        let refused = stripe.post_as("key", path, &[("name", name)]).await;
        assert_eq!(refused.refused(400)["type"], "idempotency_error");
    }
}

#[tokio::test]
async fn a_server_error_is_replayed_and_a_refused_shape_is_not() {
    let stripe = Stripe::start().await;
    let fault = json!({ "path_prefix": "/v1/products", "kind": "error_before", "status": 500 });
    stripe.post_json("/_simulator/faults", &fault).await.ok();
    let form = [("name", "Documents")];
    let failed = stripe.post_as("key", "/v1/products", &form).await;
    assert_eq!(failed.refused(500)["type"], "api_error");
    let again = stripe.post_as("key", "/v1/products", &form).await;
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    again.refused(500);
    stripe.post_as("another", "/v1/products", &form).await.ok();

    let wrong = [("nickname", "Documents")];
    let refused = stripe.post_as("third", "/v1/products", &wrong).await;
    assert_eq!(refused.refused(400)["code"], "parameter_missing");
    stripe.post_as("third", "/v1/products", &form).await.ok();
}

#[tokio::test]
async fn a_key_in_use_is_a_conflict() {
    let stripe = Stripe::start().await;
    let fault = json!({ "path_prefix": "/v1/products", "kind": "delay_ms", "delay_ms": 600_000 });
    stripe.post_json("/_simulator/faults", &fault).await.ok();
    let form = [("name", "Documents")];
    let stuck = stripe.post_as("key", "/v1/products", &form);
    let conflict = async {
        // The first request holds the key once the fault has struck it.
        while stripe.get("/_simulator/faults").await["data"][0]["struck"] == 0 {}
        stripe.post_as("key", "/v1/products", &form).await
    };
    let conflict = tokio::select! {
        answer = stuck => panic!("answered {answer:?}"),
        answer = conflict => answer,
    };
    assert_eq!(conflict.header("stripe-should-retry"), Some("true"));
    assert_eq!(conflict.refused(409)["code"], "idempotency_key_in_use");
}

#[tokio::test]
async fn a_key_on_a_read_is_ignored() {
    let stripe = Stripe::start().await;
    for _ in 0..2 {
        let read = stripe
            .request(Method::GET, "/v1/products")
            .header("Idempotency-Key", "key");
        let read = send(read).await;
        assert_eq!(read.header("idempotent-replayed"), None);
        read.ok();
    }
}
