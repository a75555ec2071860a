//! What else the schedule's minute is for: notifications that go out by e-mail and to
//! the operator's webhook. It goes on beside the redelivery of usage, and nothing that
//! goes wrong with it concerns that.

use courier::settings::{Reach, SETTINGS, WEBHOOK_SECRET};
use courier::{Courier, Parts, Report};
use ledger::{Channel, Ledger};
use notify::Channels;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use web::metrics::{Figure, Unit};
use web::{MainError, Settings};

/// Delivers notifications, where the operator chose a way for them.
pub struct Notifications<'a> {
    settings: &'a Settings,
    ledger: Ledger,
    stripe: stripe::Client,
    channels: Channels,
    /// Made by the first run that can: a secret that cannot be read stops no usage.
    courier: OnceCell<Courier>,
}

impl<'a> Notifications<'a> {
    /// Those of the tables of `ledger`, by `channels`.
    pub const fn new(
        settings: &'a Settings,
        ledger: Ledger,
        stripe: stripe::Client,
        channels: Channels,
    ) -> Self {
        Self {
            settings,
            ledger,
            stripe,
            channels,
            courier: OnceCell::const_new(),
        }
    }

    /// Delivers what is due, until `deadline`. What went wrong is logged; the next
    /// minute tries again.
    pub async fn deliver(&self, deadline: Instant) -> Report {
        if self.channels.as_slice().is_empty() {
            return Report::default();
        }
        match self.run(deadline).await {
            Ok(report) => report,
            Err(error) => {
                tracing::error!(%error, "notifications wait: the run could not deliver them");
                Report::default()
            }
        }
    }

    async fn run(&self, deadline: Instant) -> Result<Report, MainError> {
        let courier = self.courier.get_or_try_init(|| self.courier()).await?;
        Ok(courier.run(deadline).await?)
    }

    async fn courier(&self) -> Result<Courier, MainError> {
        let signing = match self.channels.contains(Channel::Webhook) {
            true => Some(self.settings.secret(WEBHOOK_SECRET).await?),
            false => None,
        };
        Ok(Courier::new(Parts {
            ledger: self.ledger.clone(),
            stripe: self.stripe.clone(),
            ses: aws_sdk_sesv2::Client::new(self.settings.aws()),
            channels: self.channels.clone(),
            settings: self.settings.secret(SETTINGS).await?,
            signing,
            reach: Reach::Public,
            clock: self.settings.clock(),
        })?)
    }
}

/// The figures that the operator watches.
pub const fn figures(report: &Report) -> [Figure; 3] {
    [
        ("notifications_sent", Unit::Count, report.sent),
        ("notifications_retried", Unit::Count, report.failed),
        ("notifications_dead", Unit::Count, report.dead),
    ]
}
