//! What a load costs in a month, by service, at list prices in dollars.

use bigdecimal::BigDecimal;

use crate::ScaleError;
use crate::inputs::Inputs;
use crate::load::{Load, stored_bytes, totals_units_max};

/// 730 hours, as AWS reckons a month.
const MONTH_S: u64 = 730 * 3_600;
const MILLION: u64 = 1_000_000;
const GB: u64 = 1 << 30;
const MB_OF_A_GB: u64 = 1_024;

/// A line of the bill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What is paid for.
    pub what: &'static str,
    /// Dollars a month.
    pub monthly: BigDecimal,
}

/// A month of a load.
#[derive(Clone, Debug)]
pub struct Bill {
    /// Every line.
    pub lines: Vec<Line>,
    /// Events of the month, in millions.
    pub million_events: BigDecimal,
}

impl Bill {
    /// What a month of `load` costs, without keeping it.
    ///
    /// # Errors
    /// [`ScaleError`] where an input is missing.
    pub fn of(load: &Load<'_>) -> Result<Self, ScaleError> {
        let facts = &load.inputs.facts;
        let log = load.log_units_per_s() + load.index_units_per_s();
        let others = load.totals_units_per_s() + load.outbox_units_per_s();
        // A customer's row for each event, at most: believed for a while, it is
        // read less often where a customer has many.
        let reads = load.redelivery_units_per_s() + &load.events_per_s;
        let api = facts.cost(
            "api_gateway_million_requests",
            &millions(&load.calls_per_s()),
        )?;
        let calls = load.calls_per_s() + load.rollup_calls_per_s()?;
        let (emission, behind) = durations(load, "lambda_gb_s_arm64")?;
        let lambda_logs = facts.cost(
            "lambda_logs_gb",
            &gigabytes(&load.lambda_log_bytes_per_s()?),
        )?;
        let access_logs = facts.cost(
            "access_logs_gb",
            &gigabytes(&load.access_log_bytes_per_s()?),
        )?;
        let lines = [
            ("API Gateway", api),
            (
                "Lambda, calls",
                facts.cost("lambda_million_requests", &millions(&calls))?,
            ),
            ("Lambda, emission's time", emission),
            ("Lambda, rollup's and redelivery's time", behind),
            (
                "DynamoDB, writes of the audit log and its index",
                facts.cost("million_write_units", &millions(&log))?,
            ),
            (
                "DynamoDB, writes of totals and outbox",
                facts.cost("million_write_units", &millions(&others))?,
            ),
            (
                "DynamoDB, reads, at most",
                facts.cost("million_read_units", &millions(&reads))?,
            ),
            ("CloudWatch Logs", lambda_logs + access_logs),
            (
                "Data to Stripe and to agents",
                facts.cost("data_out_gb", &gigabytes(&load.bytes_out_per_s()?))?,
            ),
        ];
        let lines = lines.map(|(what, monthly)| Line { what, monthly });
        Ok(Self {
            lines: lines.to_vec(),
            million_events: millions(&load.events_per_s),
        })
    }

    /// All lines.
    pub fn monthly(&self) -> BigDecimal {
        self.lines.iter().map(|line| &line.monthly).sum()
    }

    /// `monthly` dollars, for a million events.
    pub fn per_million(&self, monthly: &BigDecimal) -> BigDecimal {
        monthly / &self.million_events
    }
}

/// Something to change, and what it spares of a million events.
#[derive(Clone, Debug)]
pub struct Lever {
    /// The change.
    pub what: &'static str,
    /// Dollars spared of a million single events; below zero, it costs more.
    pub single: BigDecimal,
    /// Of a million events in batches; none where it is no change for them.
    pub batch: Option<BigDecimal>,
}

/// What may be changed to pay less, the largest first, at a thousand events a
/// second.
///
/// # Errors
/// [`ScaleError`] where an input is missing.
pub fn levers(inputs: &Inputs) -> Result<Vec<Lever>, ScaleError> {
    let single = Load::new(inputs, &inputs.single, 1_000);
    let batch = Load::new(inputs, &inputs.batch, 1_000);
    let (single_bill, batch_bill) = (Bill::of(&single)?, Bill::of(&batch)?);
    let of_a_million = |bill: &Bill| bill.per_million(&bill.monthly());
    let mut levers = vec![Lever {
        what: "Batches of 100 in place of single events",
        single: of_a_million(&single_bill) - of_a_million(&batch_bill),
        batch: None,
    }];
    let changes: [(&'static str, Change); 4] = [
        (
            "Writes by provisioned capacity, for a load that is steady",
            provisioned,
        ),
        (
            "Logs of warnings only; figures and the access log stay",
            quiet,
        ),
        (
            "Emission with half the memory, if it takes no longer",
            half_the_memory,
        ),
        ("x86_64 in place of arm64", x86_64),
    ];
    for (what, spared) in changes {
        levers.push(Lever {
            what,
            single: single_bill.per_million(&spared(&single)?),
            batch: Some(batch_bill.per_million(&spared(&batch)?)),
        });
    }
    levers.sort_by(|a, b| b.single.cmp(&a.single));
    Ok(levers)
}

/// What a change spares of a month of a load.
type Change = fn(&Load<'_>) -> Result<BigDecimal, ScaleError>;

fn provisioned(load: &Load<'_>) -> Result<BigDecimal, ScaleError> {
    let facts = &load.inputs.facts;
    let units_per_s = load.log_units_per_s()
        + load.index_units_per_s()
        + load.totals_units_per_s()
        + load.outbox_units_per_s();
    let hours = BigDecimal::from(MONTH_S / 3_600);
    let provisioned = &units_per_s * hours * facts.published("provisioned_write_unit_hour")?
        / facts.assumed("provisioned_use")?;
    Ok(facts.cost("million_write_units", &millions(&units_per_s))? - provisioned)
}

fn quiet(load: &Load<'_>) -> Result<BigDecimal, ScaleError> {
    let facts = &load.inputs.facts;
    let figures =
        facts.sample_bytes("figures_line")? + facts.published("log_line_overhead_bytes")?;
    let left = load.calls_per_s() * figures;
    let all = facts.cost(
        "lambda_logs_gb",
        &gigabytes(&load.lambda_log_bytes_per_s()?),
    )?;
    Ok(all - facts.cost("lambda_logs_gb", &gigabytes(&left))?)
}

fn half_the_memory(load: &Load<'_>) -> Result<BigDecimal, ScaleError> {
    let (emission, _) = durations(load, "lambda_gb_s_arm64")?;
    Ok(emission / BigDecimal::from(2))
}

fn x86_64(load: &Load<'_>) -> Result<BigDecimal, ScaleError> {
    let (emission, behind) = durations(load, "lambda_gb_s_arm64")?;
    let (emission_x86_64, behind_x86_64) = durations(load, "lambda_gb_s_x86_64")?;
    Ok(emission + behind - emission_x86_64 - behind_x86_64)
}

/// Dollars a year that a million events cost where they lie: the table and its
/// index, and the table's backups.
///
/// # Errors
/// [`ScaleError`] where an input is missing.
pub fn kept_a_year(inputs: &Inputs) -> Result<(BigDecimal, BigDecimal), ScaleError> {
    let (row, both) = stored_bytes(inputs)?;
    let of_a_year = |bytes: BigDecimal| {
        bytes * BigDecimal::from(MILLION) * BigDecimal::from(12) / BigDecimal::from(GB)
    };
    Ok((
        inputs.facts.cost("table_gb_month", &of_a_year(both))?,
        inputs.facts.cost("backup_gb_month", &of_a_year(row))?,
    ))
}

/// Dollars a month at most for what does not depend on the load: alarms, metrics, the
/// dashboard, secrets.
///
/// # Errors
/// [`ScaleError`] where an input is missing.
pub fn fixed_a_month(inputs: &Inputs) -> Result<BigDecimal, ScaleError> {
    let facts = &inputs.facts;
    Ok(facts.cost("alarm_month", &facts.assumed("alarm_metrics")?)?
        + facts.cost("metric_month", &facts.assumed("metrics")?)?
        + facts.cost("dashboard_month", &facts.assumed("dashboards")?)?
        + facts.cost("secret_month", &facts.assumed("secrets")?)?)
}

/// Dollars that a million events cost more where no two of a step share a row of
/// the totals.
///
/// # Errors
/// [`ScaleError`] where an input is missing.
pub fn totals_at_most(inputs: &Inputs) -> Result<BigDecimal, ScaleError> {
    let more = totals_units_max(inputs)? - &inputs.single.totals_units;
    inputs.facts.cost("million_write_units", &more)
}

/// What Lambda's time costs in a month: emission's, and that of rollup and
/// redelivery. The tiers are of all time together.
fn durations(load: &Load<'_>, price: &str) -> Result<(BigDecimal, BigDecimal), ScaleError> {
    let inputs = load.inputs;
    let gb = |mb: &BigDecimal| mb / BigDecimal::from(MB_OF_A_GB);
    let thousand = BigDecimal::from(1_000);
    let month = BigDecimal::from(MONTH_S);
    let emission =
        load.calls_per_s() * &load.way.call_ms / &thousand * gb(&inputs.settings.emission_mb);
    let step_ms = inputs.facts.assumed("rollup_step_ms")?;
    let rollup = load.rollup_calls_per_s()? * step_ms / thousand * gb(&inputs.settings.rollup_mb);
    // As if every run took all of its time.
    let redelivery =
        &inputs.settings.redelivery_s / BigDecimal::from(60) * gb(&inputs.settings.redelivery_mb);
    let emission = emission * &month;
    let all = &emission + (rollup + redelivery) * month;
    let cost = inputs.facts.cost(price, &all)?;
    let of_emission = &cost * emission / all;
    let behind = cost - &of_emission;
    Ok((of_emission, behind))
}

fn millions(per_s: &BigDecimal) -> BigDecimal {
    per_s * BigDecimal::from(MONTH_S) / BigDecimal::from(MILLION)
}

fn gigabytes(bytes_per_s: &BigDecimal) -> BigDecimal {
    bytes_per_s * BigDecimal::from(MONTH_S) / BigDecimal::from(GB)
}
