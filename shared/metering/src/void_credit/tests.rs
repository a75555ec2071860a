use billing::{Price, PriceTerms, TierTerms, TiersMode};
use ledger::VoidCredits;
use proptest::prelude::*;

use super::*;

fn price(unit_amount_decimal: &str) -> Price {
    let terms = PriceTerms::per_unit(unit_amount_decimal, "usd");
    terms.try_into().unwrap()
}

/// 10 units at 2 cents, then 1.5 cents each and $1 once.
fn graduated() -> Price {
    let tier = |up_to, unit: &str, flat: Option<&str>| TierTerms {
        up_to,
        unit_amount_decimal: Some(unit.to_owned()),
        flat_amount_decimal: flat.map(str::to_owned),
    };
    let terms = PriceTerms {
        currency: "usd".to_owned(),
        tiers_mode: Some(TiersMode::Graduated),
        tiers: vec![tier(Some(10), "2", None), tier(None, "1.5", Some("100"))],
        ..PriceTerms::default()
    };
    terms.try_into().unwrap()
}

fn cents(price: &Price, units: u64) -> i64 {
    price.cost(units).minor_units().unwrap()
}

fn billed_at(price: Price, units: u64) -> Basis {
    Basis::Billed {
        invoice_id: "in_1".to_owned(),
        amount: cents(&price, units),
        price,
        units,
    }
}

fn line(unit_amount_decimal: &str, units: u64) -> Basis {
    billed_at(price(unit_amount_decimal), units)
}

fn open(unit_amount_decimal: &str) -> Basis {
    Basis::Open {
        price: price(unit_amount_decimal),
    }
}

/// Credits one void after the other.
fn credits(voids: &[(Basis, u64)]) -> VoidCredits {
    let mut given = VoidCredits::default();
    for (basis, quantity) in voids {
        given.minor_units += basis.credit(&given, *quantity).unwrap();
        given.units += quantity;
    }
    given
}

#[test]
fn a_credit_is_what_the_line_costs_less() {
    // 3 units of 0.4 cents are a cent, 2 are a cent too.
    assert_eq!(credits(&[(line("0.4", 3), 1)]).minor_units, 0);
    assert_eq!(credits(&[(line("0.4", 3), 2)]).minor_units, 1);
    assert_eq!(credits(&[(line("2", 5), 5)]).minor_units, 10);
}

#[test]
fn many_small_credits_lose_nothing_to_rounding() {
    let voids = vec![(open("0.4"), 1); 10];
    assert_eq!(credits(&voids).minor_units, 4);
}

#[test]
fn nothing_is_credited_that_was_not_billed() {
    let free = Basis::Billed {
        invoice_id: "in_1".to_owned(),
        price: price("2"),
        units: 5,
        amount: 0,
    };
    assert_eq!(credits(&[(free, 5)]).minor_units, 0);
    assert_eq!(credits(&[(Basis::Unbilled, 5)]).minor_units, 0);
    assert_eq!(credits(&[(line("2", 5), 9)]).minor_units, 10);
}

#[test]
fn voided_units_come_off_the_highest_tier() {
    let basis = || billed_at(graduated(), 12);
    assert_eq!(credits(&[(basis(), 1)]).minor_units, 1, "1.5 cents of 3");
    assert_eq!(
        credits(&[(basis(), 2)]).minor_units,
        103,
        "the flat amount too"
    );
    assert_eq!(credits(&[(basis(), 1), (basis(), 4)]).minor_units, 109);
}

#[test]
fn in_tiers_a_credit_waits_for_the_final_invoice() {
    let open = Basis::Open { price: graduated() };
    let refused = open.credit(&VoidCredits::default(), 1);
    assert!(matches!(refused, Err(CreditError::NotFinal)), "{refused:?}");
}

#[test]
fn what_the_price_does_not_explain_is_left_to_the_operator() {
    let billed = Basis::Billed {
        invoice_id: "in_1".to_owned(),
        price: graduated(),
        units: 12,
        amount: cents(&graduated(), 12) + 1,
    };
    let refused = billed.credit(&VoidCredits::default(), 1);
    assert!(
        matches!(refused, Err(CreditError::Unexplained { .. })),
        "{refused:?}"
    );
}

proptest! {
    /// In tiers, with all of them after the invoice was final.
    #[test]
    fn the_credits_of_a_tiered_period_come_to_the_difference(
        voids in prop::collection::vec(1_u64..8, 1..8),
        kept in 0_u64..20,
    ) {
        let units = kept + voids.iter().sum::<u64>();
        let given: Vec<_> = voids.iter().map(|n| (billed_at(graduated(), units), *n)).collect();
        let due = cents(&graduated(), units) - cents(&graduated(), kept);
        prop_assert_eq!(credits(&given).minor_units, due);
    }

    /// However many, and however many of them before the invoice was final:
    /// once the last is credited, all come to what the line costs less.
    #[test]
    fn the_credits_of_a_period_come_to_the_difference(
        micro in 0_u64..3_000_000,
        early in prop::collection::vec(1_u64..50, 0..8),
        late in prop::collection::vec(1_u64..50, 1..8),
        kept in 0_u64..1_000,
    ) {
        let price = format!("{}.{:06}", micro / 1_000_000, micro % 1_000_000);
        let voided = early.iter().chain(&late).sum::<u64>();
        let units = kept + voided;
        let mut voids: Vec<_> = early.iter().map(|n| (open(&price), *n)).collect();
        voids.extend(late.iter().map(|n| (line(&price, units), *n)));
        let given = credits(&voids).minor_units;
        let due = cents(&self::price(&price), units) - cents(&self::price(&price), kept);
        // Early credits may have been rounded up by less than one unit.
        prop_assert!(given == due || given == due + 1, "{given} for {due}");
        if early.is_empty() {
            prop_assert_eq!(given, due);
        }
    }
}
