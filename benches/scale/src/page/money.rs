//! What loads cost, and what would cost less.

use bigdecimal::BigDecimal;

use super::load_columns;
use crate::ScaleError;
use crate::cost::{Bill, fixed_a_month, kept_a_year, levers, totals_at_most};
use crate::inputs::Inputs;
use crate::load::{Load, totals_units_max};
use crate::markdown::{columns, heading, line, row};
use crate::number::{about, grouped};

pub(super) fn write_cost(
    text: &mut String,
    inputs: &Inputs,
    loads: &[Load<'_>],
) -> Result<(), ScaleError> {
    heading(text, "What a million events cost");
    line(
        text,
        "US dollars, list prices in us-east-1, no free tier. Stripe's own fees are not in it.",
    );
    line(text, "");
    let bills = loads.iter().map(Bill::of).collect::<Result<Vec<_>, _>>()?;
    load_columns(text, "", loads);
    if let Some(first) = bills.first() {
        for (index, line) in first.lines.iter().enumerate() {
            let mut cells = vec![line.what.to_owned()];
            cells.extend(bills.iter().filter_map(|bill| {
                let line = bill.lines.get(index)?;
                Some(grouped(&bill.per_million(&line.monthly), 2))
            }));
            row(text, cells);
        }
    }
    let total = |of: fn(&Bill) -> String| bills.iter().map(of);
    let mut cells = vec!["**a million events**".to_owned()];
    cells.extend(total(|bill| {
        format!("**{}**", grouped(&bill.per_million(&bill.monthly()), 2))
    }));
    row(text, cells);
    let mut cells = vec!["a month".to_owned()];
    cells.extend(total(|bill| grouped(&bill.monthly(), 0)));
    row(text, cells);
    write_kept(text, inputs, &bills)
}

fn write_kept(text: &mut String, inputs: &Inputs, bills: &[Bill]) -> Result<(), ScaleError> {
    let (stored, backed_up) = kept_a_year(inputs)?;
    let year = &stored + &backed_up;
    // The first two loads are one rate, sent both ways.
    let months: Vec<String> = bills
        .iter()
        .take(2)
        .map(|bill| bill.per_million(&bill.monthly()) * BigDecimal::from(12) / &year)
        .map(|months| about(&months))
        .collect();
    line(text, "");
    line(
        text,
        &format!(
            "Not in it: **a year of keeping a million events costs {}**, at most ({} in the table \
             and its index, {} in the table's backups). After {} months that is as much as \
             everything above at the lowest rate, single and in batches.",
            grouped(&year, 2),
            grouped(&stored, 2),
            grouped(&backed_up, 2),
            months.join(" and "),
        ),
    );
    line(text, "");
    line(
        text,
        &format!(
            "Nor is this: where no two events of a step share customer, day and action, the totals \
             take {} write units an event, and a million events {} more. Measured were {} units, \
             with {} customers on one shard.",
            about(&totals_units_max(inputs)?),
            grouped(&totals_at_most(inputs)?, 2),
            grouped(&inputs.single.totals_units, 3),
            about(&inputs.measured_customers),
        ),
    );
    line(text, "");
    line(
        text,
        &format!(
            "And whatever the rate, up to {} a month for alarms, metrics, the dashboard and \
             secrets. Lambda's reads of the stream are free; traces come on top.",
            grouped(&fixed_a_month(inputs)?, 0),
        ),
    );
    Ok(())
}

pub(super) fn write_levers(text: &mut String, inputs: &Inputs) -> Result<(), ScaleError> {
    heading(text, "What would cost less");
    line(
        text,
        "Dollars spared of a million events, each change alone, at a thousand events a second.",
    );
    line(text, "");
    columns(text, &["change", "single", "batches"], 1);
    for lever in levers(inputs)? {
        let batch = lever
            .batch
            .map_or_else(|| "–".to_owned(), |spared| grouped(&spared, 2));
        row(
            text,
            [lever.what.to_owned(), grouped(&lever.single, 2), batch],
        );
    }
    Ok(())
}
