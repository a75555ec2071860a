//! The stream is followed from the checkpoint, whatever happened before.

use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use stack::connection::Connection;
use stack::{Options, System};

use crate::support::{Caller, pump_all, start, totals};

/// Recorded as pending, then delivered.
const RECORDS_OF_AN_EVENT: usize = 2;

/// Sequence numbers of the records that the stream still has, from the first
/// page: enough to see what was trimmed.
async fn first_records(system: &System) -> Vec<String> {
    let connection = Connection::embedded(system.dynamodb_url());
    let table = &system.ledger().tables().usage_events;
    let described = connection
        .client()
        .describe_table()
        .table_name(table)
        .send()
        .await;
    let arn = described.unwrap().table.unwrap().latest_stream_arn.unwrap();
    let streams = connection.streams_client();
    let described = streams
        .describe_stream()
        .stream_arn(&arn)
        .send()
        .await
        .unwrap();
    let shards = described.stream_description.unwrap().shards.unwrap();
    let iterator = streams
        .get_shard_iterator()
        .stream_arn(&arn)
        .shard_id(shards[0].shard_id().unwrap())
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await
        .unwrap();
    let iterator = iterator.shard_iterator.unwrap();
    let got = streams.get_records().shard_iterator(iterator).send().await;
    let records = got.unwrap().records.unwrap_or_default();
    let number = |record: aws_sdk_dynamodbstreams::types::Record| record.dynamodb?.sequence_number;
    records
        .into_iter()
        .map(|record| number(record).unwrap())
        .collect()
}

#[tokio::test]
async fn after_a_restart_only_new_records_are_rolled_up() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let caller = Caller::of(&system);
    let customer_id = caller.onboard("first").await;
    caller.emit(&customer_id, "rolled-up", 5).await;
    assert_eq!(pump_all(&system).await, 5 * RECORDS_OF_AN_EVENT);
    caller.emit(&customer_id, "not-yet", 4).await;
    system.stop().await.unwrap();

    let system = start(folder.path()).await;
    assert_eq!(totals(system.ledger(), &customer_id).await, (5, 0));
    assert_eq!(pump_all(&system).await, 4 * RECORDS_OF_AN_EVENT);
    assert_eq!(totals(system.ledger(), &customer_id).await, (9, 0));
    assert_eq!(pump_all(&system).await, 0);
    system.stop().await.unwrap();
}

#[tokio::test]
async fn after_trimming_numbers_go_on_and_nothing_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let system = start(folder.path()).await;
    let caller = Caller::of(&system);
    let customer_id = caller.onboard("first").await;
    caller.emit(&customer_id, "many", 510).await;
    let untrimmed = first_records(&system).await;
    assert_eq!(pump_all(&system).await, 510 * RECORDS_OF_AN_EVENT);
    let left = first_records(&system).await;
    // The last of the batch that was trimmed stays, and what came after it.
    assert_eq!(left.first(), untrimmed.last());
    assert_eq!(left.len(), 510 * RECORDS_OF_AN_EVENT - untrimmed.len() + 1);
    system.stop().await.unwrap();

    let system = start(folder.path()).await;
    let caller = Caller::of(&system);
    caller.emit(&customer_id, "more", 3).await;
    let numbers = first_records(&system).await;
    assert_eq!(numbers[..left.len()], left);
    assert!(numbers.is_sorted() && numbers[left.len()] > left[left.len() - 1]);
    assert_eq!(pump_all(&system).await, 3 * RECORDS_OF_AN_EVENT);
    assert_eq!(totals(system.ledger(), &customer_id).await, (513, 0));
    system.stop().await.unwrap();
}

/// Batches of two pumps overlap; the checkpoint lets each record count once.
#[tokio::test]
async fn two_pumps_on_one_stream_count_each_record_once() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let system = start(first.path()).await;
    let mut options = Options::manual(second.path());
    options.dynamodb_elsewhere = Some(system.dynamodb_url().to_owned());
    let other = System::start(options).await.unwrap();
    let caller = Caller::of(&system);
    let customer_id = caller.onboard("first").await;
    for round in 1..=3 {
        caller
            .emit(&customer_id, &format!("round-{round}"), 20)
            .await;
        tokio::join!(pump_all(&system), pump_all(&other));
        let expected = (round * 20, 0);
        assert_eq!(totals(system.ledger(), &customer_id).await, expected);
    }
    other.stop().await.unwrap();
    system.stop().await.unwrap();
}
