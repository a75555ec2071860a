//! A nightly batch as it is found in the wild: it adds up what came since the
//! bookmark, posts one meter event per customer, and moves the bookmark.
//!
//! Its mistakes are the usual ones, each of which looks harmless: the bookmark
//! moves after the work and not with it, the events carry no identifier, and
//! an error in the middle is dealt with by a patch.

use std::path::Path;

use rusqlite::{Connection, params};
use secrecy::ExposeSecret;

use super::Usage;
use crate::story::customer::Customer;
use crate::story::{Stage, StoryError};

const TABLES: &str = "
CREATE TABLE usage (customer TEXT NOT NULL, units INTEGER NOT NULL, night INTEGER NOT NULL);
CREATE TABLE synced (customer TEXT NOT NULL, units INTEGER NOT NULL);
CREATE TABLE bookmark (night INTEGER NOT NULL);
INSERT INTO bookmark VALUES (-1);
";

/// The job, its database and its way to Stripe.
pub(super) struct NightlyBatch<'a> {
    stage: &'a Stage<'a>,
    database: Connection,
}

/// How a customer's meter event went.
enum Posted {
    Yes,
    NetworkError,
}

impl<'a> NightlyBatch<'a> {
    pub(super) fn new(stage: &'a Stage<'a>, folder: &Path) -> Result<Self, rusqlite::Error> {
        let database = Connection::open(folder.join("nightly-batch.sqlite"))?;
        database.execute_batch(TABLES)?;
        Ok(Self { stage, database })
    }

    pub(super) const fn stage(&self) -> &'a Stage<'a> {
        self.stage
    }

    /// The day's usage, as the application wrote it down.
    pub(super) fn record_night(
        &self,
        customers: &[Customer],
        night: usize,
    ) -> Result<(), rusqlite::Error> {
        for (number, customer) in customers.iter().enumerate() {
            let units = Usage::of(number).nights[night];
            self.database.execute(
                "INSERT INTO usage VALUES (?1, ?2, ?3)",
                params![customer.customer_id, units, night],
            )?;
        }
        Ok(())
    }

    /// The job; killed after so many customers.
    pub(super) async fn run_until_killed(
        &mut self,
        customers: usize,
    ) -> Result<usize, super::BreakageError> {
        self.sync(customers).await
    }

    /// The job as it was first written: the bookmark moves at its end.
    pub(super) async fn run(&mut self) -> Result<usize, super::BreakageError> {
        let synced = self.sync(usize::MAX).await?;
        self.move_bookmark()?;
        Ok(synced)
    }

    /// The job after the patch that was to keep it from billing twice: the
    /// bookmark moves whatever happens, as in `finally`.
    pub(super) async fn run_patched(&mut self) -> Result<usize, super::BreakageError> {
        let synced = self.sync(usize::MAX).await;
        self.move_bookmark()?;
        synced
    }

    /// Posts one event per customer; stops at the first network error.
    async fn sync(&mut self, customers_max: usize) -> Result<usize, super::BreakageError> {
        let mut synced = 0;
        for (customer, units) in self.due()?.into_iter().take(customers_max) {
            if matches!(self.post(&customer, units).await?, Posted::NetworkError) {
                break;
            }
            self.database.execute(
                "INSERT INTO synced VALUES (?1, ?2)",
                params![customer, units],
            )?;
            synced += 1;
        }
        Ok(synced)
    }

    fn due(&self) -> Result<Vec<(String, u64)>, rusqlite::Error> {
        let mut due = self.database.prepare(
            "SELECT customer, SUM(units) FROM usage
             WHERE night > (SELECT night FROM bookmark) GROUP BY customer ORDER BY MIN(rowid)",
        )?;
        let rows = due.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    fn move_bookmark(&self) -> Result<(), rusqlite::Error> {
        self.database.execute(
            "UPDATE bookmark SET night = (SELECT MAX(night) FROM usage)",
            [],
        )?;
        Ok(())
    }

    async fn post(&self, customer: &str, units: u64) -> Result<Posted, StoryError> {
        let place = &self.stage.place;
        let body = format!(
            "event_name=agent_operations&payload[stripe_customer_id]={customer}&payload[value]={units}"
        );
        let sent = self
            .stage
            .http
            .post(format!("{}/v1/billing/meter_events", place.stripe_url))
            .bearer_auth(place.stripe_secret_key.expose_secret())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
            .await;
        match sent {
            Ok(answer) if answer.status().is_success() => Ok(Posted::Yes),
            Ok(answer) if answer.status().is_server_error() => Ok(Posted::NetworkError),
            Ok(answer) => Err(StoryError::Unexpected(format!(
                "Stripe's answer {} to a meter event",
                answer.status()
            ))),
            Err(_) => Ok(Posted::NetworkError),
        }
    }
}
