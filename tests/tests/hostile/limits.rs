//! Each limit of docs/limits.md at its edge: what is just within it passes, and
//! one more does not.

use crate::wire::Target;

/// `body` with spaces behind it, `bytes` long.
fn padded(body: &str, bytes: usize) -> String {
    format!("{body}{}", " ".repeat(bytes - body.len()))
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_end_at_their_limit() {
    let target = Target::start().await;
    let event = target.event("body", "1");
    let batch = format!("{{\"events\":[{}]}}", target.event("batch", "1"));
    for (path, body, bytes_max, status) in [
        ("/v1/usage", event.as_str(), 64 * 1024, 200),
        ("/v1/usage/batch", batch.as_str(), 256 * 1024, 200),
        ("/v1/customers", "{}", 64 * 1024, 400),
        ("/stripe/webhook", "{}", 1024 * 1024, 400),
    ] {
        let within = target.post(path, padded(body, bytes_max)).await;
        assert_eq!(within.status, status, "{path}: {within:?}");
        let beyond = target.post(path, padded(body, bytes_max + 1)).await;
        assert_eq!(beyond.status, 413, "{path}: {beyond:?}");
    }
    target.has_recorded(2, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_ends_at_a_hundred_events_and_a_monster_spoils_itself_alone() {
    let target = Target::start().await;
    let batch = |events: Vec<String>| format!("{{\"events\":[{}]}}", events.join(","));
    let events = |count: usize| {
        let event = |number| target.event(&format!("{number}"), "1");
        (0..count).map(event).collect::<Vec<_>>()
    };
    let empty = target.post("/v1/usage/batch", batch(Vec::new())).await;
    assert_eq!(
        (empty.status, empty.problem().as_str()),
        (400, "invalid-field")
    );
    let beyond = target.post("/v1/usage/batch", batch(events(101))).await;
    assert_eq!(
        (beyond.status, beyond.problem().as_str()),
        (400, "invalid-field")
    );
    let mut with_a_monster = events(100);
    let nested = format!("{}{}", "[".repeat(120), "]".repeat(120));
    with_a_monster[50] = target.event(&"m".repeat(100_000), &nested);
    let judged = target.post("/v1/usage/batch", batch(with_a_monster)).await;
    assert_eq!(judged.status, 200, "{judged:?}");
    let judged: serde_json::Value = serde_json::from_str(&judged.body).unwrap();
    assert_eq!(
        (&judged["delivered"], &judged["rejected"]),
        (&99.into(), &1.into())
    );
    assert_eq!(judged["results"][50]["error"]["field"], "event_id");
    target.has_recorded(99, 99).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_fields_end_at_their_limit() {
    let target = Target::start().await;
    let longest = target.emit(target.event(&"i".repeat(255), "1")).await;
    assert_eq!(longest.status, 200, "{longest:?}");
    let longer = target.emit(target.event(&"i".repeat(256), "1")).await;
    assert_eq!(longer.status, 400, "{longer:?}");
    let action = |length: usize| {
        let event = target.event(&format!("action {length}"), "1");
        event.replace("document_processed", &"a".repeat(length))
    };
    assert_eq!(target.emit(action(64)).await.status, 200);
    assert_eq!(target.emit(action(65)).await.status, 400);
    for (length, status) in [(255, 200), (256, 400)] {
        let event = target.event("", "1").replacen("\"event_id\":\"\",", "", 1);
        let headers = format!(
            "idempotency-key: {}\r\ncontent-length: {}\r\n",
            "k".repeat(length),
            event.len()
        );
        let answered = target.request("POST /v1/usage", &headers, &event).await;
        assert_eq!(answered.status, status, "{length}: {answered:?}");
    }
    target.has_recorded(3, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_and_addresses_end_at_their_limit() {
    let target = Target::start().await;
    let path = format!("/v1/customers/{}/access", target.customer);
    let get = format!("GET {path}");
    // Three more are in every request.
    for (headers, status) in [(97, 200), (98, 431)] {
        let flood: String = (0..headers).map(|n| format!("x-{n}: v\r\n")).collect();
        let answered = target.request(&get, &flood, "").await;
        assert_eq!(answered.status, status, "{headers} headers");
    }
    let others = get.replace(' ', "").len() + "localhost".len() + "close".len();
    let others = others + "Bearer ".len() + target.key.len();
    for (bytes, status) in [(10_240, 200), (10_241, 431)] {
        let flood = format!("x-flood: {}\r\n", "v".repeat(bytes - others));
        let answered = target.request(&get, &flood, "").await;
        assert_eq!(answered.status, status, "{bytes} bytes");
    }
    let endless = format!("{get}?x={}", "x".repeat(70_000));
    let answered = target.request(&endless, "", "").await;
    assert_eq!(answered.status, 414);
    let endless = format!("x: {}\r\n", "v".repeat(1_000_000));
    let answered = target.request(&get, &endless, "").await;
    assert_eq!(answered.status, 431);
    target.has_recorded(0, 0).await;
}
