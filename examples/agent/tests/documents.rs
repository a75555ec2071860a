//! No bill without a summary, no summary without a bill.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::anthropic::{Anthropic, AnthropicError};
use agent::documents::{DocumentError, ProcessedDocument, list_documents};
use meterline_client::EmitError;
use serde_json::json;

use crate::support::{BICYCLE_CHAIN_EVENT_ID, Scripted, Step, document_agent, problem};

const PATIENT: Duration = Duration::from_secs(60);
const AT_ONCE: Duration = Duration::ZERO;

fn documents() -> Vec<PathBuf> {
    list_documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../documents")).unwrap()
}

fn emission_error(result: Result<ProcessedDocument, DocumentError>) -> EmitError {
    match result {
        Err(DocumentError::Emission { source, .. }) => source,
        other => unreachable!("expected a failed emission, got {other:?}"),
    }
}

#[tokio::test]
async fn five_documents_are_summarised_and_billed_once() {
    let meterline = Scripted::start([], Step::Record).await;
    let agent = document_agent(&meterline, PATIENT).await;
    assert_eq!(documents().len(), 5);
    for (run, duplicate) in [(1, false), (2, true)] {
        for path in documents() {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.split_whitespace().count() >= 350, "{}", path.display());
            let processed = agent.process_document(&path).await.unwrap();
            assert_eq!(processed.duplicate, duplicate, "run {run}");
            assert_eq!(
                (processed.status.as_str(), processed.quantity),
                ("delivered", 1)
            );
            assert!(processed.summary.len() > 100 && processed.summary.len() < text.len() / 3);
        }
    }
    assert_eq!(meterline.recorded().len(), 5);
    assert_eq!(
        meterline.requests()[0],
        json!({
            "event_id": BICYCLE_CHAIN_EVENT_ID,
            "customer_id": "cus_1",
            "quantity": 1,
            "action_type": "document_processed",
        }),
        "what the agents in other languages send"
    );
}

#[tokio::test]
async fn a_subscription_item_is_named_if_it_is_given() {
    let meterline = Scripted::start([], Step::Record).await;
    let mut agent = document_agent(&meterline, PATIENT).await;
    agent.subscription_item_id = Some("si_1".to_owned());
    agent.process_document(&documents()[0]).await.unwrap();
    assert_eq!(meterline.requests()[0]["subscription_item_id"], "si_1");
}

#[tokio::test]
async fn a_refused_emission_withholds_the_summary() {
    let refusal = problem(422, "Rejected", "Stripe does not know this meter");
    let meterline = Scripted::start([refusal], Step::Record).await;
    let agent = document_agent(&meterline, PATIENT).await;
    let refused = agent.process_document(&documents()[0]).await;
    assert_eq!(
        refused.as_ref().unwrap_err().to_string(),
        format!(
            "caring-for-a-bicycle-chain.txt: summary withheld: \
             event \"{BICYCLE_CHAIN_EVENT_ID}\" was refused (422): \
             Rejected: Stripe does not know this meter"
        )
    );
    let EmitError::Refused { http_status, .. } = emission_error(refused) else {
        unreachable!("a refusal is certain");
    };
    assert_eq!(http_status, 422);
    assert_eq!(meterline.requests().len(), 1, "a refusal is not retried");
}

#[tokio::test]
async fn an_emission_without_a_clear_answer_withholds_the_summary_and_says_perhaps() {
    let unavailable = problem(503, "Unavailable", "the ledger cannot be reached");
    let garbled = Step::Answer(200, json!({ "status": "delivered" }), None);
    let foreign =
        json!({ "event_id": "other", "status": "delivered", "duplicate": false, "quantity": 1 });
    let foreign = Step::Answer(200, foreign, None);
    for step in [
        unavailable,
        Step::Vanish,
        Step::RecordAndVanish,
        garbled,
        foreign,
    ] {
        let meterline = Scripted::start([], step).await;
        let agent = document_agent(&meterline, AT_ONCE).await;
        let error = agent.process_document(&documents()[0]).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("perhaps recorded: emit it again under this id"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn lost_answers_and_server_errors_are_retried_under_the_same_id() {
    let script = [
        Step::RecordAndVanish,
        problem(500, "Internal error", ""),
        problem(429, "Too many requests", ""),
    ];
    let meterline = Scripted::start(script, Step::Record).await;
    let agent = document_agent(&meterline, PATIENT).await;
    let processed = agent.process_document(&documents()[0]).await.unwrap();
    assert!(processed.duplicate, "the lost call had recorded it");
    let requests = meterline.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| *request == requests[0]));
    assert_eq!(meterline.recorded().len(), 1);
}

#[tokio::test]
async fn a_pending_event_is_recorded() {
    let pending = json!({
        "event_id": BICYCLE_CHAIN_EVENT_ID,
        "status": "pending",
        "duplicate": false,
        "quantity": 1,
        "stripe_record_id": null,
        "customer_status": "past_due",
    });
    let meterline = Scripted::start([Step::Answer(202, pending, None)], Step::Vanish).await;
    let agent = document_agent(&meterline, AT_ONCE).await;
    let processed = agent.process_document(&documents()[0]).await.unwrap();
    assert_eq!(processed.status, "pending");
    assert_eq!(processed.customer_status.as_deref(), Some("past_due"));
}

#[tokio::test]
async fn a_longer_retry_after_than_the_bound_ends_the_retries() {
    let busy = Step::Answer(429, json!({ "title": "Slow down" }), Some(3600));
    let meterline = Scripted::start([], busy).await;
    let agent = document_agent(&meterline, PATIENT).await;
    let error = emission_error(agent.process_document(&documents()[0]).await);
    assert!(error.to_string().contains("429 Slow down"), "{error}");
    assert_eq!(meterline.requests().len(), 1);
}

#[tokio::test]
async fn a_revoked_key_after_a_lost_answer_proves_nothing() {
    let revoked = problem(401, "Unauthorized", "");
    let meterline = Scripted::start([Step::RecordAndVanish], revoked.clone()).await;
    let agent = document_agent(&meterline, PATIENT).await;
    let error = emission_error(agent.process_document(&documents()[0]).await);
    assert!(matches!(
        error,
        EmitError::PerhapsRecorded {
            http_status: Some(401),
            ..
        }
    ));
    let meterline = Scripted::start([], revoked).await;
    let agent = document_agent(&meterline, PATIENT).await;
    let error = emission_error(agent.process_document(&documents()[0]).await);
    assert!(matches!(
        error,
        EmitError::Refused {
            http_status: 401,
            ..
        }
    ));
}

#[tokio::test]
async fn without_a_whole_summary_nothing_is_billed() {
    let meterline = Scripted::start([], Step::Record).await;
    let mut agent = document_agent(&meterline, PATIENT).await;
    let url = crate::support::start_anthropic().await;
    agent.anthropic = Anthropic::new(&url, &"key".into(), "claude-haiku-4-5", 5).unwrap();
    let cut = agent.process_document(&documents()[0]).await.unwrap_err();
    let DocumentError::Summary { source, .. } = cut else {
        unreachable!("{cut:?}");
    };
    assert!(
        matches!(source, AnthropicError::Unfinished { stop_reason } if stop_reason == "max_tokens")
    );
    agent.anthropic = Anthropic::new(&url, &"".into(), "claude-haiku-4-5", 400).unwrap();
    let keyless = agent.process_document(&documents()[0]).await.unwrap_err();
    assert!(
        keyless.to_string().contains("authentication_error (401)"),
        "{keyless}"
    );
    assert!(meterline.requests().is_empty());
}
