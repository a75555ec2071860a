//! What a load takes, in each service's own units.

use bigdecimal::BigDecimal;

use crate::inputs::{Inputs, Way};
use crate::{ScaleError, number};

/// So many events a second, sent one way, evenly over customers and time.
#[derive(Clone, Debug)]
pub struct Load<'a> {
    pub(crate) inputs: &'a Inputs,
    pub(crate) way: &'a Way,
    pub(crate) events_per_s: BigDecimal,
}

impl<'a> Load<'a> {
    /// `events_per_s` events a second by `way`.
    pub fn new(inputs: &'a Inputs, way: &'a Way, events_per_s: u64) -> Self {
        Self {
            inputs,
            way,
            events_per_s: BigDecimal::from(events_per_s),
        }
    }

    /// Requests to the API a second: as many calls of emission, and requests to
    /// Stripe's stream.
    pub fn calls_per_s(&self) -> BigDecimal {
        &self.events_per_s / &self.way.events_per_call
    }

    /// Calls of emission under way at once: rate times duration (Little's law).
    pub fn emissions_at_once(&self) -> BigDecimal {
        number::ceiling(&(self.calls_per_s() * &self.way.call_ms / BigDecimal::from(1_000)))
    }

    /// How long Lambda takes to start that many, in seconds.
    ///
    /// # Errors
    /// [`ScaleError`] where the data file lacks the rate.
    pub fn ramp_s(&self) -> Result<BigDecimal, ScaleError> {
        let per_10_s = self
            .inputs
            .facts
            .published("lambda_environments_per_10_s")?;
        Ok(self.emissions_at_once() * BigDecimal::from(10) / per_10_s)
    }

    /// Meter event sessions that Stripe is asked for a second: one for each
    /// environment and quarter of an hour.
    ///
    /// # Errors
    /// [`ScaleError`] where the data file lacks how long one lasts.
    pub fn sessions_per_s(&self) -> Result<BigDecimal, ScaleError> {
        Ok(self.emissions_at_once() / self.inputs.facts.published("stripe_session_s")?)
    }

    /// Write units of the audit log's table a second, without its index.
    pub fn log_units_per_s(&self) -> BigDecimal {
        &self.events_per_s * (&self.way.log_units - &self.way.index_units)
    }

    /// Write units of the index a second.
    pub fn index_units_per_s(&self) -> BigDecimal {
        &self.events_per_s * &self.way.index_units
    }

    /// Write units of the totals a second, as measured: few customers, whose
    /// events of a step share a row.
    pub fn totals_units_per_s(&self) -> BigDecimal {
        &self.events_per_s * &self.way.totals_units
    }

    /// Write units of the totals a second, at most.
    ///
    /// # Errors
    /// [`ScaleError`] where the data file lacks what a transaction costs.
    pub fn totals_units_max_per_s(&self) -> Result<BigDecimal, ScaleError> {
        Ok(&self.events_per_s * totals_units_max(self.inputs)?)
    }

    /// Write units of the outbox a second.
    pub fn outbox_units_per_s(&self) -> BigDecimal {
        &self.events_per_s * &self.way.outbox_units
    }

    /// Read units of redelivery a second.
    pub fn redelivery_units_per_s(&self) -> BigDecimal {
        &self.events_per_s * &self.way.redelivery_units
    }

    /// Partitions that the log's writes need at least, and so shards of its stream;
    /// a new table has those of its first write units already.
    ///
    /// # Errors
    /// [`ScaleError`] where the data file lacks the limits of a partition.
    pub fn shards(&self) -> Result<BigDecimal, ScaleError> {
        let facts = &self.inputs.facts;
        let partition = facts.published("partition_write_units_per_s")?;
        let first = facts.published("new_table_write_units_per_s")? / &partition;
        let needed = number::ceiling(&(self.log_units_per_s() / partition));
        Ok(needed.max(first))
    }

    /// Calls of the rollup a second.
    ///
    /// # Errors
    /// As [`Load::shards`].
    pub fn rollup_calls_per_s(&self) -> Result<BigDecimal, ScaleError> {
        Ok(self.shards()? * self.inputs.facts.published("lambda_polls_per_s")?)
    }

    /// Bytes of log lines that Lambda writes in a second, those of emission and
    /// rollup.
    ///
    /// # Errors
    /// [`ScaleError`] where the data file lacks a line.
    pub fn lambda_log_bytes_per_s(&self) -> Result<BigDecimal, ScaleError> {
        let emission = self.line_bytes(&[
            "lambda_start",
            "lambda_report",
            "answer_line",
            "figures_line",
        ])?;
        let rollup = self.line_bytes(&["lambda_start", "lambda_report", "answer_line"])?;
        Ok(self.calls_per_s() * emission + self.rollup_calls_per_s()? * rollup)
    }

    /// Bytes of the API's access log in a second.
    ///
    /// # Errors
    /// [`ScaleError`] where the data file lacks its line.
    pub fn access_log_bytes_per_s(&self) -> Result<BigDecimal, ScaleError> {
        Ok(self.calls_per_s() * self.line_bytes(&["access_log"])?)
    }

    /// Bytes that leave the region in a second: to Stripe and to the agents.
    ///
    /// # Errors
    /// [`ScaleError`] where the data file lacks a sample.
    pub fn bytes_out_per_s(&self) -> Result<BigDecimal, ScaleError> {
        let facts = &self.inputs.facts;
        let of_a_call =
            facts.assumed("stripe_header_bytes")? + facts.assumed("answer_header_bytes")?;
        let of_an_event = facts.sample_bytes("stripe_event")? + facts.sample_bytes("answer")?;
        Ok(self.calls_per_s() * of_a_call + &self.events_per_s * of_an_event)
    }

    fn line_bytes(&self, lines: &[&str]) -> Result<BigDecimal, ScaleError> {
        let facts = &self.inputs.facts;
        let overhead = facts.published("log_line_overhead_bytes")?;
        let mut bytes = BigDecimal::from(0);
        for line in lines {
            bytes += facts.sample_bytes(line)? + &overhead;
        }
        Ok(bytes)
    }
}

/// A shard of the stream whose partition takes as many writes as one can: each is
/// a record.
#[derive(Clone, Debug)]
pub struct FullShard {
    /// Records that it gets in a second.
    pub records_per_s: BigDecimal,
    /// Records that Lambda hands to the rollup in a second, at most.
    pub records_taken_per_s: BigDecimal,
    /// Transactions that they are at most: each record changes a row of the totals
    /// that no other changes.
    pub transactions_per_s: BigDecimal,
    /// How much of its time the rollup spends on them then.
    pub busy_percent: BigDecimal,
}

impl FullShard {
    /// That of `inputs`.
    ///
    /// # Errors
    /// [`ScaleError`] where an input is missing.
    pub fn of(inputs: &Inputs) -> Result<Self, ScaleError> {
        let facts = &inputs.facts;
        let records_per_s = facts.published("partition_write_units_per_s")?;
        let calls_per_s = facts.published("lambda_polls_per_s")?;
        let transactions_per_s = number::ceiling(&(&records_per_s / &inputs.code.changes));
        let busy_ms = &transactions_per_s * facts.assumed("transaction_ms")?;
        Ok(Self {
            records_per_s,
            records_taken_per_s: calls_per_s * &inputs.settings.rollup_records,
            transactions_per_s,
            busy_percent: busy_ms / BigDecimal::from(10),
        })
    }
}

/// Write units of the totals for an event, at most: it enters pending in one step
/// of the rollup and delivered in another, and no other event of either shares its
/// row.
pub(crate) fn totals_units_max(inputs: &Inputs) -> Result<BigDecimal, ScaleError> {
    Ok(inputs.facts.published("transaction_write_units")? * BigDecimal::from(2))
}

/// Bytes that an event is stored in, at most: its row and its entry of the index
/// are each written by one unit, which is a kilobyte. The row alone comes first.
pub(crate) fn stored_bytes(inputs: &Inputs) -> Result<(BigDecimal, BigDecimal), ScaleError> {
    let row = BigDecimal::from(1_024) + inputs.facts.published("stored_item_overhead_bytes")?;
    let both = &row * BigDecimal::from(2);
    Ok((row, both))
}
