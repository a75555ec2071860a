//! `PAIRS` random prices with usage (1,000 where nothing is said), from `SEED`
//! on: a pair's seed is that of the first plus its number, so `PAIRS=1 SEED=…`
//! repeats one.
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::env;

use billing::TiersMode;
use prices::{Pair, compare};

const PAIRS: u64 = 1_000;
/// So that no account grows beyond what it was made for.
const PAIRS_PER_ACCOUNT: usize = 1_000;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_invoice_is_what_was_told_before() {
    let count = number("PAIRS").unwrap_or(PAIRS);
    let seed = number("SEED").unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    println!("{count} pairs: SEED={seed} PAIRS={count} cargo test -p prices");
    let pairs: Vec<Pair> = (seed..)
        .take(usize::try_from(count).unwrap())
        .map(Pair::of)
        .collect();
    let mut differences = Vec::new();
    let mut figures = 0;
    for pairs in pairs.chunks(PAIRS_PER_ACCOUNT) {
        let (compared, found) = compare(pairs).await.unwrap();
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
    assert_eq!(figures, pairs.len() * 2);
    assert!(
        differences.is_empty(),
        "{} figures differ",
        differences.len()
    );
}

#[test]
fn pairs_are_of_every_kind() {
    let pairs: Vec<Pair> = (0..1_000).map(Pair::of).collect();
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
    let mut pairs: Vec<Pair> = (1..=3).map(Pair::of).collect();
    pairs[1].units += 1;
    let (compared, differences) = compare(&pairs).await.unwrap();
    assert_eq!(compared, 6);
    let found: Vec<_> = differences
        .iter()
        .map(|difference| (difference.seed, difference.figure))
        .collect();
    assert_eq!(found, [(2, "preview"), (2, "invoice")]);
}
