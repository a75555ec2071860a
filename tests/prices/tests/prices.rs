//! `PAIRS` random prices with usage (1,000 where nothing is said), of customers
//! who have one to three of them each, from `SEED` on: a customer's seed is that
//! of the first plus its number, so `PAIRS=1 SEED=…` repeats one with all its pairs.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::env;

use billing::TiersMode;
use prices::{Customer, Pair, compare};

const PAIRS: usize = 1_000;
/// So that no account grows beyond what it was made for.
const CUSTOMERS_PER_ACCOUNT: usize = 1_000;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_invoice_is_what_was_told_before() {
    let count = number("PAIRS").map_or(PAIRS, |pairs| usize::try_from(pairs).unwrap());
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    println!("{count} pairs: SEED={seed} PAIRS={count} cargo test -p prices");
    let mut pairs = 0;
    let customers: Vec<Customer> = (seed..)
        .map(Customer::of)
        .take_while(|customer| {
            let is_wanted = pairs < count;
            pairs += customer.pairs.len();
            is_wanted
        })
        .collect();
    let mut differences = Vec::new();
    let mut figures = 0;
    for customers in customers.chunks(CUSTOMERS_PER_ACCOUNT) {
        let (compared, found) = compare(customers).await.unwrap();
        figures += compared;
        differences.extend(found);
    }
    for difference in differences.iter().take(20) {
        println!(
            "SEED={} PAIRS=1: {}: {} has {:?} and not {:?}",
            difference.seed,
            difference.what,
            difference.figure,
            difference.stripes,
            difference.ours
        );
    }
    assert_eq!(figures, customers.len() * 2);
    assert!(
        differences.is_empty(),
        "{} figures differ",
        differences.len()
    );
}

#[test]
fn pairs_are_of_every_kind() {
    let customers: Vec<Customer> = (0..1_000).map(Customer::of).collect();
    for items in 1..=3 {
        let of_them = customers.iter().filter(|it| it.pairs.len() == items);
        assert!(of_them.count() > 200, "{items} items");
    }
    let pairs: Vec<Pair> = customers.into_iter().flat_map(|it| it.pairs).collect();
    let count = |is: &dyn Fn(&Pair) -> bool| pairs.iter().filter(|pair| is(pair)).count();
    let reaches = |pair: &Pair, tier: usize| {
        let below = tier
            .checked_sub(2)
            .and_then(|below| pair.terms.tiers.get(below));
        below
            .and_then(|tier| tier.up_to)
            .is_some_and(|up_to| pair.units > up_to)
    };
    let mode = |mode: TiersMode| move |pair: &Pair| pair.terms.tiers_mode == Some(mode);
    assert!(count(&|pair| pair.terms.transform_quantity.is_some()) > 100);
    assert!(count(&mode(TiersMode::Volume)) > 100);
    assert!(count(&mode(TiersMode::Graduated)) > 100);
    assert!(count(&|pair| mode(TiersMode::Graduated)(pair) && reaches(pair, 3)) > 30);
    assert!(count(&|pair| pair.units == 0) > 50);
    assert!(count(&|pair| pair.terms.currency == "jpy") > 50);
    assert!(count(&|pair| pair.terms.currency == "kwd") > 50);
    assert!(count(&|pair| pair.events.len() > 1) > 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_figure_that_is_off_is_found() {
    let mut customers: Vec<Customer> = (1..=100).map(Customer::of).collect();
    customers.retain(|customer| customer.pairs.len() == 3);
    customers.truncate(3);
    let seed = customers[1].seed;
    // Neither of the first item, whose meter has the right units.
    customers[1].pairs[1].units += 1;
    let (compared, differences) = compare(&customers).await.unwrap();
    assert_eq!(compared, 6);
    let found: Vec<_> = differences
        .iter()
        .map(|difference| (difference.seed, difference.figure))
        .collect();
    assert_eq!(found, [(seed, "preview"), (seed, "invoice")]);
}

/// Two meters' units are not the sum of them at one price.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn units_of_another_meter_are_another_cost() {
    let mut customers: Vec<Customer> = (1..=100).map(Customer::of).collect();
    customers.retain(|customer| {
        let units: Vec<u64> = customer.pairs.iter().map(|pair| pair.units).collect();
        matches!(units[..], [first, second] if first != second)
    });
    customers.truncate(5);
    for customer in &mut customers {
        let [first, second] = &mut customer.pairs[..] else {
            unreachable!("of two items");
        };
        std::mem::swap(&mut first.units, &mut second.units);
    }
    let (_, differences) = compare(&customers).await.unwrap();
    assert!(!differences.is_empty());
}
