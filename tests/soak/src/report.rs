//! What a run came to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use stripe::UsageApi;

use crate::checker::{Finding, Findings, Kind};
use crate::fault::Fault;
use crate::runner::Runner;
use crate::{Decisions, Options, Plant, Reconciliation};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Events that were to be tried.
    pub events: u64,
    /// Different events that agents sent.
    pub tried: u64,
    /// Those that were acknowledged.
    pub acknowledged: u64,
    /// Faults that struck.
    pub faults: BTreeMap<Fault, u64>,
    /// Answers to events, repeats included.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Errors by kind.
    pub counts: BTreeMap<Kind, u64>,
    /// The first of each kind, in words.
    pub findings: Vec<Finding>,
    /// What was planted, where something was.
    pub planted: Option<String>,
    plant: Option<Plant>,
    batch_events_max: u64,
    calls_at_once: usize,
    usage_api: UsageApi,
    named: BTreeMap<(&'static str, bool), u64>,
    carried_over: u64,
    in_another_period: u64,
    in_stripe: u64,
    invoices: u64,
    elapsed: Duration,
    reconciled: Option<Reconciled>,
}

/// What the operator's `reconcile` came to.
#[derive(Clone, Debug)]
pub struct Reconciled {
    /// What it said, and repaired, of the run at rest.
    pub repair: Reconciliation,
    /// What the operator decided then.
    pub decisions: Decisions,
    /// What it said when the system was at rest again.
    pub after: Reconciliation,
    /// Events that the count then found undelivered, by the state that says so,
    /// and whether Stripe has them.
    named: BTreeMap<(&'static str, bool), u64>,
}

impl Report {
    pub(crate) fn of(
        options: &Options,
        runner: &Runner<'_>,
        mut findings: Findings,
        planted: Option<String>,
    ) -> Self {
        for contradiction in &runner.agents.contradictions {
            findings.add(Kind::Contradiction, || contradiction.clone());
        }
        let told = &runner.agents.told;
        let acknowledged = told.iter().filter(|told| told.acknowledged.is_some());
        Self {
            seed: options.seed,
            events: options.events,
            tried: told.len() as u64,
            acknowledged: acknowledged.count() as u64,
            faults: runner.world.faults.struck(),
            outcomes: runner.agents.outcomes.clone(),
            counts: findings.counts,
            findings: findings.told,
            planted,
            plant: options.plant,
            batch_events_max: options.batch_events_max,
            calls_at_once: options.calls_at_once,
            usage_api: options.usage_api,
            named: findings.named,
            carried_over: findings.carried_over,
            in_another_period: findings.in_another_period,
            in_stripe: findings.in_stripe,
            invoices: findings.invoices,
            elapsed: runner.progress().elapsed,
            reconciled: None,
        }
    }

    /// Adds what `reconcile` came to, and what the count found after it.
    pub(crate) fn reconciled(
        &mut self,
        repair: Reconciliation,
        decisions: Decisions,
        after: Reconciliation,
        findings: Findings,
    ) {
        for (kind, count) in findings.counts {
            *self.counts.entry(kind).or_default() += count;
        }
        self.findings.extend(findings.told);
        self.reconciled = Some(Reconciled {
            repair,
            decisions,
            after,
            named: findings.named,
        });
    }

    /// What the operator's `reconcile` came to, where nothing was planted.
    pub const fn reconciliation(&self) -> Option<&Reconciled> {
        self.reconciled.as_ref()
    }

    /// Whether nothing is wrong, and `reconcile` found so.
    pub fn is_clean(&self) -> bool {
        let reconciled = self.reconciled.as_ref();
        self.counts.is_empty() && reconciled.is_none_or(|it| it.after.differ == 0)
    }

    /// How many errors of `kind` there are.
    pub fn count(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or_default()
    }
}

fn write_named(
    f: &mut fmt::Formatter<'_>,
    named: &BTreeMap<(&'static str, bool), u64>,
) -> fmt::Result {
    for ((status, is_in_stripe), count) in named {
        let stripe = if *is_in_stripe { "in" } else { "not in" };
        writeln!(f, "  {count:>9}  named: {status}, {stripe} Stripe")?;
    }
    Ok(())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: u64 = self.faults.values().sum();
        writeln!(f, "seed {}, {} events", self.seed, self.events)?;
        writeln!(
            f,
            "\nfaults injected: {faults}, of {} kinds",
            self.faults.len()
        )?;
        for (fault, count) in &self.faults {
            writeln!(f, "  {count:>9}  {fault}")?;
        }
        writeln!(f, "\nanswers to events, repeats included")?;
        for (outcome, count) in &self.outcomes {
            writeln!(f, "  {count:>9}  {outcome}")?;
        }
        writeln!(f, "\nevents at rest")?;
        for (count, what) in [
            (self.tried, "tried"),
            (self.acknowledged, "acknowledged"),
            (self.in_stripe, "in Stripe"),
            (self.carried_over, "carried over into a later period"),
            (
                self.in_another_period,
                "billed in another period than the log says",
            ),
        ] {
            writeln!(f, "  {count:>9}  {what}")?;
        }
        write_named(f, &self.named)?;
        writeln!(f, "  {:>9}  final invoices' lines compared", self.invoices)?;
        if let Some(reconciled) = &self.reconciled {
            writeln!(f, "\nreconcile --repair: {}", reconciled.repair)?;
            writeln!(f, "redrive: {}", reconciled.decisions)?;
            write_named(f, &reconciled.named)?;
            writeln!(f, "reconcile, at rest again: {}", reconciled.after)?;
        }
        writeln!(f)?;
        for kind in [Kind::Lost, Kind::Doubled, Kind::Unbilled] {
            writeln!(f, "{kind:<16} {}", self.count(kind))?;
        }
        for (kind, count) in &self.counts {
            if !matches!(kind, Kind::Lost | Kind::Doubled | Kind::Unbilled) {
                writeln!(f, "{kind:<16} {count}")?;
            }
        }
        for Finding { kind, what } in &self.findings {
            writeln!(f, "  {kind}: {what}")?;
        }
        let seconds = self.elapsed.as_secs().max(1);
        writeln!(f, "{seconds} s, {} events/s", self.tried / seconds)?;
        if !self.is_clean() {
            let plant = self.plant.map(|plant| format!(" PLANT={plant}"));
            let plant = plant.unwrap_or_default();
            let (events, seed) = (self.events, self.seed);
            let (batch, calls) = (self.batch_events_max, self.calls_at_once);
            let settings = format!("EVENTS={events} SEED={seed} BATCH={batch} CALLS={calls}");
            let usage_api = self.usage_api;
            writeln!(
                f,
                "replay: make soak {settings} USAGE_API={usage_api}{plant}"
            )?;
        }
        Ok(())
    }
}
