//! What the API takes, checked before it is asked: with its own bounds.

use crate::error::InvalidUsage;

/// The longest action type, and the longest id of Stripe's, in characters.
const NAME_LENGTH_MAX: usize = 64;
/// The most units of one event or reservation.
const QUANTITY_MAX: u64 = 1_000_000_000;
/// The longest reservation id, in characters.
const RESERVATION_ID_LENGTH_MAX: usize = 128;

pub(crate) fn customer_id(id: &str) -> Result<(), InvalidUsage> {
    check(
        is_stripe_id(id),
        "customer_id must be one of Stripe's, cus_…",
    )
}

pub(crate) fn subscription_item(id: &str) -> Result<(), InvalidUsage> {
    let reason = "subscription_item must be one of Stripe's, si_…";
    check(is_stripe_id(id), reason)
}

pub(crate) fn action_type(action_type: &str) -> Result<(), InvalidUsage> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    let reason = "action_type must be 1 to 64 letters, digits or any of _ - . :";
    check(is_name(action_type, NAME_LENGTH_MAX, is_allowed), reason)
}

pub(crate) fn quantity(quantity: u64) -> Result<(), InvalidUsage> {
    let reason = "quantity must be a whole number from 1 to 1000000000";
    check((1..=QUANTITY_MAX).contains(&quantity), reason)
}

/// It is a part of an address, where two dots are none.
pub(crate) fn reservation_id(id: &str) -> Result<(), InvalidUsage> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "_.:~-".contains(c);
    let is_id = is_name(id, RESERVATION_ID_LENGTH_MAX, is_allowed) && !matches!(id, "." | "..");
    let reason =
        "reservation_id must be 1 to 128 letters, digits or any of _ . : ~ -, and not . or ..";
    check(is_id, reason)
}

pub(crate) fn check(is_so: bool, reason: &'static str) -> Result<(), InvalidUsage> {
    is_so.then_some(()).ok_or(InvalidUsage(reason))
}

fn is_stripe_id(id: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    is_name(id, NAME_LENGTH_MAX, is_allowed)
}

fn is_name(text: &str, length_max: usize, is_allowed: impl Fn(char) -> bool) -> bool {
    (1..=length_max).contains(&text.len()) && text.chars().all(is_allowed)
}
