//! The program, run as Lambda runs it.

use serde_json::{Value, json};

use crate::runtime_api::invoke;
use crate::tables::Tables;

const PROGRAM: &str = env!("CARGO_BIN_EXE_rollup");

fn sample_event() -> Value {
    serde_json::from_str(include_str!("../../../events/rollup.json")).unwrap()
}

#[tokio::test]
async fn the_sample_event_is_counted_and_its_state_answered() {
    let tables = Tables::start().await;
    let answer = invoke(PROGRAM, &tables.url, &[], &sample_event()).await;
    assert_eq!(answer, Ok(json!({ "state": {} })));
    // A total and the checkpoint.
    assert_eq!(tables.scan("UsageTotalsTable").await.len(), 2);
}

#[tokio::test]
async fn without_a_shard_the_invocation_fails_unless_the_stream_is_said_to_have_one() {
    let tables = Tables::start().await;
    let mut event = sample_event();
    event.as_object_mut().unwrap().remove("shardId");
    for (variable, is_taken) in [("false", false), ("TRUE", false), ("true", true)] {
        let variables = [("SINGLE_SHARD_STREAM", variable)];
        let answer = invoke(PROGRAM, &tables.url, &variables, &event).await;
        assert_eq!(answer.is_ok(), is_taken, "{variable}: {answer:?}");
    }
}
