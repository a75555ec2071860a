//! A rollup that ends everywhere: its batches come again, overlap with others,
//! or are left to whoever reads the stream next.

use ::rollup::{Handler, Rollup};
use crash::{Claim, Scenario, Surroundings, World};
use serde_json::{Value, json};

use crate::{assert_all_counted_once, sweep};

const TABLE: &str = "UsageEventsTable";

/// Trials after which batches that nobody finished are left to the system.
const UNFINISHED_MAX: u32 = 3;

struct Stream {
    customer_id: String,
    claims: Vec<Claim>,
    /// The last record of the last batch that was taken.
    taken: Option<String>,
    /// The last record that was read.
    read: Option<String>,
    unfinished: u32,
}

/// A batch as Lambda hands it over.
#[derive(Clone)]
struct Batch {
    event: Value,
    last: String,
}

impl Scenario for Stream {
    type Input = Batch;
    type Answer = ();

    const CALLS: &'static [&'static str] = &[
        "GetItem UsageTotalsTable",
        "TransactWriteItems UsageTotalsTable",
    ];

    async fn prepare(&mut self, world: &World) -> Batch {
        if self.unfinished == UNFINISHED_MAX {
            // From a place of its own, so that its batches are others.
            world.roll_up().await;
            self.taken.clone_from(&self.read);
            self.unfinished = 0;
        }
        self.unfinished += 1;
        let mut delivered = world.an_event(&self.customer_id);
        assert_eq!(world.emit(&mut delivered).await, "delivered");
        let mut pending = world.an_event(&self.customer_id);
        world.leave_pending(&mut pending).await;
        self.claims.extend([delivered, pending]);
        let taken = self.taken.as_deref();
        let (shard_id, records) = world.database.stream_records(TABLE, taken).await;
        let last = records.last().unwrap()["dynamodb"]["SequenceNumber"].as_str();
        let last = last.unwrap().to_owned();
        self.read = Some(last.clone());
        let event = json!({ "Records": records, "shardId": shard_id, "state": {} });
        Batch { event, last }
    }

    async fn handle(surroundings: Surroundings, batch: Batch) -> Option<()> {
        let handler = Handler::new(Rollup::new(surroundings.ledger), false);
        let event = serde_json::from_value(batch.event).unwrap();
        handler.handle(event).await.ok().map(drop)
    }

    fn acknowledge(&mut self, batch: &Batch, (): ()) {
        self.taken = Some(batch.last.clone());
        self.unfinished = 0;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollup_that_ends_anywhere_counts_every_record_once() {
    let world = World::start().await;
    let mut stream = Stream {
        customer_id: world.onboard("acme").await,
        claims: Vec::new(),
        taken: None,
        read: None,
        unfinished: 0,
    };
    sweep("rollup", &world, &mut stream, 2).await;
    assert_all_counted_once(&world, &stream.claims).await;
}
