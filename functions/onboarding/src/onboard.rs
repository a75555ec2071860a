//! One onboarding per external id: begun, gone on with, or found finished.

use std::sync::Arc;
use std::time::Duration;

use billing::{Clock, CustomerId};
use ledger::{CustomerRow, Ledger, OnboardingRow, Started};
use metering::METADATA_PAYMENT_METHOD;
use tokio::time::{Instant, timeout_at};

use crate::error::OnboardingError;
use crate::outcome::Outcome;
use crate::request::{OnboardingKey, Payment, Request};
use crate::steps::Steps;

/// All of an onboarding's calls to Stripe end within this time, before the
/// API's 30 seconds are over: the answer then still says what is wrong.
const BUDGET: Duration = Duration::from_secs(24);

/// Brings customers into Stripe and the tables.
pub(crate) struct Onboarder {
    pub(crate) ledger: Ledger,
    pub(crate) stripe: stripe::Client,
    pub(crate) price_lookup_key: String,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Onboarder {
    /// Onboards, goes on with an onboarding, or finds the customer that it led to.
    pub(crate) async fn onboard(&self, request: &Request) -> Result<Outcome, OnboardingError> {
        match self.start(request).await? {
            Progress::Finished(customer) => {
                self.check_finished(&customer, request).await?;
                Ok(Outcome::Onboarded(customer))
            }
            Progress::Begun { resumes } => self.go_on(request, resumes).await,
        }
    }

    /// Does what is left of an onboarding; `resumes` says whether an earlier run
    /// may have done some of it.
    pub(crate) async fn go_on(
        &self,
        request: &Request,
        resumes: bool,
    ) -> Result<Outcome, OnboardingError> {
        let deadline = self.deadline();
        let steps = Steps {
            onboarder: self,
            request,
            resumes,
            deadline,
        };
        let outcome = timeout_at(deadline, steps.run()).await;
        let outcome = outcome.map_err(|_| OnboardingError::OutOfTime)??;
        if let (OnboardingKey::Given(_), Outcome::Onboarded(customer)) =
            (&request.onboarding, &outcome)
        {
            let row_key = row_key(&request.onboarding);
            self.ledger
                .finish_onboarding(&row_key, &customer.customer_id)
                .await?;
        }
        Ok(outcome)
    }

    /// When the calls to Stripe of a request that comes now must have ended.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + BUDGET
    }

    /// A customer who was onboarded.
    pub(crate) async fn known(
        &self,
        customer_id: &CustomerId,
    ) -> Result<CustomerRow, OnboardingError> {
        let customer = self.ledger.customer(customer_id).await?;
        customer.ok_or(OnboardingError::Unknown)
    }

    async fn start(&self, request: &Request) -> Result<Progress, OnboardingError> {
        if let OnboardingKey::OneCall(_) = request.onboarding {
            return Ok(Progress::Begun { resumes: false });
        }
        let row = OnboardingRow {
            onboarding_key: row_key(&request.onboarding),
            request_hash: request.fingerprint(),
            started_at: self.clock.now(),
            terms: Some(self.kept(request)),
            customer_id: None,
        };
        let before = match self.ledger.start_onboarding(&row).await? {
            Started::New => return Ok(Progress::Begun { resumes: false }),
            Started::Before(before) => before,
        };
        if before.request_hash != row.request_hash {
            return Err(OnboardingError::Conflict("email, test_clock or terms"));
        }
        let customer = match &before.customer_id {
            Some(customer_id) => self.ledger.customer(customer_id).await?,
            None => None,
        };
        Ok(match customer {
            Some(customer) => Progress::Finished(Box::new(customer)),
            None => Progress::Begun { resumes: true },
        })
    }

    /// A finished onboarding was for one payment method, which Stripe keeps
    /// with the customer. Where somebody removed it there, nothing contradicts.
    async fn check_finished(
        &self,
        customer: &CustomerRow,
        request: &Request,
    ) -> Result<(), OnboardingError> {
        let customer = self
            .stripe
            .retrieve_customer(customer.customer_id.as_str())
            .await;
        let customer = customer.map_err(OnboardingError::stripe("retrieve customer"))?;
        if customer.deleted {
            return Err(OnboardingError::Deleted);
        }
        let known = customer.metadata.get(METADATA_PAYMENT_METHOD);
        match (&request.payment, known) {
            (Payment::Given(given), Some(known)) if given != known => {
                Err(OnboardingError::Conflict("payment_method"))
            }
            _ => Ok(()),
        }
    }
}

enum Progress {
    Begun { resumes: bool },
    Finished(Box<CustomerRow>),
}

pub(crate) fn row_key(onboarding: &OnboardingKey) -> String {
    format!("onboarding#{}", onboarding.as_str())
}
