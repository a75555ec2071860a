//! `meterline setup --catalog` and `meterline catalog` as a program: what it
//! prints, and its exit status.

use crate::story::Story;
use crate::story::catalog_file::two_meters;
use serde_json::{Value, json};

#[tokio::test]
async fn a_catalog_is_set_up_and_shown() {
    let story = Story::start().await;
    let show = ["catalog", "show"];
    let (status, out, _) = story.meterline(&show).await;
    assert_eq!(status, Some(0));
    assert!(out.starts_with("no catalog is stored"), "{out}");
    let (status, _, err) = story.meterline(&["catalog", "which", "read"]).await;
    assert_eq!(status, Some(2));
    assert!(
        err.contains("`meterline setup --catalog FILE` stores one"),
        "{err}"
    );

    let path = story.write_catalog(&two_meters()).display().to_string();
    let setup = ["setup", "--catalog", &path];
    let (status, out, err) = story
        .meterline(&[&setup[..], &["--dry-run"]].concat())
        .await;
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("sums llm_tokens  [to be created]"), "{out}");
    assert!(out.contains("version 1  [to be stored]"), "{out}");
    let subscribe = "`meterline catalog subscribe` adds the items";
    assert!(!out.contains(subscribe), "{out}");
    assert_eq!(story.stored().await, None);
    let (status, out, err) = story.meterline(&setup).await;
    assert_eq!(status, Some(0), "{err}");
    assert!(out.contains("sums llm_tokens  [created]"), "{out}");
    assert!(out.contains(subscribe), "{out}");
    let (_, out, _) = story.meterline(&setup).await;
    assert!(!out.contains(subscribe), "{out}");
    let (_, out, _) = story.meterline(&[&setup[..], &["--json"]].concat()).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["catalog"], json!([1, "found"]));
    assert_eq!(report["meters"][1]["price"][1], "found");

    let (_, out, _) = story.meterline(&show).await;
    assert!(
        out.contains("llm_tokens at llm_tokens_monthly: llm.*\n"),
        "{out}"
    );
    assert!(out.contains("any other action is refused"), "{out}");
    let (_, out, _) = story.meterline(&[&show[..], &["--json"]].concat()).await;
    let stored: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (
            &stored["version"],
            &stored["catalog"]["meters"][1]["actions"]
        ),
        (&json!(1), &json!(["llm.*"]))
    );
}

#[tokio::test]
async fn which_says_by_which_entry_and_by_its_status_whether_any_is_refused() {
    let story = Story::start().await;
    story.set_up_now(&two_meters()).await;
    let which = ["catalog", "which", "llm.output", "read"];
    let (status, out, _) = story.meterline(&which).await;
    assert_eq!(status, Some(1));
    assert_eq!(
        out,
        "llm.output  llm_tokens  by the prefix llm.*; billed at llm_tokens_monthly\n\
         read  refused: no entry covers it\n"
    );

    let (_, out, _) = story.meterline(&[&which[..], &["--json"]].concat()).await;
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    let lines: Vec<Value> = lines.collect();
    assert_eq!(
        lines[0]["by"],
        json!({ "rule": "prefix", "entry": "llm.*" })
    );
    assert_eq!(lines[1]["event_name"], json!(null));
    let (status, _, _) = story.meterline(&["catalog", "which", "llm.a"]).await;
    assert_eq!(status, Some(0));
}

#[tokio::test]
async fn subscribe_says_an_outcome_for_each_customer() {
    let story = Story::start().await;
    for external_id in ["second", "third", "fourth", "fifth"] {
        story.caller.onboard(external_id).await;
    }
    story.set_up_now(&two_meters()).await;
    let subscribe = ["catalog", "subscribe"];
    let (status, out, _) = story
        .meterline(&[&subscribe[..], &["--dry-run"]].concat())
        .await;
    assert_eq!(status, Some(0));
    assert!(out.contains("would be subscribed to llm_tokens"), "{out}");
    let (status, out, err) = story.meterline(&subscribe).await;
    assert_eq!(status, Some(0), "{err}");
    assert_eq!(out.matches("  subscribed: si_").count(), 5, "{out}");
    assert!(out.ends_with("5 customers done, 0 failed\n"), "{out}");
    let stranger = ["--customer", "cus_stranger", "--json"];
    let (status, out, _) = story.meterline(&[&subscribe[..], &stranger].concat()).await;
    assert_eq!(status, Some(1));
    let failed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&failed["customer_id"], &failed["outcome"]),
        (&json!("cus_stranger"), &json!("failed"))
    );
}

#[tokio::test]
async fn a_catalog_goes_with_no_option_of_one_meter() {
    let story = Story::start().await;
    let path = story.write_catalog(&two_meters()).display().to_string();
    for other in [
        ["--product-name", "Pages"],
        ["--event-name", "pages"],
        ["--lookup-key", "pages"],
        ["--currency", "eur"],
        ["--unit-amount-decimal", "3"],
        ["--transform-quantity", "10:up"],
        ["--tiers-mode", "volume"],
        ["--tier", "inf:2"],
    ] {
        let arguments = [&["setup", "--catalog", &path], &other[..]].concat();
        let (status, _, err) = story.meterline(&arguments).await;
        assert_eq!(status, Some(2), "{other:?}");
        assert!(err.contains("cannot be used with"), "{err}");
    }
    let nowhere = ["setup", "--catalog", "nowhere.json"];
    let (status, _, err) = story.meterline(&nowhere).await;
    assert_eq!(status, Some(2));
    assert!(err.starts_with("meterline: nowhere.json: "), "{err}");
    assert_eq!(story.stored().await, None);
}
