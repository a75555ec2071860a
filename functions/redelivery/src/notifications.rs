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
use web::{MainError, RotatedSecret, Settings};

/// Delivers notifications, where the operator chose a way for them.
pub struct Notifications<'a> {
    settings: &'a Settings,
    ledger: Ledger,
    stripe: stripe::Client,
    channels: Channels,
    /// Kept by the first run that can read all secrets: one that cannot be read stops no
    /// usage.
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
        if let Some(courier) = self.courier.get() {
            return Ok(courier.run(deadline).await?);
        }
        let signing = self.signing().await;
        let is_complete = signing.is_some() || !self.channels.contains(Channel::Webhook);
        let courier = self.courier(signing).await?;
        if !is_complete {
            // Mails go out without it, and the next minute asks for it again.
            return Ok(courier.run(deadline).await?);
        }
        let courier = self.courier.get_or_init(|| async { courier }).await;
        Ok(courier.run(deadline).await?)
    }

    /// What requests are signed with; none where they are no way, or where it cannot be
    /// read: the courier says then that requests wait.
    async fn signing(&self) -> Option<RotatedSecret> {
        if !self.channels.contains(Channel::Webhook) {
            return None;
        }
        match self.settings.secret(WEBHOOK_SECRET).await {
            Ok(signing) => Some(signing),
            Err(error) => {
                tracing::error!(%error, "what requests are signed with cannot be read");
                None
            }
        }
    }

    async fn courier(&self, signing: Option<RotatedSecret>) -> Result<Courier, MainError> {
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
