//! Bodies that are not what they should be.

use crate::Cases;
use crate::wire::Target;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_within_a_request_is_never_answered() {
    let target = Target::start().await;
    let inner = target.event("smuggled", "1");
    let inner = format!(
        "POST /v1/usage HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{inner}",
        target.key,
        inner.len()
    );
    let chunked = format!("0\r\n\r\n{inner}");
    let body = |headers: &str| headers.replace("LENGTH", &chunked.len().to_string());
    for headers in [
        "content-length: LENGTH\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: LENGTH\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding:\r\n chunked\r\n",
        "content-length: 0\r\ncontent-length: LENGTH\r\n",
        "content-length: +LENGTH\r\n",
        "content-length: -1\r\n",
        "content-length: 0x10\r\n",
        "content-length: 99999999999999999999999\r\n",
        "content-length: LENGTH\r\n x: y\r\n",
        "x: a\0b\r\ncontent-length: LENGTH\r\n",
    ] {
        let answered = target
            .request("POST /v1/usage", &body(headers), &chunked)
            .await;
        assert_eq!(answered.answers, 1, "{headers:?}: {answered:?}");
        assert_eq!(answered.status, 400, "{headers:?}: {answered:?}");
    }
    target.has_recorded(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_whole_quantity_in_plain_digits_is_recorded() {
    let target = Target::start().await;
    let cases: Cases<'_> = &[
        ("0", 400, "invalid-field"),
        ("-0", 400, "invalid-field"),
        ("-1", 400, "invalid-field"),
        ("1.0", 400, "invalid-field"),
        ("1e0", 400, "invalid-field"),
        ("0.1e1", 400, "invalid-field"),
        ("1000000001", 400, "invalid-field"),
        ("9223372036854775807", 400, "invalid-field"),
        ("9223372036854775808", 400, "invalid-field"),
        ("18446744073709551615", 400, "invalid-field"),
        ("18446744073709551616", 400, "invalid-field"),
        ("1e308", 400, "invalid-field"),
        ("\"1\"", 400, "invalid-field"),
        ("true", 400, "invalid-field"),
        ("[1]", 400, "invalid-field"),
        ("null", 400, "invalid-field"),
        ("1e400", 400, "invalid-request"),
        ("01", 400, "invalid-request"),
        ("+1", 400, "invalid-request"),
        ("0x1", 400, "invalid-request"),
        ("1_000", 400, "invalid-request"),
        ("1.", 400, "invalid-request"),
        ("NaN", 400, "invalid-request"),
        ("Infinity", 400, "invalid-request"),
        ("1,\"quantity\":2", 400, "invalid-request"),
        ("1,\"quantit\\u0079\":2", 400, "invalid-request"),
        ("1,\"Quantity\":2", 400, "invalid-field"),
    ];
    for (quantity, status, kind) in cases {
        let answered = target.emit(target.event("number", quantity)).await;
        assert_eq!(
            (answered.status, answered.problem().as_str()),
            (*status, *kind),
            "{quantity}"
        );
    }
    let largest = target.emit(target.event("largest", "1000000000")).await;
    assert_eq!(largest.status, 200, "{largest:?}");
    target.has_recorded(1, 1_000_000_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_id_is_what_was_sent_to_the_byte() {
    let target = Target::start().await;
    // As JSON has them, and as a query has them.
    let ids = [
        (r"a\u0000b", "a%00b"),
        (r"a\u202eb", "a%E2%80%AEb"),
        (r"\u00e9", "%C3%A9"),
        (r"e\u0301", "e%CC%81"),
        (r"\u0430", "%D0%B0"),
        ("a", "a"),
        ("A", "A"),
        (r"a\u200b", "a%E2%80%8B"),
        (r"\ud83d\ude00", "%F0%9F%98%80"),
        ("../a", "../a"),
        ("a#b", "a%23b"),
        ("a/b", "a%2Fb"),
        ("a%2Fb", "a%252Fb"),
        (" a ", "%20a%20"),
        (r"\r\n", "%0D%0A"),
        ("%", "%25"),
        ("'; DROP TABLE", "%27;+DROP+TABLE"),
        ("{{a}}", "{{a}}"),
    ];
    for (id, _) in ids {
        let answered = target.emit(target.event(id, "1")).await;
        assert_eq!(answered.status, 200, "{id}: {answered:?}");
        assert!(
            answered.body.contains("\"duplicate\":false"),
            "{id}: {answered:?}"
        );
    }
    for (id, encoded) in ids {
        let path = format!("/v1/usage/{}?event_id={encoded}", target.customer);
        let answered = target.get(&path).await;
        assert_eq!(answered.status, 200, "{id}: {answered:?}");
        let row: serde_json::Value = serde_json::from_str(&answered.body).unwrap();
        let sent: String = serde_json::from_str(&format!("\"{id}\"")).unwrap();
        assert_eq!(row["event_id"], sent, "{id}");
    }
    let events = u64::try_from(ids.len()).unwrap();
    target.has_recorded(events, events).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_text_is_no_id() {
    let target = Target::start().await;
    let customer = target.customer.clone();
    let whole = target.event("ID", "1");
    let with = |id: &[u8]| {
        let (before, after) = whole.split_once("ID").expect("it has one");
        [before.as_bytes(), id, after.as_bytes()].concat()
    };
    for id in [
        br"\ud800".as_slice(),
        br"\udc00\ud800",
        br"\u12",
        br"\x41",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xff",
        b"a\nb",
        b"a\0b",
    ] {
        let answered = target.emit(with(id)).await;
        let refused = (answered.status, answered.problem());
        assert_eq!(refused, (400, "invalid-request".to_owned()), "{id:?}");
    }
    for (from, to) in [
        (customer.as_str(), "с\\u0443s_1".to_owned()),
        (&customer, format!("{customer}\\u0000")),
        (&customer, format!("{customer}\\u200b")),
        (&customer, format!(" {customer}")),
        (&customer, format!("{customer}/../{customer}")),
        (&customer, "c".repeat(65)),
        ("document_processed", "document processed".to_owned()),
        ("document_processed", "document#processed".to_owned()),
        ("document_processed", "dоcument_processed".to_owned()),
        ("document_processed", "a".repeat(65)),
        ("ID", "ä".repeat(128)),
        ("ID", String::new()),
    ] {
        let answered = target.emit(whole.replacen(from, &to, 1)).await;
        let refused = (answered.status, answered.problem());
        assert_eq!(refused, (400, "invalid-field".to_owned()), "{to}");
    }
    target.has_recorded(0, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_plain_json_is_refused_whole() {
    let target = Target::start().await;
    let event = target.event("json", "1");
    let deep = |levels: usize| {
        let nested = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        event.replacen("{", &format!("{{\"x\":{nested},"), 1)
    };
    for (body, kind) in [
        (String::new(), "invalid-request"),
        (format!("\u{feff}{event}"), "invalid-request"),
        (format!("{event}{event}"), "invalid-request"),
        (format!("{event},"), "invalid-request"),
        (format!("// {event}\n{event}"), "invalid-request"),
        (event.replace('"', "'"), "invalid-request"),
        (event.replacen('}', ",}", 1), "invalid-request"),
        (event[..event.len() - 1].to_owned(), "invalid-request"),
        (format!("[{event}]"), "invalid-request"),
        (
            format!("\"{}\"", event.replace('"', "\\\"")),
            "invalid-request",
        ),
        // 127 levels are read, and then the field is none; one more is too deep.
        (deep(126), "invalid-field"),
        (deep(127), "invalid-request"),
        ("[".repeat(60_000), "invalid-request"),
        (
            event.replacen('{', "{\"__proto__\":{},", 1),
            "invalid-field",
        ),
        (
            event.replacen('{', "{\"status\":\"delivered\",", 1),
            "invalid-field",
        ),
    ] {
        let answered = target.emit(&body).await;
        let refused = (answered.status, answered.problem());
        assert_eq!(refused, (400, kind.to_owned()), "{:.200}", body);
    }
    for (header, status, kind) in [
        ("content-encoding: gzip\r\n", 415, "unsupported-encoding"),
        (
            "content-encoding: identity, gzip\r\n",
            415,
            "unsupported-encoding",
        ),
        ("idempotency-key: \r\n", 400, "invalid-field"),
        (
            "idempotency-key: a\r\nidempotency-key: b\r\n",
            400,
            "invalid-field",
        ),
        ("idempotency-key: \u{e4}\r\n", 400, "invalid-field"),
    ] {
        let headers = format!("{header}content-length: {}\r\n", event.len());
        let answered = target.request("POST /v1/usage", &headers, &event).await;
        let refused = (answered.status, answered.problem());
        assert_eq!(refused, (status, kind.to_owned()), "{header}");
    }
    target.has_recorded(0, 0).await;
}
