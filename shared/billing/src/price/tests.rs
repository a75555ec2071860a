use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

mod fractions;

fn read(terms: Value) -> Result<Price, String> {
    serde_json::from_value(terms).map_err(|error| error.to_string())
}

fn price(terms: Value) -> Price {
    read(terms).unwrap()
}

fn per_unit(unit_amount: &str, currency: &str) -> Price {
    PriceTerms::per_unit(unit_amount, currency)
        .try_into()
        .unwrap()
}

/// 5 units at 7, 5 more at 6.5 and 100 once, the rest at 6 cents.
fn tiered(mode: &str) -> Price {
    price(json!({ "currency": "usd", "tiers_mode": mode, "tiers": [
        { "up_to": 5, "unit_amount_decimal": "7" },
        { "up_to": 10, "unit_amount_decimal": "6.5", "flat_amount_decimal": "100" },
        { "up_to": null, "unit_amount_decimal": "6" },
    ]}))
}

#[track_caller]
fn assert_costs(price: &Price, costs: &[(u64, &str)]) {
    for (units, cost) in costs {
        assert_eq!(price.cost(*units).to_string(), *cost, "{units} units");
    }
}

#[test]
fn two_cents_a_unit() {
    let costs = [(0, "0.00"), (5, "0.10"), (1_005, "20.10")];
    assert_costs(&per_unit("2", "usd"), &costs);
}

#[test]
fn a_line_is_rounded_once_and_half_up() {
    assert_costs(&per_unit("0.5", "usd"), &[(1, "0.01")]);
    assert_costs(&per_unit("0.499999999999", "usd"), &[(1, "0.00")]);
    assert_costs(&per_unit("0.1", "usd"), &[(14, "0.01"), (15, "0.02")]);
    let least = per_unit("0.000000000001", "usd");
    assert_costs(&least, &[(u64::MAX, "184467.44")]);
}

#[test]
fn amounts_are_in_the_currencys_minor_units() {
    assert_costs(&per_unit("3", "jpy"), &[(7, "21")]);
    assert_costs(&per_unit("0.5", "jpy"), &[(1, "1"), (4, "2")]);
    assert_costs(&per_unit("1500", "kwd"), &[(2, "3.000")]);
}

#[test]
fn graduated_units_cost_what_their_own_tier_says() {
    let costs = [
        (0, "0.00"),
        (5, "0.35"),
        // 35 for the first five, 7 for 6.5, and 100 once.
        (6, "1.42"),
        (10, "1.68"),
        (12, "1.80"),
    ];
    assert_costs(&tiered("graduated"), &costs);
}

#[test]
fn by_volume_all_units_cost_what_the_last_ones_tier_says() {
    let costs = [
        (0, "0.00"),
        (5, "0.35"),
        (6, "1.39"),
        (10, "1.65"),
        // Less than 10 units: Stripe says so too ("Tiered pricing").
        (11, "0.66"),
    ];
    assert_costs(&tiered("volume"), &costs);
}

#[test]
fn the_first_flat_amount_is_owed_for_no_usage_too() {
    for mode in ["graduated", "volume"] {
        let price = price(json!({ "currency": "usd", "tiers_mode": mode, "tiers": [
            { "up_to": 100, "flat_amount_decimal": "999" },
            { "up_to": null, "unit_amount_decimal": "0.02" },
        ]}));
        assert_costs(&price, &[(0, "9.99"), (100, "9.99")]);
    }
}

/// As an invoice of Stripe's has it: 1000 units in a tier at 0 cents and $9, 31
/// units at 3.6 cents and $0.
#[test]
fn an_invoice_of_stripes_comes_to_the_same() {
    let price = price(
        json!({ "currency": "usd", "tiers_mode": "graduated", "tiers": [
            { "up_to": 1_000, "unit_amount_decimal": "0", "flat_amount_decimal": "900" },
            { "up_to": null, "unit_amount_decimal": "3.6", "flat_amount_decimal": "0" },
        ]}),
    );
    assert_costs(&price, &[(1_031, "10.12")]);
}

#[test]
fn each_tier_and_each_flat_amount_is_rounded_by_itself() {
    let price = price(
        json!({ "currency": "usd", "tiers_mode": "graduated", "tiers": [
            { "up_to": 1, "unit_amount_decimal": "0.5", "flat_amount_decimal": "0.5" },
            { "up_to": null, "unit_amount_decimal": "0.5" },
        ]}),
    );
    assert_costs(
        &price,
        &[(0, "0.01"), (1, "0.02"), (2, "0.03"), (3, "0.03")],
    );
}

#[test]
fn packages_count_begun_or_full() {
    let packages = |round: &str| {
        price(json!({ "currency": "usd", "unit_amount_decimal": "250",
            "transform_quantity": { "divide_by": 1_000, "round": round } }))
    };
    let up = [(0, "0.00"), (1, "2.50"), (1_000, "2.50"), (1_001, "5.00")];
    assert_costs(&packages("up"), &up);
    let down = [(999, "0.00"), (1_000, "2.50"), (1_999, "2.50")];
    assert_costs(&packages("down"), &down);
    assert_costs(&packages("up"), &[(u64::MAX, "46116860184273880.00")]);
}

#[test]
fn by_volume_the_most_and_the_least_may_lie_within_a_span_of_units() {
    let volume = price(
        json!({ "currency": "usd", "tiers_mode": "volume", "tiers": [
        { "up_to": 1_000, "unit_amount_decimal": "10" }, { "unit_amount_decimal": "5" },
    ] }),
    );
    let span = |price: &Price, fewest, most| {
        let ends = [price.cheapest(fewest, most), price.dearest(fewest, most)];
        ends.map(|cost| cost.to_string())
    };
    assert_eq!(span(&volume, 900, 1_100), ["50.05", "100.00"]);
    assert_eq!(span(&volume, 900, 1_000), ["90.00", "100.00"]);
    assert_eq!(span(&volume, 1_001, 1_100), ["50.05", "55.00"]);
    assert_eq!(span(&per_unit("2", "usd"), 900, 1_100), ["18.00", "22.00"]);
}

#[test]
fn a_range_has_a_cost_where_units_do_not_depend_on_each_other() {
    let two_cents = per_unit("2", "usd");
    assert_eq!(two_cents.cost_of_range(5), Ok(two_cents.cost(5)));
    for mode in ["graduated", "volume"] {
        assert_eq!(tiered(mode).cost_of_range(5), Err(NoRangeCost::Tiers));
    }
    let packages = json!({ "currency": "usd", "unit_amount_decimal": "2",
        "transform_quantity": { "divide_by": 10, "round": "up" } });
    let refused = price(packages).cost_of_range(5);
    assert_eq!(refused, Err(NoRangeCost::TransformQuantity));
}

#[test]
fn the_parts_of_a_line_come_to_the_whole_before_it_is_rounded() {
    let quarter = per_unit("0.25", "usd");
    let (one, six) = (
        quarter.exact_cost(1).unwrap(),
        quarter.exact_cost(6).unwrap(),
    );
    assert_eq!(
        (one.to_string(), six.to_string()),
        ("0.0025".into(), "0.015".into())
    );
    let whole = one.checked_add(&six).unwrap();
    assert_eq!(whole, quarter.exact_cost(7).unwrap());
    assert_eq!(whole.to_string(), "0.0175");
    assert_eq!(quarter.exact_cost(400).unwrap().to_string(), "1.00");
    assert_eq!(
        per_unit("3", "jpy").exact_cost(7).unwrap().to_string(),
        "21"
    );
    let euros = per_unit("1", "eur").exact_cost(1).unwrap();
    assert_eq!(one.checked_add(&euros), None);
    let refused = tiered("volume").exact_cost(1);
    assert_eq!(refused, Err(NoRangeCost::Tiers));
}

#[test]
fn what_stripe_would_not_have_is_refused_by_name() {
    let tiers = json!([{ "up_to": 5, "unit_amount_decimal": "1" }, { "up_to": null }]);
    let packages = json!({ "divide_by": 10, "round": "up" });
    let refusals = [
        (json!({}), "an amount per unit, or tiers"),
        (
            json!({ "currency": "USD", "unit_amount_decimal": "1" }),
            "three-letter",
        ),
        (
            json!({ "unit_amount_decimal": "1", "tiers_mode": "volume", "tiers": tiers }),
            "not both",
        ),
        (
            json!({ "unit_amount_decimal": "1", "tiers": tiers }),
            "not both",
        ),
        (json!({ "tiers": tiers }), "a tiers_mode is missing"),
        (json!({ "tiers_mode": "volume" }), "there are none"),
        (json!({ "tiers_mode": "stairs", "tiers": tiers }), "stairs"),
        (
            json!({ "tiers_mode": "volume", "tiers": tiers, "transform_quantity": packages }),
            "not with tiers",
        ),
        (
            json!({ "unit_amount_decimal": "1", "transform_quantity": { "divide_by": 0, "round": "up" } }),
            "1 or more",
        ),
        (
            json!({ "tiers_mode": "volume", "tiers": [{ "up_to": 5 }] }),
            "the last tier has an end",
        ),
        (
            json!({ "tiers_mode": "volume", "tiers": [{ "up_to": 0 }, { "up_to": null }] }),
            "tier 1 ends",
        ),
        (
            json!({ "tiers_mode": "volume", "tiers": [{ "up_to": 5 }, { "up_to": 5 }, { "up_to": null }] }),
            "tier 2 ends",
        ),
        (
            json!({ "tiers_mode": "volume", "tiers": [{ "up_to": null }, { "up_to": null }] }),
            "tier 1 has no end",
        ),
        (
            json!({ "tiers_mode": "volume", "tiers": [{ "up_to": null, "flat_amount_decimal": "-1" }] }),
            "\"-1\"",
        ),
    ];
    for (mut terms, reason) in refusals {
        if terms["currency"].is_null() {
            terms["currency"] = "usd".into();
        }
        let error = read(terms.clone()).unwrap_err();
        assert!(error.contains(reason), "{terms}: {error}");
    }
    for amount in ["", "-1", "1e9", "0.0000000000001", "1,5", "two", "."] {
        let terms = PriceTerms::per_unit(amount, "usd");
        let refused = Err(InvalidPrice::Amount(amount.to_owned()));
        assert_eq!(Price::try_from(terms), refused);
    }
}

#[test]
fn a_price_is_told_in_major_units() {
    assert_eq!(per_unit("2", "usd").to_string(), "0.02 usd a unit");
    assert_eq!(per_unit("250.0", "usd").to_string(), "2.50 usd a unit");
    assert_eq!(
        per_unit("0.000001", "usd").to_string(),
        "0.00000001 usd a unit"
    );
    assert_eq!(per_unit("3", "jpy").to_string(), "3 jpy a unit");
    let packages = json!({ "currency": "usd", "unit_amount_decimal": "250",
        "transform_quantity": { "divide_by": 1_000, "round": "up" } });
    assert_eq!(
        price(packages).to_string(),
        "2.50 usd for 1000 units, begun ones too"
    );
    assert_eq!(
        tiered("graduated").to_string(),
        "graduated tiers in usd: up to 5 0.07 a unit, up to 10 0.065 a unit and 1.00, beyond 0.06 a unit"
    );
}

#[test]
fn a_price_of_one_amount_is_stored_as_two_texts() {
    let stored = serde_json::to_value(per_unit("2.500", "usd")).unwrap();
    assert_eq!(
        stored,
        json!({ "currency": "usd", "unit_amount_decimal": "2.5" })
    );
}

fn an_amount() -> impl Strategy<Value = String> {
    (0_u64..=5_000, 0_u64..1_000_000_000_000, 0_u32..=12).prop_map(|(whole, parts, decimals)| {
        let fraction = format!("{parts:012}");
        match decimals {
            0 => whole.to_string(),
            decimals => format!("{whole}.{}", &fraction[..decimals as usize]),
        }
    })
}

/// Tiers as JSON: up to six, of 1 to 1,000 units each, with an amount per unit,
/// a flat amount, or both.
fn a_tiered_price() -> impl Strategy<Value = Value> {
    let tier = (
        1_u64..=1_000,
        proptest::option::of(an_amount()),
        proptest::option::of(an_amount()),
    );
    (prop::bool::ANY, prop::collection::vec(tier, 1..=6)).prop_map(|(is_graduated, tiers)| {
        let mode = if is_graduated { "graduated" } else { "volume" };
        let mut up_to = 0;
        let mut terms: Vec<Value> = Vec::new();
        for (length, unit_amount, flat_amount) in tiers {
            up_to += length;
            terms.push(json!({ "up_to": up_to, "unit_amount_decimal": unit_amount,
                "flat_amount_decimal": flat_amount }));
        }
        terms.last_mut().unwrap()["up_to"] = Value::Null;
        json!({ "currency": "usd", "tiers_mode": mode, "tiers": terms })
    })
}

fn a_price_per_unit() -> impl Strategy<Value = Value> {
    let packages = proptest::option::of((1_u64..=2_000, prop::bool::ANY));
    (an_amount(), packages).prop_map(|(unit_amount, packages)| {
        let mut terms = json!({ "currency": "jpy", "unit_amount_decimal": unit_amount });
        if let Some((divide_by, is_up)) = packages {
            let round = if is_up { "up" } else { "down" };
            terms["transform_quantity"] = json!({ "divide_by": divide_by, "round": round });
        }
        terms
    })
}

fn any_price() -> impl Strategy<Value = Value> {
    prop_oneof![a_price_per_unit(), a_tiered_price()]
}

/// No units, those around the tiers' ends, and very many.
fn a_quantity() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), 0_u64..=7_000, 0..=u64::MAX]
}

proptest! {
    #[test]
    fn costs_agree_with_fractions(terms in any_price(), units in a_quantity()) {
        let cost = price(terms.clone()).cost(units);
        let expected = fractions::cost(&terms, units);
        prop_assert_eq!(cost, Money::new(expected, price(terms).currency().clone()));
    }

    /// Unit after unit, each looked up in the tiers.
    #[test]
    fn graduated_costs_agree_with_a_walk(terms in a_tiered_price(), units in 0_u64..=3_000) {
        prop_assume!(terms["tiers_mode"] == "graduated");
        let cost = price(terms.clone()).cost(units);
        let expected = fractions::walk(&terms, units);
        prop_assert_eq!(cost, Money::new(expected, Currency::parse("usd").unwrap()));
    }

    #[test]
    fn a_stored_price_is_read_as_it_was(terms in any_price()) {
        let price = price(terms);
        let stored = serde_json::to_value(&price).unwrap();
        prop_assert_eq!(read(stored), Ok(price));
    }

    #[test]
    fn more_graduated_units_never_cost_less(terms in a_tiered_price(), units in 0_u64..=7_000) {
        prop_assume!(terms["tiers_mode"] == "graduated");
        let price = price(terms);
        let cents = |units| price.cost(units).minor_units();
        prop_assert!(cents(units) <= cents(units + 1));
    }
}
