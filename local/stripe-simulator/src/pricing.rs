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

/// What one line of an invoice bills of a quantity. A price per unit has one; one in tiers has
/// a line for the units of each tier that is reached, and one for each of its flat amounts
/// (Stripe's documentation: Decimal amounts, "Rounding occurs on the line item level").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// The tier, counted from 1.
    pub(crate) tier: Option<usize>,
    /// Units of this line; none for a flat amount.
    pub(crate) quantity: Option<i64>,
    /// What a unit costs, or the flat amount, in 10^-12 cents.
    pub(crate) at: i128,
    /// In whole cents.
    pub(crate) amount: Result<i64, Overflow>,
}

/// The lines of a quantity at a price.
pub(crate) fn parts(price: &Value, quantity: i64) -> Vec<Part> {
    if text(price, "/billing_scheme") == Some("tiered") {
        return tiered(price, quantity);
    }
    let at = unit(price, "unit_amount").unwrap_or_default();
    vec![Part {
        tier: None,
        quantity: Some(quantity),
        at,
        amount: rounded(at.checked_mul(transformed(price, i128::from(quantity)))),
    }]
}

fn rounded(exact: Option<i128>) -> Result<i64, Overflow> {
    let cents = round_half_up(exact.ok_or(Overflow)?);
    i64::try_from(cents).map_err(|_| Overflow)
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

/// `{name}_decimal`, exact, where it is there; else `{name}`, if it is.
fn unit(holder: &Value, name: &str) -> Option<i128> {
    let decimal = text(holder, &format!("/{name}_decimal")).and_then(parse_decimal);
    let whole = || integer(holder, &format!("/{name}")).map(|cents| i128::from(cents) * SCALE);
    decimal.or_else(whole)
}

fn tiered(price: &Value, quantity: i64) -> Vec<Part> {
    let is_graduated = text(price, "/tiers_mode") == Some("graduated");
    let mut parts = Vec::new();
    let mut below = 0;
    for (index, tier) in array(price, "/_tiers").iter().enumerate() {
        let up_to = integer(tier, "/up_to");
        let is_last = up_to.is_none_or(|up_to| quantity <= up_to);
        if !is_graduated && !is_last {
            continue;
        }
        let reach = up_to.map_or(quantity, |up_to| up_to.min(quantity));
        let counted = if is_graduated {
            reach - below
        } else {
            quantity
        };
        let at = unit(tier, "unit_amount").unwrap_or_default();
        parts.push(Part {
            tier: Some(index + 1),
            quantity: Some(counted),
            at,
            amount: rounded(at.checked_mul(i128::from(counted))),
        });
        if let Some(flat) = unit(tier, "flat_amount") {
            parts.push(Part {
                tier: Some(index + 1),
                quantity: None,
                at: flat,
                amount: rounded(Some(flat)),
            });
        }
        if is_last {
            break;
        }
        below = reach;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn amounts(price: &Value, quantity: i64) -> Vec<(Option<i64>, i64)> {
        let parts = parts(price, quantity).into_iter();
        parts
            .map(|part| (part.quantity, part.amount.unwrap()))
            .collect()
    }

    fn amount(price: &Value, quantity: i64) -> Result<i64, Overflow> {
        parts(price, quantity).iter().map(|part| part.amount).sum()
    }

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
    fn each_tier_and_each_flat_amount_is_rounded_as_a_line_of_its_own() {
        let price = json!({ "billing_scheme": "tiered", "tiers_mode": "graduated", "_tiers": [
            { "up_to": 10, "unit_amount_decimal": "0.14" },
            { "up_to": null, "unit_amount_decimal": "0.7", "flat_amount_decimal": "0.5" },
        ]});
        assert_eq!(amounts(&price, 0), [(Some(0), 0)]);
        assert_eq!(amounts(&price, 10), [(Some(10), 1)]);
        assert_eq!(
            amounts(&price, 12),
            [(Some(10), 1), (Some(2), 1), (None, 1)]
        );
    }

    #[test]
    fn the_first_flat_amount_is_billed_for_no_usage_too() {
        let price = json!({ "billing_scheme": "tiered", "tiers_mode": "volume", "_tiers": [
            { "up_to": null, "flat_amount": 999 },
        ]});
        assert_eq!(amounts(&price, 0), [(Some(0), 0), (None, 999)]);
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
