//! Faults strike whom they were ordered for, as often as ordered.

use reqwest::Method;
use serde_json::json;

use crate::support::{Stripe, send, with_form};

#[tokio::test]
async fn an_error_comes_in_place_of_the_work() {
    let stripe = Stripe::start().await;
    let fault = json!({
        "method": "POST", "path_prefix": "/v1/customers", "kind": "error_before",
        "status": 429, "times": 2, "skip": 1,
    });
    stripe.post_json("/_simulator/faults", &fault).await.ok();
    stripe.post("/v1/customers", &[("name", "A")]).await.ok();
    stripe.get("/v1/customers").await;
    for _ in 0..2 {
        let refused = stripe
            .post_as("key", "/v1/customers", &[("name", "B")])
            .await;
        assert_eq!(refused.refused(429)["code"], "rate_limit");
    }
    stripe
        .post_as("key", "/v1/customers", &[("name", "B")])
        .await
        .ok();
    let customers = stripe.get("/v1/customers").await;
    assert_eq!(customers["data"].as_array().unwrap().len(), 2);
    let listed = stripe.get("/_simulator/faults").await;
    assert_eq!(listed["data"][0]["struck"], 2);
}

#[tokio::test]
async fn a_lost_answer_is_work_that_was_done() {
    let stripe = Stripe::start().await;
    let fault = json!({ "path_prefix": "/v1/products", "kind": "lose_answer" });
    stripe.post_json("/_simulator/faults", &fault).await.ok();
    let form = [("name", "Documents")];
    let request = stripe
        .request(Method::POST, "/v1/products")
        .header("Idempotency-Key", "key");
    assert!(with_form(request, &form).send().await.is_err());
    let products = stripe.get("/v1/products").await;
    assert_eq!(products["data"].as_array().unwrap().len(), 1);
    let replay = stripe.post_as("key", "/v1/products", &form).await;
    assert_eq!(replay.header("idempotent-replayed"), Some("true"));
    assert_eq!(replay.ok(), products["data"][0]);
}

#[tokio::test]
async fn faults_end_when_they_are_cleared() {
    let stripe = Stripe::start().await;
    let fault = json!({ "kind": "error_before", "times": 1000 });
    stripe.post_json("/_simulator/faults", &fault).await.ok();
    stripe
        .post("/v1/products", &[("name", "A")])
        .await
        .refused(500);
    assert_eq!(stripe.delete("/_simulator/faults").await["cleared"], 1);
    stripe.post("/v1/products", &[("name", "A")]).await.ok();
    let nonsense = json!({ "kind": "explode" });
    stripe
        .post_json("/_simulator/faults", &nonsense)
        .await
        .refused(400);
    let misspelt = json!({ "kind": "lose_answer", "path": "/v1" });
    stripe
        .post_json("/_simulator/faults", &misspelt)
        .await
        .refused(400);
}

#[tokio::test]
async fn the_simulators_own_routes_take_the_secret_key_only() {
    let stripe = Stripe::start().await;
    for path in ["/_simulator/settle", "/_simulator/faults"] {
        let stranger = crate::support::client()
            .post(format!("{}{path}", stripe.url))
            .bearer_auth("sk_test_other");
        send(stranger).await.refused(401);
    }
}
