//! Numbers: decimals, never floats.

use bigdecimal::{BigDecimal, RoundingMode};

use crate::ScaleError;

/// The number that `text` is; `place` says where it stands.
pub(crate) fn parse(text: &str, place: &str) -> Result<BigDecimal, ScaleError> {
    text.trim().parse().map_err(|_| ScaleError::NoNumber {
        text: text.to_owned(),
        place: place.to_owned(),
    })
}

/// `number`, or the next whole one above it.
pub(crate) fn ceiling(number: &BigDecimal) -> BigDecimal {
    number.with_scale_round(0, RoundingMode::Ceiling)
}

/// `number` with so many decimal places, half up, its thousands set apart.
pub(crate) fn grouped(number: &BigDecimal, places: i64) -> String {
    let text = number
        .with_scale_round(places, RoundingMode::HalfUp)
        .to_plain_string();
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text.as_str(), None),
    };
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        let left = whole.len() - index;
        if index > 0 && left % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if let Some(fraction) = fraction {
        grouped.push('.');
        grouped.push_str(fraction);
    }
    grouped
}

/// `number` as whole as a reader needs it: one decimal below ten.
pub(crate) fn about(number: &BigDecimal) -> String {
    let tenth = BigDecimal::new(1.into(), 1);
    if number > &BigDecimal::from(0) && number < &tenth {
        return "< 0.1".to_owned();
    }
    let small = number < &BigDecimal::from(10) && !number.is_integer();
    grouped(number, if small { 1 } else { 0 })
}

/// An estimate, to two digits: nobody knows more of it.
pub(crate) fn rough(number: &BigDecimal) -> String {
    let digits = number.with_scale(0).digits();
    let dropped = i64::try_from(digits).unwrap_or(i64::MAX).saturating_sub(2);
    let rounded = number.with_scale_round(-dropped.max(0), RoundingMode::HalfUp);
    grouped(&rounded, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> BigDecimal {
        parse(text, "a test").unwrap()
    }

    #[test]
    fn thousands_are_set_apart_and_halves_go_up() {
        for (number, places, expected) in [
            ("0", 0, "0"),
            ("999", 0, "999"),
            ("1000", 0, "1,000"),
            ("1234567.895", 2, "1,234,567.90"),
            ("0.005", 2, "0.01"),
            ("-1234.5", 0, "-1,235"),
            ("-123.4", 0, "-123"),
        ] {
            assert_eq!(grouped(&decimal(number), places), expected, "{number}");
        }
    }

    #[test]
    fn a_number_is_as_exact_as_a_reader_needs_it() {
        assert_eq!(about(&decimal("3.1415")), "3.1");
        assert_eq!(about(&decimal("4")), "4");
        assert_eq!(about(&decimal("0")), "0");
        assert_eq!(about(&decimal("0.09")), "< 0.1");
        assert_eq!(about(&decimal("1234.5")), "1,235");
        assert_eq!(rough(&decimal("6153.84")), "6,200");
        assert_eq!(rough(&decimal("7")), "7");
        assert_eq!(rough(&decimal("1000000")), "1,000,000");
    }

    #[test]
    fn what_is_no_number_is_named_with_its_place() {
        let error = parse("about 7", "a row").unwrap_err().to_string();
        assert_eq!(error, "\"about 7\" is no number: a row");
    }
}
