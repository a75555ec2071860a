//! Words, numbers and times of the page, in English and UTC; its script has the reader's.

use billing::UsageStatus;

/// How a status is shown, and the word for it.
pub(super) fn standing(status: &str) -> (&'static str, &'static str) {
    match status {
        "active" => ("good", "Active"),
        "past_due" => ("warn", "Payment due"),
        "suspended" => ("bad", "Suspended"),
        _ => ("bad", "Ended"),
    }
}

/// Where an event stands, for who pays for it.
pub(super) const fn event_standing(status: UsageStatus) -> &'static str {
    match status {
        UsageStatus::Pending => "On its way",
        UsageStatus::Delivered => "Billed",
        UsageStatus::Rejected => "Not billed",
        UsageStatus::Quarantined => "Being looked into",
        UsageStatus::Held => "Not billed yet",
        UsageStatus::Voiding => "Being taken back",
        UsageStatus::Voided => "Taken back",
    }
}

/// What a reader has to know who is not simply active.
pub(super) fn standing_text(status: &str) -> &'static str {
    match status {
        "active" => "",
        "past_due" => "A payment has failed. It will be tried again; please check how you pay.",
        "suspended" => {
            "Payments have failed for too long. New actions are refused until the open invoice is paid."
        }
        _ => "The subscription has ended. What was used before is shown.",
    }
}

pub(super) fn pending(units: &str) -> String {
    match units {
        "0" => "all of them with Stripe".to_owned(),
        units => format!("{} of them on their way to the invoice", grouped(units)),
    }
}

/// A link elsewhere: nothing that a browser would run.
pub(super) fn is_web_address(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// The day of an RFC 3339 time.
pub(super) fn day(time: &str) -> &str {
    time.split('T').next().unwrap_or(time)
}

/// An amount of money in major units: `USD 1,234.50`.
pub(super) fn amount(currency: &str, major_units: Option<&str>) -> String {
    match major_units {
        Some(major_units) => format!("{} {}", currency.to_uppercase(), grouped(major_units)),
        None => "–".to_owned(),
    }
}

/// A decimal number with its thousands apart: `1,234,567.89`.
pub(super) fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let (sign, digits) = whole.split_at(usize::from(whole.starts_with('-')));
    let mut grouped = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [
            ("0", "0"),
            ("999", "999"),
            ("1000", "1,000"),
            ("1234567.89", "1,234,567.89"),
            ("-1234.50", "-1,234.50"),
            ("-100", "-100"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }
}
