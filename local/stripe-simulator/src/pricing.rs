//! What a quantity costs: exact decimals, rounded half up to whole cents once per line
//! (Stripe's documentation: Decimal amounts, Tiered pricing, Transform quantities).

use serde_json::Value;

use crate::api::json::{array, integer, text};

/// A cent has 12 decimals.
const SCALE: i128 = 1_000_000_000_000;
const DECIMALS: usize = 12;

/// The largest decimal that a price may have: 12 digits of cents.
pub(crate) const AMOUNT_DECIMAL_MAX: i128 = 999_999_999_999 * SCALE;

/// A price times a quantity left what an amount can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the amount is too large")]
pub(crate) struct Overflow;

/// Reads a decimal of cents: at most 12 decimals, not negative.
pub(crate) fn parse_decimal(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let empty = whole.is_empty() && fraction.is_empty();
    if empty || fraction.len() > DECIMALS || !digits(whole) || !digits(fraction) {
        return None;
    }
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let fraction: i128 = format!("{fraction:0<DECIMALS$}").parse().ok()?;
    whole.checked_mul(SCALE)?.checked_add(fraction)
}

/// Writes a decimal of cents without zeros that say nothing.
pub(crate) fn format_decimal(value: i128) -> String {
    let fraction = format!("{:0DECIMALS$}", value % SCALE);
    let fraction = fraction.trim_end_matches('0');
    let whole = value / SCALE;
    if fraction.is_empty() {
        whole.to_string()
    } else {
        format!("{whole}.{fraction}")
    }
}

/// The amount in whole cents of a quantity at a price.
pub(crate) fn amount(price: &Value, quantity: i64) -> Result<i64, Overflow> {
    let quantity = transformed(price, i128::from(quantity));
    let exact = match text(price, "/billing_scheme") {
        Some("tiered") => tiered(price, quantity)?,
        _ => unit(price, "unit_amount")
            .checked_mul(quantity)
            .ok_or(Overflow)?,
    };
    i64::try_from(round_half_up(exact)).map_err(|_| Overflow)
}

fn round_half_up(exact: i128) -> i128 {
    (exact + SCALE / 2).div_euclid(SCALE)
}

/// `transform_quantity`: packages of `divide_by`, begun ones counted or not.
fn transformed(price: &Value, quantity: i128) -> i128 {
    let Some(divide_by) = integer(price, "/transform_quantity/divide_by") else {
        return quantity;
    };
    let divide_by = i128::from(divide_by.max(1));
    match text(price, "/transform_quantity/round") {
        Some("up") => (quantity + divide_by - 1).div_euclid(divide_by),
        _ => quantity.div_euclid(divide_by),
    }
}

/// `{name}_decimal`, exact, where it is there; else `{name}`.
fn unit(holder: &Value, name: &str) -> i128 {
    let decimal = text(holder, &format!("/{name}_decimal")).and_then(parse_decimal);
    let whole = || integer(holder, &format!("/{name}")).map(|cents| i128::from(cents) * SCALE);
    decimal.or_else(whole).unwrap_or_default()
}

fn tiered(price: &Value, quantity: i128) -> Result<i128, Overflow> {
    let graduated = text(price, "/tiers_mode") == Some("graduated");
    let mut total: i128 = 0;
    let mut below: i128 = 0;
    for tier in array(price, "/_tiers") {
        let up_to = integer(tier, "/up_to").map(i128::from);
        let is_last = up_to.is_none_or(|up_to| quantity <= up_to);
        if !graduated && !is_last {
            continue;
        }
        let reach = up_to.map_or(quantity, |up_to| up_to.min(quantity));
        let counted = if graduated { reach - below } else { quantity };
        let variable = unit(tier, "unit_amount")
            .checked_mul(counted)
            .ok_or(Overflow)?;
        total = total
            .checked_add(variable)
            .and_then(|sum| sum.checked_add(unit(tier, "flat_amount")))
            .ok_or(Overflow)?;
        if is_last {
            break;
        }
        below = reach;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_is_rounded_once_and_half_up() {
        let price = json!({ "billing_scheme": "per_unit", "unit_amount_decimal": "0.05" });
        assert_eq!(amount(&price, 9), Ok(0));
        assert_eq!(amount(&price, 10), Ok(1));
        assert_eq!(amount(&price, 29), Ok(1));
        assert_eq!(amount(&price, 30), Ok(2));
    }

    #[test]
    fn twelve_decimals_are_exact() {
        let price =
            json!({ "billing_scheme": "per_unit", "unit_amount_decimal": "0.000000000001" });
        assert_eq!(amount(&price, 1_000_000_000_000), Ok(1));
        assert_eq!(amount(&price, 499_999_999_999), Ok(0));
        assert!(parse_decimal("0.0000000000001").is_none());
        assert_eq!(parse_decimal("2.50").map(format_decimal).unwrap(), "2.5");
    }

    #[test]
    fn tiers_graduate_or_choose_one() {
        let tiers = json!([
            { "up_to": 10, "unit_amount_decimal": "5", "flat_amount_decimal": null },
            { "up_to": null, "unit_amount_decimal": "2", "flat_amount_decimal": "100" },
        ]);
        let mut price =
            json!({ "billing_scheme": "tiered", "tiers_mode": "graduated", "_tiers": tiers });
        assert_eq!(amount(&price, 10), Ok(50));
        assert_eq!(amount(&price, 15), Ok(50 + 10 + 100));
        price["tiers_mode"] = json!("volume");
        assert_eq!(amount(&price, 10), Ok(50));
        assert_eq!(amount(&price, 15), Ok(30 + 100));
    }

    #[test]
    fn packages_round_as_told() {
        let mut price = json!({
            "billing_scheme": "per_unit", "unit_amount": 100,
            "transform_quantity": { "divide_by": 1000, "round": "up" },
        });
        assert_eq!(amount(&price, 1001), Ok(200));
        price["transform_quantity"]["round"] = json!("down");
        assert_eq!(amount(&price, 1999), Ok(100));
    }

    #[test]
    fn an_amount_too_large_is_an_error() {
        let price = json!({ "billing_scheme": "per_unit", "unit_amount": 999_999_999_999_i64 });
        assert_eq!(amount(&price, i64::MAX), Err(Overflow));
    }
}
