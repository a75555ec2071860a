//! Who calls, and what about: keys, links and paths that were forged.

use crate::wire::Target;

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_whole_or_none() {
    let target = Target::start().await;
    let key = target.key.clone();
    let event = target.event("key", "1");
    let length = event.len();
    let (half, secret) = key.rsplit_once('_').unwrap();
    let flipped = if key.ends_with('0') { "1" } else { "0" };
    for authorization in [
        String::new(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        format!("Basic {key}"),
        format!("Bearer {}", &key[..key.len() - 1]),
        format!("Bearer {}{flipped}", &key[..key.len() - 1]),
        format!("Bearer {key}0"),
        format!("Bearer {}", key.to_uppercase()),
        format!("Bearer {half}_"),
        format!("Bearer _{secret}"),
        format!("Bearer mk_{}_{secret}", "0".repeat(16)),
        format!("Bearer {key} {key}"),
        format!("Bearer {key},{key}"),
        format!("Bearer \"{key}\""),
        format!("Bearer {}", "k".repeat(8_000)),
        "Bearer mk_\u{e4}_\u{e4}".to_owned(),
    ] {
        let request = format!(
            "POST /v1/usage HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: {authorization}\r\n\
             content-length: {length}\r\n\r\n{event}"
        );
        let answered = target.send(request).await;
        let refused = (answered.status, answered.problem());
        assert_eq!(
            refused,
            (401, "unauthorized".to_owned()),
            "{authorization:.80}"
        );
        assert!(!answered.body.contains(secret), "{authorization:.80}");
    }
    // In the query it is no key, and must not be one.
    let line = format!(
        "GET /v1/customers/{}/usage?authorization=Bearer+{key}",
        target.customer
    );
    let answered = target
        .send(format!(
            "{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"
        ))
        .await;
    assert_eq!(answered.status, 401);
    target.has_recorded(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dashboard_link_opens_one_dashboard_until_it_expires() {
    let target = Target::start().await;
    let other = target.onboard("another").await;
    let links = format!("/v1/customers/{}/dashboard-links", target.customer);
    let link = target.post(&links, "").await;
    let link: serde_json::Value = serde_json::from_str(&link.body).unwrap();
    let link = link["url"].as_str().unwrap();
    let link = &link[link.find("/dashboard").unwrap()..];
    assert_eq!(target.get(link).await.status, 200, "{link}");
    let (unsigned, signature) = link.rsplit_once("signature=").unwrap();
    let expires = link.split("expires=").nth(1).unwrap();
    let expires = expires.split('&').next().unwrap();
    for forged in [
        link.replace(&target.customer, &other),
        link.replace(expires, "99999999999"),
        link.replace(expires, &format!("{expires}0")),
        link.replace(expires, &format!("%2B{expires}")),
        link.replace(expires, "1"),
        link.replace(expires, "-9223372036854775808"),
        link[..link.len() - 1].to_owned(),
        format!("{link}0"),
        format!("{unsigned}signature="),
        unsigned.to_owned(),
        format!("{unsigned}signature={}", "0".repeat(64)),
        format!("{link}&customer={other}"),
        format!("{link}&billing_portal=1"),
        format!("{link}&signature={signature}"),
        link.replace("customer=", "customer=%00"),
        link.replace("customer=", "customer=%ff"),
        "/dashboard".to_owned(),
    ] {
        let answered = target.get(&forged).await;
        assert_eq!(answered.status, 403, "{forged}");
        assert!(!answered.body.contains(&other), "{forged}");
        assert!(!answered.body.contains(signature), "{forged}");
    }
    target.has_recorded(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_leads_to_its_own_customer_or_nowhere() {
    let target = Target::start().await;
    let customer = target.customer.clone();
    for (path, status) in [
        (format!("/v1/usage/{customer}/.."), 404),
        (format!("/v1/usage/{customer}/%2e%2e%2f{customer}"), 404),
        (format!("/v1/usage/{customer}/a%00b"), 404),
        (format!("/v1/usage/{customer}/%ff"), 400),
        (format!("/v1/usage/{customer}/%zz"), 404),
        (format!("/v1/usage/{customer}/"), 404),
        (format!("/v1/usage/{customer}/a/b"), 404),
        (format!("/v1/usage//{customer}/a"), 404),
        (format!("/v1/usage/{customer}"), 400),
        (format!("/v1/usage/{customer}?event_id="), 400),
        (format!("/v1/usage/{customer}?event_id=a&event_id=b"), 400),
        (format!("/v1/usage/{customer}?event_id=%ff"), 404),
        (format!("/v1/usage/{customer}?event_id=a&x=b"), 400),
        (
            format!("/v1/customers/{customer}%2f..%2f{customer}/usage"),
            400,
        ),
        (format!("/v1/customers/{customer}%23/usage"), 400),
        (format!("/v1/customers/{customer}%00/usage"), 400),
        (format!("/v1/customers/{customer}%20/usage"), 400),
        (format!("/v1/customers/%ff{customer}/usage"), 400),
        (format!("/v1/customers/../customers/{customer}/usage"), 404),
        (format!("//v1/customers/{customer}/usage"), 404),
        (format!("/V1/customers/{customer}/usage"), 404),
        (format!("/v1/customers/{customer}/usage/"), 404),
        (format!("/v1/customers/{customer}/usage?period_days=0"), 400),
        (
            format!("/v1/customers/{customer}/usage?period_days=367"),
            400,
        ),
        (
            format!("/v1/customers/{customer}/usage?period_days=9223372036854775808"),
            400,
        ),
        (
            format!("/v1/customers/{customer}/usage?from=9223372036854775807"),
            400,
        ),
        (
            format!("/v1/customers/{customer}/usage?from=-9223372036854775808"),
            400,
        ),
        (format!("/v1/customers/{customer}/invoices?limit=0"), 400),
        (format!("/v1/customers/{customer}/invoices?limit=101"), 400),
        (format!("/v1/customers/{customer}/invoices?limit=100"), 200),
        (
            format!("/v1/customers/{}/usage", customer.to_lowercase()),
            404,
        ),
    ] {
        let answered = target.get(&path).await;
        assert_eq!(answered.status, status, "{path}: {answered:?}");
    }
    target.has_recorded(0, 0).await;
}
