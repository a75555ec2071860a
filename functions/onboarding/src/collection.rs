//! The payment method of somebody who has to enter it first.
//!
//! Nothing of it is kept here: Stripe knows which sessions and setups a customer
//! has, and their number names the next one. So a repeat shows the page that is
//! open, finds what was entered, or opens another page where the last one
//! expired, and two calls at once open one.

use billing::Timestamp;
use metering::MeteredPrice;
use stripe::{
    CheckoutMode, CheckoutSession, CreateCheckoutSession, CreateSetupIntent, Customer,
    IdempotencyKey, SetupIntent,
};

use crate::error::OnboardingError;
use crate::outcome::{Awaited, Way};
use crate::request::Payment;
use crate::steps::{CREATIONS_MAX, Steps};

/// On setup intents: that the operator's own form completes them, not Checkout.
const METADATA_SETUP: &str = "meterline_setup";
const SETUP_BY_FORM: &str = "form";

impl Steps<'_> {
    /// Makes what was entered the payment method that is charged; what is
    /// awaited where nothing was yet.
    pub(crate) async fn collect_payment_method(
        &self,
        customer: &Customer,
        price: &MeteredPrice,
    ) -> Result<Option<Awaited>, OnboardingError> {
        let way = match &self.request.payment {
            Payment::Given(_) => return Ok(None),
            Payment::Known => return self.check_default(customer).await,
            Payment::SetupIntent => None,
            Payment::Checkout {
                success_url,
                cancel_url,
            } => Some((success_url, cancel_url)),
        };
        // The sessions first: one that is completed meanwhile has its setup among
        // those that are listed next.
        let sessions = match way {
            Some(_) => self.sessions(&customer.id).await?,
            None => Vec::new(),
        };
        let setups = self.setups(&customer.id).await?;
        if self.charge_by_setup(&customer.id, &setups).await? {
            return Ok(None);
        }
        let way = match way {
            Some((success_url, cancel_url)) => {
                let session = CreateCheckoutSession {
                    mode: CheckoutMode::Setup {
                        currency: price.price.currency().as_str().to_owned(),
                    },
                    customer: customer.id.clone(),
                    success_url: success_url.clone(),
                    cancel_url: cancel_url.clone(),
                    keeps_address: self.request.terms.automatic_tax && !self.request.has_address(),
                    metadata: self.metadata(),
                    ..Default::default()
                };
                self.open_session(&session, sessions).await?
            }
            None => self.open_setup(&customer.id, setups).await?,
        };
        Ok(Some(Awaited {
            customer_id: customer.id.clone(),
            way,
        }))
    }

    /// A customer pays by what this onboarding asked for, else as before, else
    /// not at all.
    async fn check_default(&self, customer: &Customer) -> Result<Option<Awaited>, OnboardingError> {
        let setups = self.setups(&customer.id).await?;
        if self.charge_by_setup(&customer.id, &setups).await?
            || customer.invoice_settings.default_payment_method.is_some()
        {
            return Ok(None);
        }
        Err(OnboardingError::NoPaymentMethod)
    }

    /// The customer's sessions of this onboarding, the newest first.
    async fn sessions(&self, customer_id: &str) -> Result<Vec<CheckoutSession>, OnboardingError> {
        let sessions = self.stripe().list_checkout_sessions(customer_id).await;
        let sessions = sessions.map_err(OnboardingError::stripe("list Checkout sessions"))?;
        let ours = sessions
            .into_iter()
            .filter(|session| self.is_of_this_onboarding(&session.metadata));
        Ok(ours.collect())
    }

    /// The customer's setups of this onboarding, the newest first, Checkout's too.
    async fn setups(&self, customer_id: &str) -> Result<Vec<SetupIntent>, OnboardingError> {
        let setups = self.stripe().list_setup_intents(customer_id).await;
        let setups = setups.map_err(OnboardingError::stripe("list setup intents"))?;
        let ours = setups
            .into_iter()
            .filter(|setup| self.is_of_this_onboarding(&setup.metadata));
        Ok(ours.collect())
    }

    /// Charges by what the newest finished setup brought, if there is one.
    async fn charge_by_setup(
        &self,
        customer_id: &str,
        setups: &[SetupIntent],
    ) -> Result<bool, OnboardingError> {
        let ready = setups.iter().find_map(SetupIntent::ready_payment_method);
        let Some(payment_method) = ready else {
            return Ok(false);
        };
        self.charge_by(customer_id, payment_method.to_owned(), payment_method)
            .await?;
        Ok(true)
    }

    /// The session that is open, or the next one.
    async fn open_session(
        &self,
        create: &CreateCheckoutSession,
        mut sessions: Vec<CheckoutSession>,
    ) -> Result<Way, OnboardingError> {
        let mut attempt = 0;
        loop {
            if let Some(way) = sessions.iter().find_map(way_of_session) {
                return Ok(way);
            }
            // Other addresses are another request, which an old key would not take.
            let cancel_url = create.cancel_url.as_deref().unwrap_or_default();
            let count = sessions.len().to_string();
            let name = ["Checkout session", &count, &create.success_url, cancel_url];
            let key = self.creation(&name, attempt);
            let made = self
                .stripe()
                .create_checkout_session(create, &self.options(key))
                .await;
            attempt += 1;
            match made {
                Ok(session) => {
                    return way_of_session(&session)
                        .ok_or(OnboardingError::Unusable("Checkout session has no address"));
                }
                Err(error) if error.is_stored_server_error() && attempt < CREATIONS_MAX => {
                    sessions = self.sessions(&create.customer).await?;
                }
                Err(error) => return Err(OnboardingError::checkout(error)),
            }
        }
    }

    /// The setup that waits for a form, or the next one.
    async fn open_setup(
        &self,
        customer_id: &str,
        mut setups: Vec<SetupIntent>,
    ) -> Result<Way, OnboardingError> {
        let mut metadata = self.metadata();
        metadata.insert(METADATA_SETUP.to_owned(), SETUP_BY_FORM.to_owned());
        let create = CreateSetupIntent {
            customer: customer_id.to_owned(),
            metadata,
        };
        let mut attempt = 0;
        loop {
            if let Some(way) = setups.iter().find_map(way_of_setup) {
                return Ok(way);
            }
            let count = setups.len().to_string();
            let key = self.creation(&["setup intent", &count], attempt);
            let made = self
                .stripe()
                .create_setup_intent(&create, &self.options(key))
                .await;
            attempt += 1;
            match made {
                Ok(setup) => {
                    return way_of_setup(&setup).ok_or(OnboardingError::Unusable(
                        "setup intent has no client secret",
                    ));
                }
                Err(error) if error.is_stored_server_error() && attempt < CREATIONS_MAX => {
                    setups = self.setups(customer_id).await?;
                }
                Err(error) => return Err(OnboardingError::stripe("create setup intent")(error)),
            }
        }
    }

    fn creation(&self, name: &[&str], attempt: u32) -> IdempotencyKey {
        let object = IdempotencyKey::derived(name).to_string();
        self.request.onboarding.creation(&object, attempt)
    }
}

/// Where to send the person, while the session is open.
fn way_of_session(session: &CheckoutSession) -> Option<Way> {
    let url = session.url.clone().filter(|_| session.is_open())?;
    Some(Way::Checkout {
        url,
        expires_at: Timestamp::from_unix_s(session.expires_at),
    })
}

/// What completes the setup, while it waits. Checkout's own are not for forms.
fn way_of_setup(setup: &SetupIntent) -> Option<Way> {
    let is_for_forms = setup
        .metadata
        .get(METADATA_SETUP)
        .is_some_and(|by| by == SETUP_BY_FORM);
    let client_secret = setup.client_secret.clone()?;
    (setup.is_open() && is_for_forms).then_some(Way::SetupIntent { client_secret })
}
