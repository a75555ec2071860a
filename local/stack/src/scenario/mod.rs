//! The main job against Stripe itself, in test mode: DynamoDB and the functions
//! run here, everything of Stripe's is real. It uses what Stripe offers to
//! everybody and nothing of the simulator's own controls, so that a simulator
//! elsewhere is as good a place to try it.
//!
//! | module | does |
//! | --- | --- |
//! | [`settings`] | checks the key before anything is asked of Stripe |
//! | `usage`, `correction` | usage, one by one and by the batch; an event that is voided |
//! | `questions` | asks Stripe what its reference does not say |
//! | `clean_up` | ends what the run has made |

mod clean_up;
mod correction;
mod questions;
pub mod settings;
mod usage;

use std::future::Future;

use crate::http::HttpClientError;
use crate::options::Options;
use crate::story::customer::Customer;
use crate::story::{self, Narrator, Settings, Stage, StoryError, Waiting, period};
use crate::stripe_requests::StripeRequests;
use crate::system::{StartError, System};

pub use settings::{SettingsError, new_run_id, options, parse_run_id};

/// What becomes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It came to its end; the narrator knows of every figure.
    Played,
    /// It was told to stop.
    Interrupted,
}

/// What stops a scenario before its end.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The system does not start, or not stop.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A step cannot go on.
    #[error(transparent)]
    Story(#[from] StoryError),
    /// There is no HTTP client.
    #[error(transparent)]
    HttpClient(#[from] HttpClientError),
    /// The options name no Stripe elsewhere, or no run.
    #[error("a scenario needs a Stripe that runs elsewhere, and the id of a run")]
    NotElsewhere,
}

/// As the story, with the patience that Stripe itself needs.
pub fn story_settings() -> Settings {
    Settings {
        waiting: Waiting::on_stripe(),
        ..Settings::default()
    }
}

/// Starts the system that `options` (of [`options`]) describe, plays on it and
/// ends in Stripe what was made there, also where a step fails or
/// `interrupted` comes first.
///
/// # Errors
/// A [`ScenarioError`], after the clean-up.
pub async fn run(
    options: Options,
    settings: &Settings,
    narrator: &mut Narrator,
    interrupted: impl Future<Output = ()>,
) -> Result<Outcome, ScenarioError> {
    let (requests, run_id) = parts(&options)?;
    announce(narrator, &options, &run_id);
    let played = tokio::select! {
        played = start_and_play(options, settings, &requests, narrator) => played.map(|()| Outcome::Played),
        () = interrupted => Ok(Outcome::Interrupted),
    };
    narrator.step(10, "What was made in Stripe is ended");
    clean_up::clean_up(&requests, &run_id, narrator).await;
    played
}

/// Ends in Stripe what an earlier run has left, whose id the `options` have.
///
/// # Errors
/// A [`ScenarioError`], before anything is asked of Stripe.
pub async fn clean_up(
    options: &Options,
    narrator: &mut Narrator,
) -> Result<Outcome, ScenarioError> {
    let (requests, run_id) = parts(options)?;
    clean_up::clean_up(&requests, &run_id, narrator).await;
    Ok(Outcome::Played)
}

fn parts(options: &Options) -> Result<(StripeRequests, String), ScenarioError> {
    let (Some(elsewhere), Some(run_id)) = (&options.stripe_elsewhere, &options.run_id) else {
        return Err(ScenarioError::NotElsewhere);
    };
    let requests = StripeRequests::new(&elsewhere.api_base, elsewhere.secret_key.clone())?;
    Ok((requests, run_id.clone()))
}

fn announce(narrator: &mut Narrator, options: &Options, run_id: &str) {
    let api_base = options.stripe_elsewhere.as_ref();
    let api_base = api_base.map_or("", |elsewhere| &elsewhere.api_base);
    narrator.say(format!("run {run_id}, against Stripe at {api_base}"));
    narrator.say("It makes there, in test mode, and ends it again when it is over:");
    for what in [
        "a product, a price of 0.02 usd a unit and its meter, with the run's id in their names",
        "two test clocks with one customer each, a test card and a subscription",
        "the usage, invoices and payments of these customers",
    ] {
        narrator.say(format!("- {what}"));
    }
    narrator.say(format!(
        "If it is killed: meterline-local scenario --clean {run_id}"
    ));
}

async fn start_and_play(
    options: Options,
    settings: &Settings,
    requests: &StripeRequests,
    narrator: &mut Narrator,
) -> Result<(), ScenarioError> {
    let system = System::start(options).await?;
    let played = play(&system, settings, requests, narrator).await;
    system.stop().await?;
    Ok(played?)
}

async fn play(
    system: &System,
    settings: &Settings,
    requests: &StripeRequests,
    narrator: &mut Narrator,
) -> Result<(), StoryError> {
    let stage = Stage::new(system.into(), settings)?;
    narrator.step(1, "Stripe is set up: meterline setup");
    let meter_id = story::setup::play(&stage, narrator).await?;
    narrator.step(2, "A customer with a card comes in, on a test clock");
    let customer = story::onboarding::play(&stage, narrator).await?;
    narrator.step(3, "Usage, one by one and by the batch, and repeats of it");
    usage::emit(&stage, narrator, &customer).await?;
    narrator.step(4, "The same units everywhere, and their cost");
    usage::compare(&stage, narrator, &customer, &meter_id, usage::UNITS).await?;
    narrator.step(5, "An event is taken back");
    let units = correction::play(&stage, narrator, &customer, &meter_id).await?;
    narrator.step(6, "What never reaches Stripe");
    story::faults::refused_here(&stage, narrator, &customer).await?;
    narrator.step(7, "The period ends");
    let first_period = stage.current_period(&customer).await?;
    end_period(&stage, requests, narrator, &customer, &meter_id, units).await?;
    narrator.step(8, "Does what is billed agree with what was used?");
    correction::reconcile(&stage, narrator, &customer, first_period, units).await?;
    narrator.step(9, "What only Stripe can say, and its answers today");
    questions::ask(&stage, narrator, &customer, &meter_id).await
}

async fn end_period(
    stage: &Stage<'_>,
    requests: &StripeRequests,
    narrator: &mut Narrator,
    customer: &Customer,
    meter_id: &str,
    units: u64,
) -> Result<(), StoryError> {
    let (_, period_end) = stage.current_period(customer).await?;
    questions::look_at_draft(stage, requests, narrator, customer, period_end).await?;
    let invoice = period::end_period_at(stage, customer, period_end, "paid").await?;
    period::paid_invoice(stage, narrator, customer, units, &invoice).await?;
    let defaulter = period::first_attempt_fails(stage, narrator, meter_id).await?;
    narrator
        .say("left out: what follows Stripe's last attempt, which the account's settings decide");
    period::paying_brings_back(stage, narrator, &defaulter).await?;
    narrator.say("left out: Stripe's outages and lost answers, which cannot be ordered from it");
    Ok(())
}
