//! DynamoDB's wire protocol by hand: JSON over HTTP, through no SDK and none of
//! the product's code (Amazon DynamoDB API Reference).

use serde_json::{Map, Value, json};

/// The embedded DynamoDB checks that a signature is there, not what it says.
const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=count/20260101/us-east-1/dynamodb/aws4_request, \
     SignedHeaders=host;x-amz-date, Signature=0";

/// A DynamoDB by its address.
#[derive(Clone, Debug)]
pub struct Database {
    url: String,
    http: reqwest::Client,
}

/// An item as it is on the wire: `{"name": {"S": "text"}}`.
pub type Item = Map<String, Value>;

impl Database {
    /// The DynamoDB at `url`.
    pub fn at(url: &str, http: reqwest::Client) -> Self {
        Self {
            url: url.to_owned(),
            http,
        }
    }

    /// Makes a call of the tables' API, such as `PutItem`.
    pub async fn call(&self, operation: &str, body: &Value) -> Value {
        self.send(&format!("DynamoDB_20120810.{operation}"), body)
            .await
    }

    /// Everything that `table` holds.
    pub async fn scan(&self, table: &str) -> Vec<Item> {
        let mut items = Vec::new();
        let mut request = json!({ "TableName": table, "ConsistentRead": true });
        loop {
            let mut page = self.call("Scan", &request).await;
            let found = page["Items"].take();
            items.extend(serde_json::from_value::<Vec<Item>>(found).unwrap());
            match page["LastEvaluatedKey"].take() {
                Value::Null => return items,
                key => request["ExclusiveStartKey"] = key,
            }
        }
    }

    /// The stream records of `table` behind `after`, up to 1,000, and the id of
    /// their shard. The embedded DynamoDB's streams have one shard.
    pub async fn stream_records(&self, table: &str, after: Option<&str>) -> (String, Vec<Value>) {
        let described = self
            .call("DescribeTable", &json!({ "TableName": table }))
            .await;
        let arn = &described["Table"]["LatestStreamArn"];
        let streams = |operation: &str| format!("DynamoDBStreams_20120810.{operation}");
        let described = self
            .send(&streams("DescribeStream"), &json!({ "StreamArn": arn }))
            .await;
        let shards = described["StreamDescription"]["Shards"].as_array().unwrap();
        assert_eq!(shards.len(), 1, "{described}");
        let shard_id = shards[0]["ShardId"].as_str().unwrap();
        let mut place = json!({ "StreamArn": arn, "ShardId": shard_id });
        match after {
            Some(after) => {
                place["ShardIteratorType"] = json!("AFTER_SEQUENCE_NUMBER");
                place["SequenceNumber"] = json!(after);
            }
            None => place["ShardIteratorType"] = json!("TRIM_HORIZON"),
        }
        let iterator = self.send(&streams("GetShardIterator"), &place).await;
        let got = json!({ "ShardIterator": iterator["ShardIterator"] });
        let mut got = self.send(&streams("GetRecords"), &got).await;
        let records = serde_json::from_value(got["Records"].take()).unwrap();
        (shard_id.to_owned(), records)
    }

    async fn send(&self, target: &str, body: &Value) -> Value {
        let request = self
            .http
            .post(&self.url)
            .header("x-amz-target", target)
            .header("content-type", "application/x-amz-json-1.0")
            .header("x-amz-date", "20260101T000000Z")
            .header("authorization", AUTHORIZATION)
            .body(body.to_string());
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{target} {body}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }
}

/// The text attribute `name` of `item`; empty where there is none.
pub fn text(item: &Item, name: &str) -> String {
    let value = item.get(name).and_then(|value| value["S"].as_str());
    value.unwrap_or_default().to_owned()
}

/// The number attribute `name` of `item`; 0 where there is none.
pub fn number(item: &Item, name: &str) -> i64 {
    let value = item.get(name).and_then(|value| value["N"].as_str());
    value.map_or(0, |digits| digits.parse().unwrap())
}
