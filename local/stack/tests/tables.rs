//! What is created is what template.yaml says, as DynamoDB itself describes it.

use aws_sdk_dynamodb::types::{KeySchemaElement, TableDescription};
use ledger::TableNames;
use stack::dynamodb::DynamoDb;
use stack::tables::{self, KeyPart, TableProperties};

async fn describe(client: &aws_sdk_dynamodb::Client, name: &str) -> TableDescription {
    let described = client.describe_table().table_name(name).send().await;
    described.unwrap().table.unwrap()
}

fn key(parts: &[KeyPart]) -> Vec<(&str, &str)> {
    parts
        .iter()
        .map(|part| (part.attribute_name.as_str(), part.key_type.as_str()))
        .collect()
}

fn described_key(parts: &[KeySchemaElement]) -> Vec<(&str, &str)> {
    parts
        .iter()
        .map(|part| (part.attribute_name(), part.key_type().as_str()))
        .collect()
}

fn assert_is(described: &TableDescription, defined: &TableProperties) {
    assert_eq!(
        described_key(described.key_schema()),
        key(&defined.key_schema)
    );

    let mut attributes: Vec<_> = described
        .attribute_definitions()
        .iter()
        .map(|attribute| {
            (
                attribute.attribute_name(),
                attribute.attribute_type().as_str(),
            )
        })
        .collect();
    let mut expected: Vec<_> = defined
        .attribute_definitions
        .iter()
        .map(|attribute| {
            (
                attribute.attribute_name.as_str(),
                attribute.attribute_type.as_str(),
            )
        })
        .collect();
    attributes.sort_unstable();
    expected.sort_unstable();
    assert_eq!(attributes, expected);

    let billing = described
        .billing_mode_summary()
        .unwrap()
        .billing_mode()
        .unwrap();
    assert_eq!(billing.as_str(), defined.billing_mode);

    let indexes = described.global_secondary_indexes();
    assert_eq!(indexes.len(), defined.global_secondary_indexes.len());
    for (index, expected) in indexes.iter().zip(&defined.global_secondary_indexes) {
        assert_eq!(index.index_name(), Some(expected.index_name.as_str()));
        assert_eq!(described_key(index.key_schema()), key(&expected.key_schema));
        let projection = index.projection().unwrap();
        assert_eq!(
            projection.projection_type().unwrap().as_str(),
            expected.projection.projection_type
        );
        assert_eq!(
            projection.non_key_attributes(),
            expected.projection.non_key_attributes
        );
    }

    let view = described
        .stream_specification()
        .filter(|stream| stream.stream_enabled())
        .and_then(|stream| stream.stream_view_type())
        .map(|view| view.as_str());
    let expected = defined.stream_specification.as_ref();
    assert_eq!(
        view,
        expected.map(|stream| stream.stream_view_type.as_str())
    );
    assert_eq!(described.latest_stream_arn().is_some(), expected.is_some());
}

#[tokio::test]
async fn the_tables_are_those_of_the_template() {
    let folder = tempfile::tempdir().unwrap();
    let dynamodb = DynamoDb::start(&folder.path().join("dynamodb.sqlite")).unwrap();
    let client = dynamodb.connection().client();
    tables::create_tables(&client).await.unwrap();

    let defined = tables::definitions().unwrap();
    for table in &defined {
        assert_is(&describe(&client, &table.name).await, &table.properties);
    }
    let mut names: Vec<_> = defined.iter().map(|table| table.name.as_str()).collect();
    let listed = client.list_tables().send().await.unwrap();
    let mut listed: Vec<_> = listed.table_names().iter().map(String::as_str).collect();
    names.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, names);
    dynamodb.stop().await.unwrap();
}

/// The reader of the template is itself held against a table that it must know.
#[test]
fn the_audit_log_is_read_with_its_index_and_stream() {
    let defined = tables::definitions().unwrap();
    assert_eq!(defined.len(), TableNames::VARIABLES.len());
    let usage_events = defined
        .iter()
        .find(|table| table.name == "UsageEventsTable");
    let usage_events = &usage_events.unwrap().properties;
    assert_eq!(key(&usage_events.key_schema), [("identifier", "HASH")]);
    let [by_customer] = usage_events.global_secondary_indexes.as_slice() else {
        panic!("not one index");
    };
    assert_eq!(by_customer.index_name, "by-customer");
    assert_eq!(
        key(&by_customer.key_schema),
        [("customer_bucket", "HASH"), ("occurred_key", "RANGE")]
    );
    assert_eq!(by_customer.projection.projection_type, "INCLUDE");
    let projected = &by_customer.projection.non_key_attributes;
    assert!(projected.contains(&"quantity".to_owned()), "{projected:?}");
    let stream = usage_events.stream_specification.as_ref().unwrap();
    assert_eq!(stream.stream_view_type, "NEW_AND_OLD_IMAGES");
}

#[tokio::test]
async fn tables_that_are_there_stay_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dynamodb.sqlite");
    let dynamodb = DynamoDb::start(&file).unwrap();
    let client = dynamodb.connection().client();
    let names = tables::create_tables(&client).await.unwrap();
    let before = describe(&client, &names.usage_events).await;
    dynamodb.stop().await.unwrap();

    let dynamodb = DynamoDb::start(&file).unwrap();
    let client = dynamodb.connection().client();
    assert_eq!(tables::create_tables(&client).await.unwrap(), names);
    let after = describe(&client, &names.usage_events).await;
    assert_eq!(after.table_id(), before.table_id());
    assert_eq!(after.latest_stream_arn(), before.latest_stream_arn());
    dynamodb.stop().await.unwrap();
}
