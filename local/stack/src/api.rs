//! The API: every HTTP function's router behind one address, as API Gateway and
//! the webhook's function URL put them behind theirs.

use std::convert::Infallible;
use std::io;
use std::net::TcpListener;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn;
use axum::response::Response;
use billing::Clock;
use courier::Courier;
use courier::settings::Reach;
use courier::webhook::HttpClientError;
use ledger::RequestRate;
use limits::{Duties, LimitWatcher};
use notify::Ways;
use redelivery::Redelivery;
use report::{DashboardLinks, FrameAncestors};
use rollup::LimitLooks;
use secrecy::SecretString;
use stripe::UsageApi;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::{ServiceExt, service_fn};
use web::RotatedSecret;
use webhook::NoSigningSecret;

use crate::options::DeliveryOptions;
use crate::{Ledgers, gateway};

/// Where Stripe's webhooks go.
pub const WEBHOOK_PATH: &str = "/stripe/webhook";

/// The price that customers subscribe to: the template's default.
pub const PRICE_LOOKUP_KEY: &str = "agent_operations_monthly";

/// The same price without a meter, for usage records. It has another name, so
/// that one folder can hold both.
pub const LEGACY_PRICE_LOOKUP_KEY: &str = "agent_operations_monthly_legacy";

/// The price that customers subscribe to where their usage goes by `usage_api`.
pub const fn price_lookup_key(usage_api: UsageApi) -> &'static str {
    if usage_api.has_meter() {
        PRICE_LOOKUP_KEY
    } else {
        LEGACY_PRICE_LOOKUP_KEY
    }
}

/// How long answers may take that are on their way at the end.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// What the functions share.
#[derive(Clone)]
pub struct Parts {
    /// The tables.
    pub ledgers: Ledgers,
    /// Stripe.
    pub stripe: stripe::Client,
    /// The price that customers subscribe to.
    pub lookup_key: String,
    /// What dashboard links are signed with, and where they lead.
    pub links: DashboardLinks,
    /// Requests a second of a key that has no rate of its own.
    pub key_rate: RequestRate,
    /// Whose pages may show dashboards in a frame.
    pub frame_ancestors: FrameAncestors,
    /// What the operator chose for the webhook.
    pub webhook: webhook::Configuration,
    /// And for notifications by other ways than the topic.
    pub delivery: DeliveryOptions,
    /// By which mails are sent.
    pub ses: aws_sdk_sesv2::Client,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Parts {
    /// Redelivery.
    pub fn redelivery(&self) -> Redelivery {
        let (ledger, stripe) = (self.ledgers.of("redelivery"), &self.stripe);
        let clock = || Arc::clone(&self.clock);
        let limits = Duties::new(ledger.clone(), stripe.clone(), self.ways(), clock());
        Redelivery::new(ledger, stripe.clone(), clock()).with_limits(limits)
    }

    /// What the rollup does for limits.
    pub fn limit_looks(&self) -> LimitLooks {
        let (ledger, clock) = (self.ledgers.of("rollup"), || Arc::clone(&self.clock));
        let watcher = LimitWatcher::new(ledger.clone(), self.ways(), clock());
        LimitLooks::new(ledger, watcher, clock())
    }

    fn ways(&self) -> Ways {
        Ways {
            notifier: self.webhook.notifier.clone(),
            channels: self.webhook.channels.clone(),
        }
    }

    /// What delivers notifications, where there is a way for them. It goes by the
    /// tables of redelivery, whose function it is a part of.
    ///
    /// # Errors
    /// [`HttpClientError`].
    pub fn courier(&self) -> Result<Option<Courier>, HttpClientError> {
        let DeliveryOptions {
            channels,
            settings,
            signing,
        } = self.delivery.clone();
        if channels.as_slice().is_empty() {
            return Ok(None);
        }
        let fixed = |secret| RotatedSecret::new(secret, None);
        let parts = courier::Parts {
            ledger: self.ledgers.of("redelivery"),
            stripe: self.stripe.clone(),
            ses: self.ses.clone(),
            channels,
            settings: fixed(settings),
            signing: signing.map(fixed),
            reach: Reach::Anywhere,
            clock: Arc::clone(&self.clock),
        };
        Courier::new(parts).map(Some)
    }

    /// The webhook function, which takes what is signed with one of `secrets`.
    pub fn webhook_state(&self, secrets: Vec<SecretString>) -> webhook::State {
        webhook::State::configured(
            self.ledgers.of("webhook"),
            self.stripe.clone(),
            secrets,
            Arc::clone(&self.clock),
            self.webhook.clone(),
        )
    }
}

/// The webhook function, which starts anew when its secrets change.
#[derive(Clone)]
pub struct Webhook {
    parts: Parts,
    routes: Arc<RwLock<Router>>,
}

impl Webhook {
    /// Takes what is signed with one of `secrets`, comma-separated.
    ///
    /// # Errors
    /// [`NoSigningSecret`].
    pub fn new(parts: Parts, secrets: &SecretString) -> Result<Self, NoSigningSecret> {
        let routes = webhook_routes(&parts, secrets)?;
        let routes = Arc::new(RwLock::new(routes));
        Ok(Self { parts, routes })
    }

    /// From the next request on takes what is signed with one of `secrets`.
    ///
    /// # Errors
    /// [`NoSigningSecret`]; the ones before stay.
    pub fn set_secrets(&self, secrets: &SecretString) -> Result<(), NoSigningSecret> {
        let routes = webhook_routes(&self.parts, secrets)?;
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
        Ok(())
    }

    async fn answer(self, request: Request) -> Result<Response, Infallible> {
        self.routes().oneshot(request).await
    }

    fn routes(&self) -> Router {
        let routes = self.routes.read();
        routes.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn webhook_routes(parts: &Parts, secrets: &SecretString) -> Result<Router, NoSigningSecret> {
    let secrets = webhook::signing_secrets(secrets)?;
    Ok(webhook::router(parts.webhook_state(secrets)))
}

/// All routes.
pub fn router(parts: &Parts, webhook: &Webhook) -> Router {
    let ledger = |function| parts.ledgers.of(function);
    let stripe = || parts.stripe.clone();
    let clock = || Arc::clone(&parts.clock);
    let lookup_key = parts.lookup_key.clone();
    let onboarding = onboarding::State::new(ledger("onboarding"), stripe(), lookup_key, clock());
    let emission = emission::State::new(ledger("emission"), stripe(), clock());
    let report = report::State::new(ledger("report"), stripe(), parts.links.clone(), clock())
        .with_frame_ancestors(parts.frame_ancestors.clone());
    let webhook = webhook.clone();
    let webhook = service_fn(move |request| webhook.clone().answer(request));
    let key_rate = parts.key_rate;
    let routes = onboarding::router(onboarding.with_key_rate(key_rate))
        .merge(emission::router(emission.with_key_rate(key_rate)))
        .merge(report::router(report.with_key_rate(key_rate)))
        .route_service(WEBHOOK_PATH, webhook);
    web::service(routes).layer(from_fn(gateway::limit))
}

/// The API, being served. Dropped, it stops by itself.
#[derive(Debug)]
pub struct Api {
    serving: JoinHandle<io::Result<()>>,
    stop: DropGuard,
}

impl Api {
    /// Serves `routes` on `listener`.
    ///
    /// # Errors
    /// The listener's.
    pub fn serve(listener: TcpListener, routes: Router) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let serving = axum::serve(listener, routes).with_graceful_shutdown(stopped);
        Ok(Self {
            serving: tokio::spawn(serving.into_future()),
            stop: stop.drop_guard(),
        })
    }

    /// Takes no new request and finishes those that have begun.
    pub async fn stop(self) {
        self.stop.disarm().cancel();
        let mut serving = self.serving;
        if tokio::time::timeout(STOP_TIMEOUT, &mut serving)
            .await
            .is_err()
        {
            tracing::warn!("a connection to the API stayed open and was cut");
            serving.abort();
        }
    }
}
