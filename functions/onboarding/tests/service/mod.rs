//! Onboarding's routes, served over HTTP.

use onboarding::State;

use crate::support::world::{LOOKUP_KEY, World};

/// Where they are, over the tables and the Stripe of `world`.
pub(crate) async fn serve(world: &World) -> String {
    serve_with(world, world.impatient_stripe()).await
}

/// The same, by another way to Stripe.
pub(crate) async fn serve_with(world: &World, stripe: stripe::Client) -> String {
    let state = State::new(
        world.ledger.clone(),
        stripe,
        LOOKUP_KEY.to_owned(),
        world.clock(),
    );
    world.serve(onboarding::router(state)).await
}
