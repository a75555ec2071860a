//! Every function that has a hand in usage, ended everywhere, and the count of
//! what is left; and that the count finds what is planted.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failed step is a failed test"
)]

mod batch;
mod careless;
mod courier;
mod emission;
mod event_sweep;
mod limits;
mod planted;
mod redelivery;
mod reservations;
mod rollup;
mod void;
mod webhook;

use crash::{Aftermath, Claim, Scenario, Sweep, World};

/// How often everything is repeated; set it for a longer run.
const ROUNDS: &str = "CRASH_ROUNDS";

/// Ends `scenario`'s process everywhere, with each of the aftermaths.
async fn sweep(what: &str, world: &World, scenario: &mut impl Scenario, rounds: u32) {
    for aftermath in [Aftermath::Nothing, Aftermath::Retry, Aftermath::TwoAtOnce] {
        sweep_with(what, world, scenario, aftermath, rounds).await;
    }
}

/// Ends `scenario`'s process everywhere, `rounds` times, or [`ROUNDS`] times that.
async fn sweep_with(
    what: &str,
    world: &World,
    scenario: &mut impl Scenario,
    aftermath: Aftermath,
    rounds: u32,
) {
    let times = std::env::var(ROUNDS).map_or(1, |times| times.parse().unwrap());
    let sweep = Sweep::run(world, scenario, aftermath, rounds * times).await;
    sweep.print(what, aftermath);
}

/// Totals and outbox before anything is brought to rest, and everything after.
async fn assert_all_counted_once(world: &World, claims: &[Claim]) {
    world.assert_stream_is_counted().await;
    world.rest().await;
    let findings = world.findings(claims).await;
    assert!(findings.is_empty(), "{findings:#?}");
    let acknowledged = claims.iter().filter(|claim| claim.acknowledged).count();
    println!(
        "{acknowledged} of {} events were acknowledged; each counts once, and no other twice",
        claims.len()
    );
}
