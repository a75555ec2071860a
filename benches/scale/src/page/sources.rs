//! What everything is reckoned from.

use crate::ScaleError;
use crate::facts::{Facts, Value};
use crate::inputs::Inputs;
use crate::markdown::{columns, heading, line, row};
use crate::number::{about, grouped, parse};

pub(super) fn write_measured(text: &mut String, inputs: &Inputs) {
    heading(text, "Measured, set, and in the code");
    line(
        text,
        "From [benchmarks](benchmarks.md), `template.yaml` and the constants of the code.",
    );
    line(text, "");
    columns(text, &["", "single", "batches"], 1);
    let (single, batch) = (&inputs.single, &inputs.batch);
    for (name, single, batch) in [
        ("a call of emission, ms", &single.call_ms, &batch.call_ms),
        (
            "audit log and index, write units an event",
            &single.log_units,
            &batch.log_units,
        ),
        (
            "totals, write units an event",
            &single.totals_units,
            &batch.totals_units,
        ),
        (
            "outbox, write units an event",
            &single.outbox_units,
            &batch.outbox_units,
        ),
        (
            "redelivery, read units an event",
            &single.redelivery_units,
            &batch.redelivery_units,
        ),
    ] {
        row(
            text,
            [name.to_owned(), grouped(single, 3), grouped(batch, 3)],
        );
    }
    let (settings, code) = (&inputs.settings, &inputs.code);
    line(text, "");
    line(
        text,
        &format!(
            "Memory: emission {} MB, rollup {} MB, redelivery {} MB. Totals: {} slots. \
         Buckets: {}. A transaction of the rollup: {} changes. Redelivery reads {} \
         rows at once. Believed without another look: a key for {} s, a customer for \
         {} s, the catalog for {} s. A key's requests are counted in windows of {} s.",
            about(&settings.emission_mb),
            about(&settings.rollup_mb),
            about(&settings.redelivery_mb),
            about(&code.slots),
            about(&code.buckets),
            about(&code.changes),
            about(&code.rows_at_once),
            about(&code.key_fresh_s),
            about(&code.customer_fresh_s),
            about(&code.catalog_fresh_s),
            about(&code.key_window_s)
        ),
    );
}

pub(super) fn write_facts(text: &mut String, facts: &Facts) -> Result<(), ScaleError> {
    heading(text, "Published, and assumed");
    line(
        text,
        "*Source*: read on that page itself, in a copy. *Quoted*: read where somebody \
         quotes it. *Unverified*: known, and not found again.",
    );
    line(text, "");
    columns(text, &["figure", "of", "page", "checked"], 4);
    for published in facts.published.values() {
        let value = match &published.value {
            Value::One(value) => shown(value)?,
            Value::Tiers(tiers) => {
                let tiers = tiers.iter().map(|tier| match &tier.up_to {
                    Some(end) => Ok(format!("{} to {}", tier.price, shown(end)?)),
                    None => Ok(tier.price.clone()),
                });
                let tiers: Result<Vec<String>, ScaleError> = tiers.collect();
                tiers?.join(", then ")
            }
        };
        let checked = published.checked.as_str().to_owned();
        row(
            text,
            [
                value,
                published.unit.clone(),
                published.page.clone(),
                checked,
            ],
        );
    }
    line(text, "");
    columns(text, &["assumed", "of"], 2);
    for assumed in facts.assumed.values() {
        let value = format!("{} {}", assumed.value, assumed.unit);
        row(text, [value.trim().to_owned(), assumed.why.clone()]);
    }
    Ok(())
}

/// The thousands of a whole number set apart; another one as it is.
fn shown(figure: &str) -> Result<String, ScaleError> {
    if figure.contains('.') {
        return Ok(figure.to_owned());
    }
    Ok(grouped(&parse(figure, "the data file")?, 0))
}
