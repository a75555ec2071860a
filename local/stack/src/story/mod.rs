//! The main job, played on a running system, be it this process or a deployment:
//! from a customer's card to a paid invoice. Every figure is read back through the API and from Stripe.

mod api;
pub(crate) mod customer;
pub(crate) mod documents;
pub(crate) mod faults;
mod narrator;
pub(crate) mod onboarding;
mod operations;
mod operator;
pub(crate) mod patience;
pub(crate) mod period;
mod place;
mod programs;
pub(crate) mod setup;
mod simulator;

use std::path::PathBuf;

use billing::Timestamp;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::http::{self, HttpClientError};
use crate::options::Pumping;
use crate::stripe_requests::StripeRequestError;

pub use api::{Answer, Api};
pub use narrator::Narrator;
pub use patience::Waiting;
pub use place::Place;
pub use programs::Program;

use customer::Customer;
use patience::Patience;

/// How the story is played.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of the documents that the agent summarises.
    pub documents: PathBuf,
    /// How many operations there are besides.
    pub operations: u64,
    /// Who moves the system: it itself, or the story.
    pub pumping: Pumping,
    /// How a system that moves by itself is looked at.
    pub waiting: Waiting,
}

impl Default for Settings {
    /// The documents of the repository, and a thousand operations.
    fn default() -> Self {
        Self {
            documents: PathBuf::from("examples/documents"),
            operations: 1_000,
            pumping: Pumping::Automatic,
            waiting: Waiting::on_this_machine(),
        }
    }
}

/// What stops the story before its end. A figure that is off does not: see
/// [`Narrator::wrong`].
#[derive(Debug, thiserror::Error)]
pub enum StoryError {
    /// No answer over HTTP.
    #[error("no answer")]
    Http(#[from] reqwest::Error),
    /// There is no HTTP client.
    #[error(transparent)]
    HttpClient(#[from] HttpClientError),
    /// Stripe failed.
    #[error("Stripe could not be asked to {operation}")]
    Stripe {
        /// What was being done.
        operation: &'static str,
        /// Stripe's error.
        #[source]
        source: stripe::Error,
    },
    /// Stripe failed, asked for what the functions do not ask for.
    #[error(transparent)]
    StripeRequest(#[from] StripeRequestError),
    /// A table failed.
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),
    /// The stream could not be rolled up.
    #[error(transparent)]
    Pump(#[from] crate::stream_pump::PumpError),
    /// Something that had to come did not.
    #[error("waited in vain: {0}")]
    WaitedInVain(String),
    /// A call that the story builds on was refused.
    #[error("{what} was answered {status}: {body}")]
    Refused {
        /// What was asked for.
        what: &'static str,
        /// The answer's status.
        status: u16,
        /// Its body.
        body: Value,
    },
    /// An answer is not of the expected form.
    #[error("{0} is not as expected")]
    Unexpected(String),
    /// A program was not built.
    #[error("the program {0} is not there: cargo build --workspace --bins")]
    NoProgram(&'static str),
    /// A program failed.
    #[error("{name} failed: {reason}")]
    ProgramFailed {
        /// The program.
        name: &'static str,
        /// What it said.
        reason: String,
    },
    /// The local state could not be read or a port not be had.
    #[error("the local system cannot be used")]
    Io(#[from] std::io::Error),
    /// There is no randomness for a name.
    #[error("the system has no randomness")]
    Random(#[from] getrandom::Error),
}

impl StoryError {
    pub(crate) fn stripe(operation: &'static str) -> impl Fn(stripe::Error) -> Self {
        move |source| Self::Stripe { operation, source }
    }
}

/// What every step works with.
pub(crate) struct Stage<'a> {
    pub(crate) place: Place,
    pub(crate) settings: &'a Settings,
    pub(crate) api: Api,
    pub(crate) http: reqwest::Client,
    /// Names this run: its customers, clocks and jobs.
    pub(crate) run: String,
}

/// Plays the story on a place, such as a [`System`](crate::System), telling it to
/// `narrator`. Answers the first customer's usage link.
///
/// # Errors
/// A [`StoryError`] where it cannot go on.
pub async fn play(
    place: impl Into<Place>,
    settings: &Settings,
    narrator: &mut Narrator,
) -> Result<String, StoryError> {
    let stage = Stage::new(place.into(), settings)?;
    narrator.step(1, "Stripe is set up: meterline setup");
    let meter_id = setup::play(&stage, narrator).await?;
    narrator.step(2, "A customer with a card comes in");
    let customer = onboarding::play(&stage, narrator).await?;
    narrator.step(3, "An agent summarises five documents, and bills each");
    let event_ids = documents::run_agent(&stage, narrator, &customer).await?;
    narrator.step(4, "The same five units everywhere");
    documents::compare(&stage, narrator, &customer, &meter_id, &event_ids).await?;
    let count = settings.operations;
    narrator.step(5, &format!("{count} more operations at once"));
    operations::play(&stage, narrator, &customer, &meter_id).await?;
    narrator.step(6, "The period ends");
    let units = 5 + settings.operations;
    period::play(&stage, narrator, &customer, &meter_id, units).await?;
    narrator.step(7, "What must not be billed");
    faults::play(&stage, narrator, &customer, &meter_id).await?;
    let link = stage.dashboard_link(&customer).await?;
    narrator.say("");
    narrator.say(format!("the customer's usage: {link}"));
    Ok(link)
}

impl<'a> Stage<'a> {
    /// A stage for one run on `place`.
    pub(crate) fn new(place: Place, settings: &'a Settings) -> Result<Self, StoryError> {
        Ok(Self {
            settings,
            api: Api::new(&place.url, place.api_key.clone())?,
            http: http::client()?,
            run: match &place.catalog_names.run_id {
                Some(run_id) => run_id.clone(),
                None => random_name()?,
            },
            place,
        })
    }
}

impl Stage<'_> {
    pub(crate) fn stripe(&self) -> &stripe::Client {
        &self.place.stripe
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.place.clock.now()
    }

    pub(crate) const fn patience(&self) -> Patience<'_> {
        Patience {
            stage: self,
            waiting: self.settings.waiting,
        }
    }

    /// A call that has to be answered with `status` for the story to go on.
    pub(crate) fn expect(
        what: &'static str,
        answer: Answer,
        statuses: &[u16],
    ) -> Result<Answer, StoryError> {
        if statuses.contains(&answer.status) {
            return Ok(answer);
        }
        Err(StoryError::Refused {
            what,
            status: answer.status,
            body: answer.body,
        })
    }

    async fn dashboard_link(&self, customer: &Customer) -> Result<String, StoryError> {
        let path = format!("/v1/customers/{}/dashboard-links", customer.customer_id);
        let wished = json!({ "billing_portal": true });
        let answer = self.api.post(&path, &wished).await?;
        let answer = Self::expect("a dashboard link", answer, &[200, 201])?;
        Ok(answer.text("/url"))
    }

    /// The report of the customer's current period.
    async fn report(&self, customer: &Customer) -> Result<Answer, StoryError> {
        let path = format!("/v1/customers/{}/usage", customer.customer_id);
        Self::expect("the usage report", self.api.get(&path).await?, &[200])
    }

    /// Waits until the report's total is `units`, and answers that report; the
    /// latest one where the total does not come.
    pub(crate) async fn report_of(
        &self,
        customer: &Customer,
        units: u64,
    ) -> Result<Answer, StoryError> {
        let waited = self
            .patience()
            .until("the report", async || {
                let report = self.report(customer).await?;
                Ok((report.body["total_units"] == units).then_some(report))
            })
            .await;
        match waited {
            Err(StoryError::WaitedInVain(_)) => self.report(customer).await,
            waited => waited,
        }
    }

    /// The units that Stripe's own summary has of the customer in a period.
    pub(crate) async fn units_in_stripe(
        &self,
        customer: &Customer,
        meter_id: &str,
        period: (i64, i64),
    ) -> Result<i64, StoryError> {
        if !self.stripe().usage_api().has_meter() {
            return self.usage_record_units(customer, period.0).await;
        }
        // Whole minutes; what is in the period's last part of one is in none.
        let list = stripe::ListMeterEventSummaries {
            customer: customer.customer_id.clone(),
            start_time: period.0.div_euclid(60) * 60,
            end_time: (period.1 + 59).div_euclid(60) * 60,
            value_grouping_window: None,
        };
        let summaries = self.stripe().list_meter_event_summaries(meter_id, &list);
        let summaries = summaries.await;
        let summaries = summaries.map_err(StoryError::stripe("sum up a meter's events"))?;
        Ok(summaries
            .iter()
            .map(|summary| summary.aggregated_value)
            .sum())
    }

    /// The same of the usage records in the period that begins at `start`.
    async fn usage_record_units(&self, customer: &Customer, start: i64) -> Result<i64, StoryError> {
        let item_id = &customer.subscription_item_id;
        let summaries = self.stripe().list_usage_record_summaries(item_id).await;
        let summaries = summaries.map_err(StoryError::stripe("sum up usage records"))?;
        let mut summaries = summaries.iter();
        let summary = summaries.find(|summary| summary.period.start == Some(start));
        let units = summary.map_or(0, |summary| summary.total_usage);
        i64::try_from(units).map_err(|_| StoryError::Unexpected("a sum of usage".to_owned()))
    }

    /// Waits until Stripe's summary is `units`; answers what it is at last.
    pub(crate) async fn stripe_reaches(
        &self,
        customer: &Customer,
        meter_id: &str,
        period: (i64, i64),
        units: u64,
    ) -> Result<i64, StoryError> {
        let waited = self
            .patience()
            .until("Stripe's event summary", async || {
                let found = self.units_in_stripe(customer, meter_id, period).await?;
                Ok((u64::try_from(found) == Ok(units)).then_some(found))
            })
            .await;
        match waited {
            Err(StoryError::WaitedInVain(_)) => {
                self.units_in_stripe(customer, meter_id, period).await
            }
            waited => waited,
        }
    }
}

pub(crate) fn random_name() -> Result<String, StoryError> {
    let mut bytes = [0; 5];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

/// A secret from the environment; an empty one counts as none.
fn secret_variable(name: &str) -> Option<SecretString> {
    std::env::var(name)
        .ok()
        .filter(|value| !value.is_empty())
        .map(SecretString::from)
}
