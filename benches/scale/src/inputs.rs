//! What this repository says of itself: what was measured, what the template
//! sets, and the constants of the code that bound it.

use std::path::Path;

use bigdecimal::BigDecimal;
use yaml_serde::Value;

use crate::facts::Facts;
use crate::table::Table;
use crate::{ScaleError, number};

const MEASURED: &str = "docs/benchmarks.md";
const TEMPLATE: &str = "template.yaml";

const FLOOR: &str = "### Emission over its floor";
const SUSTAINED: &str = "### A thousand events a second, everything on this machine";
const WRITE_UNITS: &str = "### Write units of DynamoDB per event";

/// The runs that stand for each way: Stripe far away, as it is.
const SINGLE: &str = "single, Stripe takes 150 ms";
const BATCH: &str = "batches of 100, Stripe takes 150 ms";
const SINGLE_LATENCY: &str = "150 ms, 16";

/// Everything that the page is reckoned from.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// What others publish.
    pub facts: Facts,
    /// One event a call.
    pub single: Way,
    /// As many events a call as one takes.
    pub batch: Way,
    /// Customers of the measured runs, whose stream had one shard.
    pub measured_customers: BigDecimal,
    /// From the template.
    pub settings: Settings,
    /// From the code.
    pub code: Code,
}

/// One way to send events, and what it was measured to take.
#[derive(Clone, Debug)]
pub struct Way {
    /// What the page calls it.
    pub name: &'static str,
    /// Events of a call.
    pub events_per_call: BigDecimal,
    /// How long a call takes, p50.
    pub call_ms: BigDecimal,
    /// Write units of the audit log and its index for an event.
    pub log_units: BigDecimal,
    /// Of them, those of the index.
    pub index_units: BigDecimal,
    /// Write units of the totals for an event.
    pub totals_units: BigDecimal,
    /// Write units of the outbox for an event.
    pub outbox_units: BigDecimal,
    /// Read units of redelivery for an event: a row of the log is one.
    pub redelivery_units: BigDecimal,
}

/// What the template sets.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests a second that the API lets through.
    pub api_requests_per_s: BigDecimal,
    /// Requests a second that a key may make which has no limit of its own.
    pub key_requests_per_s: BigDecimal,
    /// Memory of emission, in MB.
    pub emission_mb: BigDecimal,
    /// Memory of the rollup, in MB.
    pub rollup_mb: BigDecimal,
    /// Records that a call of the rollup takes.
    pub rollup_records: BigDecimal,
    /// Memory of redelivery, in MB.
    pub redelivery_mb: BigDecimal,
    /// How long a run of redelivery may take.
    pub redelivery_s: BigDecimal,
}

/// Constants of the code that bound what it can do.
#[derive(Clone, Debug)]
pub struct Code {
    /// Rows of the totals that shards of one customer, day and action share.
    pub slots: BigDecimal,
    /// Partition keys that a customer's usage, and the outbox, are spread over.
    pub buckets: BigDecimal,
    /// Changes of one transaction of the rollup.
    pub changes: BigDecimal,
    /// Rows of the log that redelivery reads at once.
    pub rows_at_once: BigDecimal,
    /// For how long an API key is not read again.
    pub key_fresh_s: BigDecimal,
    /// The time in which a key's requests are counted, and leased.
    pub key_window_s: BigDecimal,
    /// For how long a customer is not read again.
    pub customer_fresh_s: BigDecimal,
    /// For how long the catalog is not read again.
    pub catalog_fresh_s: BigDecimal,
}

impl Inputs {
    /// Reads them from the repository at `root`.
    ///
    /// # Errors
    /// [`ScaleError`] where a file, a table, a setting or a constant is not what
    /// or where it was.
    pub fn read(root: &Path) -> Result<Self, ScaleError> {
        let page = crate::read(&root.join(MEASURED))?;
        let code = Code::read(root)?;
        let one = BigDecimal::from(1);
        let latency = Table::under(&page, FLOOR, MEASURED)?;
        let single_ms = latency.number(SINGLE_LATENCY, "function p50")?;
        let sustained = Table::under(&page, SUSTAINED, MEASURED)?;
        let batch_ms = sustained.number(BATCH, "p50")?;
        let units = Table::under(&page, WRITE_UNITS, MEASURED)?;
        let batch_events = constant(root, "shared/metering/src/delivery.rs", "BATCH_EVENTS_MAX")?;
        Ok(Self {
            facts: Facts::read(root)?,
            single: Way::read(&units, ("single", SINGLE), one, single_ms)?,
            batch: Way::read(&units, ("batches", BATCH), batch_events, batch_ms)?,
            measured_customers: constant(root, "benches/src/sustained.rs", "CUSTOMERS")?,
            settings: Settings::read(root)?,
            code,
        })
    }
}

impl Way {
    fn read(
        units: &Table,
        (name, run): (&'static str, &str),
        events_per_call: BigDecimal,
        call_ms: BigDecimal,
    ) -> Result<Self, ScaleError> {
        Ok(Self {
            name,
            events_per_call,
            call_ms,
            log_units: units.number(run, "put")? + units.number(run, "update")?,
            // The put writes the index once; a change of status does not touch it.
            index_units: BigDecimal::from(1),
            totals_units: units.number(run, "totals")?,
            outbox_units: units.number(run, "outbox")?,
            redelivery_units: units.number(run, "read units")?,
        })
    }
}

impl Settings {
    fn read(root: &Path) -> Result<Self, ScaleError> {
        let path = root.join(TEMPLATE);
        let text = crate::read(&path)?;
        let template: Value =
            yaml_serde::from_str(&text).map_err(|source| ScaleError::Yaml { path, source })?;
        let function = |name, property| {
            let path = ["Resources", name, "Properties", property];
            setting(&template, &path)
        };
        Ok(Self {
            api_requests_per_s: setting(&template, &["Parameters", "ApiRateLimit", "Default"])?,
            key_requests_per_s: setting(&template, &["Parameters", "KeyRateLimit", "Default"])?,
            emission_mb: function("EmissionFunction", "MemorySize")?,
            rollup_mb: function("RollupFunction", "MemorySize")?,
            rollup_records: setting(
                &template,
                &[
                    "Resources",
                    "RollupFunction",
                    "Properties",
                    "Events",
                    "UsageEventsStream",
                    "Properties",
                    "BatchSize",
                ],
            )?,
            redelivery_mb: function("RedeliveryFunction", "MemorySize")?,
            redelivery_s: function("RedeliveryFunction", "Timeout")?,
        })
    }
}

impl Code {
    fn read(root: &Path) -> Result<Self, ScaleError> {
        let seconds = |file, name| Ok(constant(root, file, name)? / BigDecimal::from(1_000));
        let reads = constant(root, "functions/redelivery/src/look.rs", "READS_IN_FLIGHT")?;
        Ok(Self {
            slots: constant(root, "shared/ledger/src/rollup.rs", "SLOTS")?,
            buckets: constant(root, "shared/ledger/src/outbox.rs", "BUCKETS")?,
            changes: constant(root, "shared/ledger/src/rollup.rs", "CHANGES_MAX")?,
            rows_at_once: constant(root, "shared/ledger/src/usage_log.rs", "READ_EVENTS_MAX")?
                * reads,
            key_fresh_s: seconds("shared/web/src/auth.rs", "KEY_FRESH_MS")?,
            key_window_s: seconds("shared/ledger/src/request_rate.rs", "RATE_WINDOW_MS")?,
            customer_fresh_s: seconds("shared/metering/src/customers.rs", "ROW_FRESH_MS")?,
            catalog_fresh_s: seconds("shared/metering/src/catalog.rs", "CATALOG_FRESH_MS")?,
        })
    }
}

fn setting(template: &Value, path: &[&str]) -> Result<BigDecimal, ScaleError> {
    let missing = || ScaleError::missing(path.join("."), TEMPLATE);
    let mut value = template;
    for name in path {
        value = value.get(*name).ok_or_else(missing)?;
    }
    value.as_u64().map(BigDecimal::from).ok_or_else(missing)
}

/// What `const name` of `file` is: a number, or the length of a text.
fn constant(root: &Path, file: &str, name: &str) -> Result<BigDecimal, ScaleError> {
    let source = crate::read(&root.join(file))?;
    let missing = || ScaleError::missing(format!("const {name}"), file);
    constant_in(&source, name)
        .ok_or_else(missing)
        .and_then(|text| number::parse(&text, &format!("const {name} of {file}")))
}

fn constant_in(source: &str, name: &str) -> Option<String> {
    let (_, declared) = source.split_once(&format!("const {name}:"))?;
    let (_, value) = declared.split_once('=')?;
    let (value, _) = value.split_once(';')?;
    let value = value.trim();
    match value
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    {
        Some(text) => Some(text.chars().count().to_string()),
        None => Some(value.replace('_', "")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_is_a_number_or_the_length_of_a_text() {
        let source =
            "const A_MS: i64 = 1;\npub(crate) const MS: i64 = 60_000;\nconst KEYS: &str = \"0af\";";
        assert_eq!(constant_in(source, "MS").as_deref(), Some("60000"));
        assert_eq!(constant_in(source, "KEYS").as_deref(), Some("3"));
        assert_eq!(constant_in(source, "A"), None, "a part of a name is none");
    }

    #[test]
    fn a_setting_is_found_past_the_tags_of_a_template() {
        let template = "Resources: { F: { Properties: { MemorySize: 512, Arn: !Ref Table } } }";
        let template: Value = yaml_serde::from_str(template).unwrap();
        let path = ["Resources", "F", "Properties", "MemorySize"];
        assert_eq!(setting(&template, &path).unwrap(), BigDecimal::from(512));
        let path = ["Resources", "F", "Properties", "Arn"];
        let error = setting(&template, &path).unwrap_err().to_string();
        assert_eq!(error, "Resources.F.Properties.Arn is not in template.yaml");
    }
}
