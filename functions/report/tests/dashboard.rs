//! Stories of the dashboard, over HTTP, as its page and the page's script ask for it.

use billing::{Clock, CustomerId, UsageStatus};
use ledger::{CustomerStatus, Scope};
use report::{DashboardLinks, FrameAncestors, State};
use reqwest::Method;
use reqwest::header::{ETAG, IF_NONE_MATCH};
use serde_json::{Value, json};

use crate::story::{Story, script, secret};
use crate::support::world::{Answer, DAY_MS, HOUR_MS, send};

impl Story {
    /// What a script gets under `link` that knows the content of `tag`.
    async fn data_unless(&self, link: &str, tag: &str) -> Answer {
        let request = self.world.http.get(script(link, "data"));
        send(request.header(IF_NONE_MATCH, tag)).await
    }

    /// A press of the page's button, in a browser that says which page it is on.
    async fn portal(&self, link: &str, site: &str) -> Answer {
        let request = self.world.http.post(script(link, "billing-portal"));
        send(request.header("sec-fetch-site", site)).await
    }
}

fn tag(answer: &Answer) -> String {
    answer.headers[ETAG].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_link_shows_one_customer_for_a_day() {
    let story = Story::start().await;
    story
        .count(&[("document_processed", 0, UsageStatus::Delivered, 1_005)])
        .await;
    let link = story.link().await;
    let page = story.open(&link).await;
    assert_eq!(page.status, 200, "{}", page.text);
    for text in ["1,005", "USD 20.10", "document_processed", "Active"] {
        assert!(page.text.contains(text), "{text}: {}", page.text);
    }
    let data = story.data(&link).await.expect(200);
    assert_eq!(
        (&data["units"], &data["cost"]),
        (&json!("1005"), &json!("20.10"))
    );

    let customer = story.customer.customer_id.as_str();
    for altered in [
        link.replace(customer, "cus_other"),
        link.replace("expires=1", "expires=2"),
        link.replace("signature=", "signature=00"),
        link.split("&signature").next().unwrap().to_owned(),
        format!("{link}&billing_portal=1"),
    ] {
        let refused = story.open(&altered).await;
        assert_eq!(refused.status, 403, "{altered}");
        assert!(refused.text.contains("does not work") && !refused.text.contains("1,005"));
        for what in ["data", "invoices"] {
            let refused = story.open(&script(&altered, what)).await;
            assert_eq!(refused.problem(403), "forbidden", "{altered}");
            assert_eq!(refused.json()["reason"], "invalid", "{altered}");
        }
        assert_eq!(story.portal(&altered, "same-origin").await.status, 403);
    }
    story.world.clock.advance_ms(DAY_MS + 1_000);
    let expired = story.open(&link).await;
    assert_eq!(expired.status, 403);
    assert!(expired.text.contains("has expired"));
    let expired = story.data(&link).await;
    assert_eq!(expired.problem(403), "forbidden");
    assert_eq!(expired.json()["reason"], "expired");
}

#[tokio::test]
async fn the_page_loads_its_own_files_and_nothing_else() {
    let story = Story::start().await;
    let page = story.open(&story.link().await).await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert_eq!(
        policy,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "nosniff"),
        ("x-robots-tag", "noindex"),
    ] {
        assert_eq!(page.headers[name], value, "{name}");
    }
    assert!(
        !page.text.contains("style=") && !page.text.contains("<script>"),
        "{}",
        page.text
    );
    let mut files = 0;
    for part in page
        .text
        .split(['"', '\''])
        .filter(|part| part.contains("/assets/"))
    {
        let file = story.open(&format!("{}/{part}", story.url)).await;
        assert_eq!(file.status, 200, "{part}");
        assert_eq!(
            file.headers["cache-control"],
            "public, max-age=31536000, immutable"
        );
        assert_eq!(file.headers["x-content-type-options"], "nosniff");
        files += 1;
    }
    assert!(files > 8, "{}", page.text);
    // A page of another version is served in passing.
    let other = format!("{}/dashboard/assets/0123456789abcdef/main.js", story.url);
    assert_eq!(
        story.open(&other).await.headers["cache-control"],
        "no-store"
    );
    let none = format!("{}/dashboard/assets/0123456789abcdef/none.js", story.url);
    assert_eq!(story.open(&none).await.problem(404), "not-found");
    for no_version in ["%C2%84", "0123456789ABCDEF", "0123456789abcde", ".."] {
        let address = format!("{}/dashboard/assets/{no_version}/main.js", story.url);
        assert_eq!(story.open(&address).await.status, 404, "{no_version}");
    }
}

#[tokio::test]
async fn what_a_name_looks_like_changes_nothing_of_the_page() {
    let story = Story::start().await;
    let hostile = "<script>alert(1)</script>";
    story
        .count_on(hostile, &[("page_read", 0, UsageStatus::Delivered, 7)])
        .await;
    let page = story.open(&story.link().await).await;
    assert!(
        page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "{}",
        page.text
    );
    assert!(!page.text.contains(hostile));
}

#[tokio::test]
async fn only_pages_of_the_operator_may_frame_it() {
    let story = Story::start().await;
    let links = DashboardLinks::new(&secret(), None).unwrap();
    let (ledger, stripe) = (story.world.ledger.clone(), story.world.stripe.clone());
    let ancestors = "https://app.example.com http://localhost:3000";
    let state = State::new(ledger, stripe, links, story.world.clock())
        .with_frame_ancestors(FrameAncestors::parse(ancestors).unwrap());
    let url = story.world.serve(report::router(state)).await;
    let link = story.link().await.replace(&story.url, &url);
    let page = story.open(&link).await;
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(
        policy.ends_with(&format!("frame-ancestors {ancestors}")),
        "{policy}"
    );
}

#[tokio::test]
async fn new_usage_shows_at_the_next_look_and_nothing_is_sent_twice() {
    let story = Story::start().await;
    let link = story.link().await;
    let first = story.data(&link).await;
    let empty = first.expect(200);
    assert_eq!(
        (&empty["units"], &empty["by_action_type"]),
        (&json!("0"), &json!([]))
    );
    assert_eq!(first.headers["cache-control"], "no-store");

    for _ in 0..3 {
        story.look_again();
        let same = story.data_unless(&link, &tag(&first)).await;
        assert_eq!((same.status, same.text.as_str()), (304, ""));
    }
    story
        .count(&[
            ("page_read", 0, UsageStatus::Delivered, 6),
            ("mail_sent", 0, UsageStatus::Pending, 3),
        ])
        .await;
    // For a second, everybody sees the look that somebody has just had.
    assert_eq!(story.data_unless(&link, &tag(&first)).await.status, 304);
    story.look_again();
    let second = story.data_unless(&link, &tag(&first)).await;
    let data = second.expect(200);
    assert_ne!(tag(&first), tag(&second));
    assert_eq!(data["units"], "9");
    assert_eq!(data["pending_units"], "3");
    assert_eq!(data["cost"], "0.18");
    assert_eq!(data["as_of"], story.world.clock.now().to_string());
    assert_eq!(
        data["by_action_type"],
        json!([
            { "action_type": "page_read", "units": "6", "share_per_mille": 666 },
            { "action_type": "mail_sent", "units": "3", "share_per_mille": 333 },
        ])
    );
    // It says the same as the API does.
    let usage = story.get("usage").await.expect(200);
    assert_eq!(usage["estimated_cost"], data["cost"]);
    assert_eq!(usage["period_end"], data["period_end"]);
}

#[tokio::test]
async fn the_chart_has_every_day_and_hour_and_the_largest_actions() {
    let mut story = Story::start().await;
    let start = story.customer.period_start.start_of_hour();
    let test_clock = story.customer.test_clock.clone().unwrap();
    let now_s = start.unix_s() + 50 * HOUR_MS / 1_000 + 60;
    story.world.move_test_clock(&test_clock, now_s).await;
    story.customer = story
        .world
        .customer(story.customer.customer_id.as_str())
        .await;
    let actions: Vec<String> = (0..8).map(|number| format!("action_{number}")).collect();
    let cells: Vec<_> = actions
        .iter()
        .zip([80, 70, 60, 50, 40, 30, 20, 10])
        .flat_map(|(action, units)| {
            [0, 50].map(|hour| (action.as_str(), hour, UsageStatus::Delivered, units))
        })
        .collect();
    story.count(&cells).await;
    let data = story.data(&story.link().await).await.expect(200);
    let chart = &data["chart"];
    assert_eq!(chart["action_types"], json!(actions[..6]));
    assert_eq!(chart["has_others"], true);
    let bars = |name: &str| chart[name].as_array().unwrap().clone();
    let units = |bars: &[Value]| -> u64 {
        let units = bars.iter().flat_map(|bar| bar["units"].as_array().unwrap());
        units.map(|units| units.as_u64().unwrap()).sum()
    };
    let (days, hours) = (bars("days"), bars("hours"));
    assert_eq!(units(&days), 720);
    assert_eq!(hours.len(), 48);
    // The first hour is more than 48 hours ago.
    assert_eq!(units(&hours), 360);
    assert_eq!(hours[47]["units"], json!([80, 70, 60, 50, 40, 30, 30]));
    assert_eq!(hours[47]["start"], start.plus_ms(50 * HOUR_MS).to_string());
    assert_eq!(data["by_action_type"].as_array().unwrap().len(), 8);
}

#[tokio::test]
async fn a_period_may_come_to_what_its_days_so_far_say() {
    let mut story = Story::start().await;
    let early = story.data(&story.link().await).await.expect(200);
    assert_eq!(early["projection"], Value::Null);

    let start = story.customer.period_start;
    let midnight_s = (start.unix_s() + 86_399).div_euclid(86_400) * 86_400;
    let until_midnight = (midnight_s - start.start_of_hour().unix_s()) / 3_600;
    let test_clock = story.customer.test_clock.clone().unwrap();
    // Four complete days of the period, and noon of the fifth.
    let now_s = midnight_s + 4 * 86_400 + 12 * 3_600;
    story.world.move_test_clock(&test_clock, now_s).await;
    story.customer = story
        .world
        .customer(story.customer.customer_id.as_str())
        .await;
    let at = |day: i64| until_midnight + 24 * day + 1;
    story
        .count(&[
            ("page_read", at(0), UsageStatus::Delivered, 100),
            ("page_read", at(1), UsageStatus::Delivered, 200),
            ("page_read", at(2), UsageStatus::Delivered, 300),
            ("page_read", at(3), UsageStatus::Delivered, 400),
            ("page_read", at(4), UsageStatus::Delivered, 50),
        ])
        .await;
    // The days before yesterday are believed for 15 seconds.
    story.world.clock.advance_ms(15_000);
    let data = story.data(&story.link().await).await.expect(200);
    assert_eq!(data["units"], "1050");
    assert_eq!(
        (&data["today"]["units"], &data["today"]["cost"]),
        (&json!("50"), &json!("1.00"))
    );
    let end_s = story.customer.period_end.unix_s();
    let hours = (end_s - (now_s + 3_600)).div_euclid(3_600);
    let expected = |a_day: i64| (1_050 + (a_day * hours + 12).div_euclid(24)).to_string();
    let projection = &data["projection"];
    assert_eq!(projection["days"], 4);
    assert_eq!(projection["low"]["units"], expected(100));
    assert_eq!(projection["middle"]["units"], expected(250));
    assert_eq!(projection["high"]["units"], expected(300));
    let cents = 2 * expected(250).parse::<i64>().unwrap();
    let cost = format!("{}.{:02}", cents / 100, cents % 100);
    assert_eq!(projection["middle"]["cost"], cost);
}

/// What docs/dashboard.md says of reads.
#[tokio::test]
async fn many_looks_are_few_reads() {
    let story = Story::start().await;
    let (url, way) = story.counted().await;
    let link = script(&story.link().await, "data").replace(&story.url, &url);
    let reads = || (way.seen("Query"), way.seen("GetItem"));
    story.open(&link).await.expect(200);
    // The totals, the latest events by sixteen parts of the index, and the row.
    assert_eq!(reads(), (1 + 16, 1));
    // Ten viewers within a second.
    for _ in 0..10 {
        story.open(&link).await.expect(200);
    }
    assert_eq!(reads(), (1 + 16, 1));
    // One viewer for ten seconds: the row is believed for as long, and the events are read
    // once more, when the index has what came in last.
    for second in 1..10 {
        story.look_again();
        story.open(&link).await.expect(200);
        let events = if second < 5 { 16 } else { 32 };
        assert_eq!(reads(), (1 + events + second, 1));
    }
    // Ten at the same time wait for one look.
    story.look_again();
    let (query, get) = reads();
    let looks = (0..10).map(|_| {
        let request = story.world.http.get(&link);
        tokio::spawn(send(request))
    });
    for look in looks.collect::<Vec<_>>() {
        look.await.unwrap().expect(200);
    }
    assert_eq!(reads().0, query + 1);
    assert!(reads().1 <= get + 1);
}

#[tokio::test]
async fn the_script_learns_that_a_customer_is_past_due() {
    let story = Story::start().await;
    let link = story.link().await;
    assert_eq!(story.data(&link).await.expect(200)["status"], "active");
    story.set(|row| row.status = CustomerStatus::PastDue).await;
    // The row is believed for ten seconds.
    story.world.clock.advance_ms(10_000);
    assert_eq!(story.data(&link).await.expect(200)["status"], "past_due");
    let page = story.open(&link).await;
    assert!(page.text.contains("Payment due") && page.text.contains("A payment has failed"));
}

#[tokio::test]
async fn usage_shows_without_stripe_and_invoices_say_that_they_cannot() {
    let story = Story::start().await;
    let link = story.link().await;
    let fault = json!({ "kind": "error_before", "times": 1_000, "path_prefix": "/v1/invoices" });
    story.world.break_stripe(&fault).await;
    let page = story.open(&link).await;
    assert_eq!(page.status, 200);
    assert!(
        page.text.contains("Invoices cannot be shown right now"),
        "{}",
        page.text
    );
    let invoices = story.open(&script(&link, "invoices")).await;
    assert_eq!(invoices.problem(503), "stripe-unavailable");
    story.data(&link).await.expect(200);
    assert!(story.world.repair_stripe().await > 0);
    // For five seconds nobody asks Stripe again.
    story.world.clock.advance_ms(5_000);
    let listed = story.open(&script(&link, "invoices")).await;
    let invoices = listed.expect(200);
    assert_eq!(invoices["upcoming"]["total"], "0.00");
    assert_eq!(invoices["invoices"][0]["status"], "paid");
    let request = story.world.http.get(script(&link, "invoices"));
    let same = send(request.header(IF_NONE_MATCH, tag(&listed))).await;
    assert_eq!(same.status, 304);
    assert!(!story.open(&link).await.text.contains("cannot be shown"));
}

#[tokio::test]
async fn stripe_is_asked_for_invoices_once_a_minute_or_when_the_customer_changes() {
    let story = Story::start().await;
    let link = script(&story.link().await, "invoices");
    let total = async || story.open(&link).await.expect(200)["upcoming"]["total"].clone();
    assert_eq!(total().await, "0.00");
    story.use_up("job-1", 100).await;
    story.world.clock.advance_ms(50_000);
    assert_eq!(total().await, "0.00");
    story.world.clock.advance_ms(10_000);
    assert_eq!(total().await, "2.00");
    story.use_up("job-2", 50).await;
    story.set(|row| row.status = CustomerStatus::PastDue).await;
    story.world.clock.advance_ms(10_000);
    assert_eq!(total().await, "3.00");
}

#[tokio::test]
async fn a_link_leads_on_to_the_portal_only_where_an_admin_made_it_so() {
    let story = Story::start().await;
    let plain = story.link().await;
    let page = story.open(&plain).await;
    assert!(!page.text.contains("Manage payment details"));
    assert_eq!(story.portal(&plain, "same-origin").await.status, 403);

    let link = story.link_with(json!({ "billing_portal": true })).await;
    let page = story.open(&link).await;
    assert!(
        page.text.contains("Manage payment details") && !page.text.contains("billing.stripe.com")
    );
    let portal = story.portal(&link, "same-origin").await;
    assert_eq!(portal.status, 200, "{}", portal.text);
    assert!(
        portal
            .text
            .contains("content=\"0;url=https://billing.stripe.com/p/session/")
    );
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "same-origin"),
    ] {
        assert_eq!(portal.headers[name], value);
    }
    for site in ["cross-site", "same-site", "none"] {
        assert_eq!(story.portal(&link, site).await.status, 403, "{site}");
    }

    // Who may only read cannot make one.
    let mine = vec![story.customer.customer_id.clone()];
    let reader = story.world.api_key(Scope::Read, Some(mine.clone())).await;
    let admin = story.world.api_key(Scope::Admin, Some(mine)).await;
    let other = CustomerId::parse("cus_other").unwrap();
    let others_admin = story.world.api_key(Scope::Admin, Some(vec![other])).await;
    for (key, wish, status) in [
        (&reader, json!({ "billing_portal": true }), 403),
        (&others_admin, json!({ "billing_portal": true }), 403),
        (&reader, json!({ "billing_portal": false }), 200),
        (&admin, json!({ "billing_portal": true }), 200),
        (&admin, json!({ "portal": true }), 400),
    ] {
        let request = story
            .world
            .http
            .request(Method::POST, story.customer_url("dashboard-links"));
        let made = send(request.bearer_auth(key).json(&wish)).await;
        assert_eq!(made.status, status, "{wish} {}", made.text);
    }
}

#[tokio::test]
async fn the_portal_is_not_opened_without_end() {
    let story = Story::start().await;
    let link = story.link_with(json!({ "billing_portal": true })).await;
    for _ in 0..5 {
        assert_eq!(story.portal(&link, "same-origin").await.status, 200);
    }
    let busy = story.portal(&link, "same-origin").await;
    assert_eq!(busy.status, 429);
    assert!(busy.text.contains("several times"));
    story.world.clock.advance_ms(30_000);
    let fault =
        json!({ "kind": "error_before", "times": 100, "path_prefix": "/v1/billing_portal" });
    story.world.break_stripe(&fault).await;
    assert_eq!(story.portal(&link, "same-origin").await.status, 503);
    assert!(story.world.repair_stripe().await > 0);
}
