//! What the local system is started with.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::SharedInterceptor;
use billing::Clock;
use courier::settings::{InvalidSettings, Reach, SETTINGS, Settings, WEBHOOK_SECRET};
use courier::webhook::{InvalidSigningSecret, SigningSecrets};
use ledger::{Channel, InvalidRequestRate, RequestRate};
use notify::{Channels, UnknownChannel};
use report::{FrameAncestors, InvalidFrameAncestors};
use secrecy::SecretString;
use stripe::{UnknownUsageApi, UsageApi};
use web::SystemClock;
use webhook::{DunningPolicy, InvalidDunningSetting};

/// The ports, unless the environment names others.
const METERLINE_PORT: u16 = 8080;
const DYNAMODB_PORT: u16 = 8000;
const STRIPE_PORT: u16 = 12111;

const LOCAL_DIR: &str = ".local";

const STRIPE_EVENTS: &str = "STRIPE_EVENTS";
/// How often Stripe is asked for events. A look is two requests, and Stripe takes
/// 25 a second in test mode.
pub(crate) const POLL_EVENTS_EVERY: Duration = Duration::from_secs(2);

/// Who moves what AWS and Stripe move by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumping {
    /// The system, all the time: the stream at once, the schedule every minute.
    Automatic,
    /// Nobody, until a test says so.
    Manual,
}

/// A Stripe that runs elsewhere.
#[derive(Clone, Debug)]
pub struct StripeElsewhere {
    /// Its secret key.
    pub secret_key: SecretString,
    /// Its API's address.
    pub api_base: String,
    /// Its meter event stream's address.
    pub meter_events_base: String,
    /// The webhook endpoint's signing secret, if it is known; several,
    /// comma-separated, while one is rolled.
    pub webhook_secret: Option<SecretString>,
}

/// By which ways notifications go out beside the topic.
#[derive(Clone, Debug, Default)]
pub struct DeliveryOptions {
    /// The ways: by default none.
    pub channels: Channels,
    /// How, as JSON.
    pub settings: SecretString,
    /// What requests are signed with, where they are a way.
    pub signing: Option<SecretString>,
}

impl DeliveryOptions {
    /// As NOTIFICATION_CHANNELS, NOTIFICATION_SETTINGS and NOTIFICATION_WEBHOOK_SECRET
    /// say. A system on one machine sends to receivers on it, too.
    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, OptionsError> {
        let channels = Channels::from_variables(&variable)?;
        let settings = variable(SETTINGS).unwrap_or_else(|| "{}".to_owned());
        Settings::parse(&channels, &settings, Reach::Anywhere)?;
        let signing = variable(WEBHOOK_SECRET).map(SecretString::from);
        if channels.contains(Channel::Webhook) {
            SigningSecrets::parse(&signing.clone().unwrap_or_default())?;
        }
        Ok(Self {
            channels,
            settings: settings.into(),
            signing,
        })
    }
}

/// What the local system is started with.
#[derive(Clone)]
pub struct Options {
    /// Where all state is kept.
    pub local_dir: PathBuf,
    /// The API's port; 0 for a free one, as with the others.
    pub meterline_port: u16,
    /// The embedded DynamoDB's port.
    pub dynamodb_port: u16,
    /// The Stripe simulator's port.
    pub stripe_port: u16,
    /// Who moves the stream, the schedule and Stripe.
    pub pumping: Pumping,
    /// The time, for the functions and for the Stripe simulator alike.
    pub clock: Arc<dyn Clock>,
    /// The address of a DynamoDB that runs elsewhere, in place of the embedded one.
    pub dynamodb_elsewhere: Option<String>,
    /// A Stripe that runs elsewhere, in place of the simulator.
    pub stripe_elsewhere: Option<StripeElsewhere>,
    /// By which API usage is reported to Stripe.
    pub usage_api: UsageApi,
    /// When who does not pay is suspended.
    pub dunning: DunningPolicy,
    /// Requests a second of a key that has no rate of its own.
    pub key_rate: RequestRate,
    /// Whose pages may show dashboards in a frame.
    pub frame_ancestors: FrameAncestors,
    /// How often Stripe's events are fetched and posted to the webhook, where
    /// Stripe cannot send them here; none where it sends them.
    pub poll_events_every: Option<Duration>,
    /// By which ways notifications go out besides.
    pub delivery: DeliveryOptions,
    /// Names a run that has a price, a product and a meter of its own in Stripe.
    pub run_id: Option<String>,
    /// Sees every call of the functions to DynamoDB: for measuring.
    pub dynamodb_interceptor: Option<SharedInterceptor>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("local_dir", &self.local_dir)
            .field("meterline_port", &self.meterline_port)
            .field("dynamodb_port", &self.dynamodb_port)
            .field("stripe_port", &self.stripe_port)
            .field("pumping", &self.pumping)
            .field("dynamodb_elsewhere", &self.dynamodb_elsewhere)
            .field("stripe_elsewhere", &self.stripe_elsewhere)
            .field("usage_api", &self.usage_api)
            .field("key_rate", &self.key_rate)
            .field("frame_ancestors", &self.frame_ancestors)
            .field("poll_events_every", &self.poll_events_every)
            .field("channels", &self.delivery.channels)
            .field("run_id", &self.run_id)
            .finish_non_exhaustive()
    }
}

/// The environment asks for something impossible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Not a port.
    #[error("{variable} is {value:?}, which is no port: 0 to 65535, 0 for a free one")]
    Port {
        /// The environment variable.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// An address without the key to it.
    #[error("STRIPE_API_BASE is set, so STRIPE_SECRET_KEY must be; unset both for a simulator")]
    NoStripeKey,
    /// No way for events.
    #[error("STRIPE_EVENTS is {0:?}: it is webhook or poll")]
    StripeEvents(String),
    /// No API for usage.
    #[error(transparent)]
    UsageApi(#[from] UnknownUsageApi),
    /// No rate of requests.
    #[error("KEY_RATE_LIMIT {0}")]
    KeyRate(#[from] InvalidRequestRate),
    /// No list of origins.
    #[error(transparent)]
    FrameAncestors(#[from] InvalidFrameAncestors),
    /// No channel for notifications.
    #[error(transparent)]
    Channel(#[from] UnknownChannel),
    /// Settings of notifications that cannot be used.
    #[error("{SETTINGS}: {0}")]
    Delivery(#[from] InvalidSettings),
    /// Nothing to sign requests with.
    #[error("{WEBHOOK_SECRET}: {0}")]
    Signing(#[from] InvalidSigningSecret),
    /// No dunning policy.
    #[error(transparent)]
    Dunning(#[from] InvalidDunningSetting),
}

impl Options {
    /// For tests: all state in `local_dir`, free ports, nothing moves by itself.
    pub fn manual(local_dir: impl Into<PathBuf>) -> Self {
        Self {
            local_dir: local_dir.into(),
            meterline_port: 0,
            dynamodb_port: 0,
            stripe_port: 0,
            pumping: Pumping::Manual,
            clock: Arc::new(SystemClock),
            dynamodb_elsewhere: None,
            stripe_elsewhere: None,
            usage_api: UsageApi::default(),
            dunning: DunningPolicy::default(),
            key_rate: RequestRate::UNLIMITED,
            frame_ancestors: FrameAncestors::default(),
            poll_events_every: None,
            delivery: DeliveryOptions::default(),
            run_id: None,
            dynamodb_interceptor: None,
        }
    }

    /// As the environment says: LOCAL_DIR, METERLINE_PORT, DYNAMODB_PORT and
    /// STRIPE_PORT; AWS_ENDPOINT_URL_DYNAMODB for a DynamoDB elsewhere;
    /// STRIPE_API_BASE with STRIPE_SECRET_KEY for a Stripe elsewhere; USAGE_API
    /// for the API of usage; STRIPE_EVENTS=poll where Stripe cannot reach this
    /// machine; KEY_RATE_LIMIT for the requests a second of a key;
    /// DASHBOARD_FRAME_ANCESTORS for whose pages may frame a dashboard. Everything moves by
    /// itself.
    ///
    /// # Errors
    /// An [`OptionsError`] that names the variable.
    pub fn from_environment() -> Result<Self, OptionsError> {
        Self::from_variables(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// As [`Options::from_environment`], of any environment.
    ///
    /// # Errors
    /// The same.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, OptionsError> {
        let port = |name, default: u16| match variable(name) {
            None => Ok(default),
            Some(value) => value.parse().map_err(|_| OptionsError::Port {
                variable: name,
                value,
            }),
        };
        let stripe_elsewhere = match variable("STRIPE_API_BASE") {
            None => None,
            Some(api_base) => Some(StripeElsewhere {
                secret_key: variable("STRIPE_SECRET_KEY")
                    .ok_or(OptionsError::NoStripeKey)?
                    .into(),
                // A simulator serves both at one address.
                meter_events_base: variable("STRIPE_METER_EVENTS_BASE")
                    .unwrap_or_else(|| api_base.clone()),
                api_base,
                webhook_secret: variable("STRIPE_WEBHOOK_SECRET").map(SecretString::from),
            }),
        };
        Ok(Self {
            local_dir: variable("LOCAL_DIR").map_or_else(|| LOCAL_DIR.into(), PathBuf::from),
            meterline_port: port("METERLINE_PORT", METERLINE_PORT)?,
            dynamodb_port: port("DYNAMODB_PORT", DYNAMODB_PORT)?,
            stripe_port: port("STRIPE_PORT", STRIPE_PORT)?,
            pumping: Pumping::Automatic,
            clock: Arc::new(SystemClock),
            dynamodb_elsewhere: variable("AWS_ENDPOINT_URL_DYNAMODB"),
            stripe_elsewhere,
            usage_api: match variable(UsageApi::VARIABLE) {
                Some(name) => name.parse()?,
                None => UsageApi::default(),
            },
            dunning: webhook::dunning_policy(&variable)?,
            key_rate: web::key_rate_limit(&variable)?,
            frame_ancestors: FrameAncestors::parse(
                &variable("DASHBOARD_FRAME_ANCESTORS").unwrap_or_default(),
            )?,
            poll_events_every: match variable(STRIPE_EVENTS).as_deref() {
                None | Some("webhook") => None,
                Some("poll") => Some(POLL_EVENTS_EVERY),
                Some(other) => return Err(OptionsError::StripeEvents(other.to_owned())),
            },
            delivery: DeliveryOptions::from_variables(&variable)?,
            run_id: None,
            dynamodb_interceptor: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(variables: &[(&str, &str)]) -> Result<Options, OptionsError> {
        Options::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn an_empty_environment_has_the_documented_ports() {
        let options = options(&[]).unwrap();
        assert_eq!(
            (
                options.meterline_port,
                options.dynamodb_port,
                options.stripe_port
            ),
            (8080, 8000, 12111)
        );
        assert!(options.dynamodb_elsewhere.is_none() && options.stripe_elsewhere.is_none());
    }

    #[test]
    fn usage_goes_by_an_api_that_there_is() {
        assert_eq!(options(&[]).unwrap().usage_api, UsageApi::MeterEventStream);
        let record = options(&[("USAGE_API", "usage_record")]).unwrap();
        assert_eq!(record.usage_api, UsageApi::UsageRecord);
        let refused = options(&[("USAGE_API", "usage_records")]).unwrap_err();
        assert!(refused.to_string().starts_with("USAGE_API"), "{refused}");
    }

    #[test]
    fn events_are_sent_or_fetched() {
        assert_eq!(options(&[]).unwrap().poll_events_every, None);
        let fetched = options(&[("STRIPE_EVENTS", "poll")]).unwrap();
        assert_eq!(fetched.poll_events_every, Some(POLL_EVENTS_EVERY));
        let refused = options(&[("STRIPE_EVENTS", "push")]).unwrap_err();
        assert!(refused.to_string().contains("webhook or poll"), "{refused}");
    }

    #[test]
    fn notifications_go_where_they_can_go() {
        let channels = ("NOTIFICATION_CHANNELS", "email,webhook");
        let json = r#"{"email":{"from":"billing@example.com"},
            "webhook":{"url":"http://127.0.0.1:9000/"}}"#;
        let settings = ("NOTIFICATION_SETTINGS", json);
        let secret = (
            "NOTIFICATION_WEBHOOK_SECRET",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        );
        assert!(
            options(&[])
                .unwrap()
                .delivery
                .channels
                .as_slice()
                .is_empty()
        );
        let both = options(&[channels, settings, secret]).unwrap().delivery;
        assert_eq!(both.channels.to_string(), "email,webhook");
        for (variables, said) in [
            (&[channels][..], "NOTIFICATION_SETTINGS"),
            (&[channels, settings], "NOTIFICATION_WEBHOOK_SECRET"),
            (&[("NOTIFICATION_CHANNELS", "sms")], "NOTIFICATION_CHANNELS"),
        ] {
            let refused = options(variables).unwrap_err().to_string();
            assert!(refused.starts_with(said), "{refused}");
        }
    }

    #[test]
    fn what_is_no_port_is_named() {
        for value in ["http", "-1", "65536", "8000 "] {
            let refused = options(&[("DYNAMODB_PORT", value)]).unwrap_err();
            assert!(
                refused.to_string().starts_with("DYNAMODB_PORT"),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_stripe_elsewhere_needs_its_key() {
        let api_base = ("STRIPE_API_BASE", "http://127.0.0.1:1");
        assert_eq!(options(&[api_base]).unwrap_err(), OptionsError::NoStripeKey);
        let options = options(&[api_base, ("STRIPE_SECRET_KEY", "sk_test_1")]).unwrap();
        assert!(!format!("{options:?}").contains("sk_test_1"));
        let stripe = options.stripe_elsewhere.unwrap();
        assert_eq!(stripe.meter_events_base, stripe.api_base);
    }
}
