//! Usage over time and by action, as the dashboard draws it.

use std::collections::{BTreeMap, HashMap};

use billing::{DAY_MS, HOUR_MS, Timestamp};
use ledger::{BillableDay, BillableUnits};
use serde::Serialize;
use utoipa::ToSchema;
use web::openapi::schema;

use crate::query::Hours;

/// Actions that are told apart: as many as there are colours that are.
const ACTIONS_MAX: usize = 6;
/// Hours that are shown, up to the present one.
const HOURS_MAX: i64 = 48;

/// Units by day and by hour (UTC), and by action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardChart)]
pub(crate) struct Chart {
    /// The actions with the most units in the period, the most first.
    pub(crate) action_types: Vec<String>,
    /// Whether each bar has one more entry, of all other actions together.
    pub(crate) has_others: bool,
    /// Each day of the period so far.
    pub(crate) days: Vec<Bar>,
    /// Each of the latest hours of the period, 48 at most.
    pub(crate) hours: Vec<Bar>,
}

/// Units of a day or an hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DashboardBar)]
pub(crate) struct Bar {
    /// When it begins (UTC).
    #[schema(schema_with = schema::time)]
    pub(crate) start: String,
    /// Units of each of `action_types`; then of the others, if there are any.
    pub(crate) units: Vec<u64>,
}

/// The stretch of time and the action that units are of.
type Cells = BTreeMap<(Timestamp, usize), BillableUnits>;

impl Chart {
    /// The usage of `days` in `period` up to `now`; `actions` are those of all its
    /// usage, the one with the most units first.
    pub(crate) fn of(
        actions: &[(&String, u64)],
        days: &[BillableDay],
        period: Hours,
        now: Timestamp,
    ) -> Self {
        let shown = actions.iter().take(ACTIONS_MAX);
        let shown: Vec<&String> = shown.map(|(action_type, _)| *action_type).collect();
        let columns: HashMap<&str, usize> = shown
            .iter()
            .enumerate()
            .map(|(column, action_type)| (action_type.as_str(), column))
            .collect();
        let column = |day: &BillableDay| {
            let known = columns.get(day.action_type.as_str());
            known.copied().unwrap_or(shown.len())
        };
        let has_others = actions.len() > shown.len();
        let width = shown.len() + usize::from(has_others);

        let first_hour = now.start_of_hour().plus_ms(-(HOURS_MAX - 1) * HOUR_MS);
        let first_hour = first_hour.max(period.start.start_of_hour());
        let (mut by_day, mut by_hour) = (Cells::new(), Cells::new());
        for day in days {
            let column = column(day);
            let cell = by_day.entry((day.midnight(), column)).or_default();
            cell.add(day.units());
            for (hour, units) in day.hours().filter(|(hour, _)| *hour >= first_hour) {
                by_hour.entry((hour, column)).or_default().add(units);
            }
        }
        let end = now.max(period.start);
        Self {
            days: bars(&by_day, period.start.start_of_day(), end, DAY_MS, width),
            hours: bars(&by_hour, first_hour, end, HOUR_MS, width),
            action_types: shown.into_iter().cloned().collect(),
            has_others,
        }
    }
}

/// A bar for each stretch of `step_ms` from `first` to the one that holds `last`, and
/// for the later ones that have usage: a clock may be a little ahead of ours.
fn bars(cells: &Cells, first: Timestamp, last: Timestamp, step_ms: i64, width: usize) -> Vec<Bar> {
    let latest = cells.keys().next_back().map(|(start, _)| *start);
    let last = latest.map_or(last, |latest| latest.max(last));
    let starts = (0..).map(|step| first.plus_ms(step * step_ms));
    let bar = |start: Timestamp| Bar {
        start: start.to_string(),
        units: (0..width)
            .map(|column| cells.get(&(start, column)).copied().unwrap_or_default())
            .map(BillableUnits::total)
            .collect(),
    };
    starts.take_while(|start| *start <= last).map(bar).collect()
}
