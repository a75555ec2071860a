//! The limit of a period on the dashboard: as data for its script, and as the part
//! of the page that is there before the script runs.

use ledger::LimitWatch;
use limits::view::AlertView;
use limits::{LimitView, Standing};
use maud::{Markup, html};
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;

use crate::dashboard::text::{amount, grouped};

/// From how much of a limit on its bar warns, in percent.
const WARN_PERCENT: u64 = 80;
/// Where its bar ends, in percent: more may have been used.
const BAR_PERCENT_MAX: u64 = 100;

/// A limit, and how much of it is used in the current period. One in units has
/// `units` and `left_units`, one in money `amount` and `left_amount`; the others
/// are null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardSpendingLimit)]
pub(crate) struct LimitFigures {
    /// The most units of a period.
    #[schema(required, schema_with = crate::openapi::digits_or_null)]
    units: Option<String>,
    /// The most that a period may cost.
    #[schema(required, schema_with = schema::amount_or_null)]
    amount: Option<String>,
    /// Of all amounts here.
    #[schema(schema_with = schema::currency)]
    currency: String,
    /// `hard` or `soft`.
    #[schema(schema_with = limits::view::enforcement)]
    enforcement: &'static str,
    /// Units of the period so far.
    #[schema(schema_with = crate::openapi::digits)]
    used_units: String,
    /// What they cost.
    #[schema(schema_with = schema::amount)]
    used_amount: String,
    /// Units that reservations hold besides.
    #[schema(schema_with = crate::openapi::digits)]
    held_units: String,
    /// How much of the limit is used, in percent, rounded down; none where the
    /// limit is in another currency than the customer pays in now.
    #[schema(required)]
    used_percent: Option<u64>,
    /// Units that are left beside what is held, never less than none.
    #[schema(required, schema_with = crate::openapi::digits_or_null)]
    left_units: Option<String>,
    /// The amount that is left so, never less than nothing.
    #[schema(required, schema_with = schema::amount_or_null)]
    left_amount: Option<String>,
    /// Whether it is hard and all of it is used or held: `access` says no.
    stops: bool,
    /// Thresholds that were crossed in this period.
    alerts: Vec<AlertView>,
}

impl LimitFigures {
    /// What is shown of `standing`, and of what `watch` says was told.
    pub(super) fn of(standing: &Standing, watch: Option<&LimitWatch>) -> Self {
        let view = LimitView::of(standing, watch);
        let digits = |units: u64| units.to_string();
        Self {
            units: view.units.map(digits),
            amount: view.amount,
            currency: view.currency,
            enforcement: view.enforcement,
            used_units: digits(view.used_units),
            used_amount: view.used_amount,
            held_units: digits(view.held_units),
            used_percent: view.used_percent,
            left_units: view.left_units.map(digits),
            left_amount: view.left_amount,
            stops: standing.stops(),
            alerts: view.alerts,
        }
    }

    /// How the bar is shown.
    fn kind(&self) -> &'static str {
        match self.used_percent {
            _ if self.stops => "bad",
            Some(percent) if percent >= WARN_PERCENT => "warn",
            _ => "good",
        }
    }

    fn money(&self, major_units: &str) -> String {
        amount(&self.currency, Some(major_units))
    }

    /// `USD 8.00 of USD 10.00`.
    fn used(&self) -> String {
        match (&self.units, &self.amount, self.used_percent) {
            (Some(most), _, _) => {
                let (used, most) = (grouped(&self.used_units), grouped(most));
                format!("{used} of {most} units")
            }
            (None, Some(most), Some(_)) => {
                format!("{} of {}", self.money(&self.used_amount), self.money(most))
            }
            (None, Some(most), None) => self.money(most),
            (None, None, _) => String::new(),
        }
    }

    /// `80% used, USD 2.00 left, 40 units held for what has begun`.
    fn note(&self) -> String {
        let Some(percent) = self.used_percent else {
            return "It is in another currency than you pay in now, and is not applied.".to_owned();
        };
        let left = match (&self.left_units, &self.left_amount) {
            (Some(units), _) => format!(", {} units left", grouped(units)),
            (None, Some(amount)) => format!(", {} left", self.money(amount)),
            (None, None) => String::new(),
        };
        let held = match self.held_units.as_str() {
            "0" => String::new(),
            units => format!(", {} units held for what has begun", grouped(units)),
        };
        let percent = grouped(&percent.to_string());
        format!("{percent}% used{left}{held}")
    }

    /// What it does, for who is held to it.
    fn rule(&self) -> &'static str {
        match self.enforcement {
            "hard" => "Nothing more can be used beyond it.",
            _ => "For information: nothing stops there.",
        }
    }
}

/// Says that nothing more can be used, where that is so.
pub(super) fn banner(limit: Option<&LimitFigures>) -> Markup {
    let stops = limit.is_some_and(|limit| limit.stops);
    html! {
        p #limit-reached .banner.bad role="status" hidden[!stops] {
            @if stops {
                "The spending limit of this period is reached. New actions are refused until it is \
                 raised or the next period begins."
            }
        }
    }
}

/// How much of the limit is used; there and hidden without one.
pub(super) fn section(limit: Option<&LimitFigures>) -> Markup {
    let bar = limit.and_then(|limit| Some((limit.kind(), limit.used_percent?)));
    let (kind, percent) = bar.unwrap_or(("good", 0));
    html! {
        section #limit-section aria-labelledby="limit-heading" hidden[limit.is_none()] {
            div .row {
                h2 #limit-heading { "Spending limit" }
                p #limit-rule .quiet { (limit.map_or("", LimitFigures::rule)) }
            }
            p #limit-used .used { (limit.map(LimitFigures::used).unwrap_or_default()) }
            progress #limit-bar class={ "whole " (kind) } max=(BAR_PERCENT_MAX)
                value=(percent.min(BAR_PERCENT_MAX)) aria-label="Used of the spending limit"
                hidden[bar.is_none()] {
                (percent) "%"
            }
            p #limit-note .quiet { (limit.map(LimitFigures::note).unwrap_or_default()) }
            ul #limit-alerts .quiet {
                @for alert in limit.map(|limit| limit.alerts.as_slice()).unwrap_or_default() {
                    li { (alert.threshold_percent) "% reached on " (alert.raised_at) }
                }
            }
        }
    }
}
