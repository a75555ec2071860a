//! One run: what is due, each tried once, and noted.
//!
//! The order is claim, send, note. Whoever claims an event has it for himself for two
//! minutes; a process that ends in between leaves it due again after them. So nothing
//! is lost, and only who ends between the sending and the note says something twice,
//! under the same id.

mod attempt;
mod patience;

use std::collections::HashSet;
use std::sync::Arc;

use billing::Clock;
use ledger::{
    BillingEventRow, Channel, Delivery, DeliveryState, Ledger, LedgerError, ListedEvent, Order,
    Progress, Updated,
};
use metering::in_order;
use notify::Channels;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use tokio::time::Instant;
use web::RotatedSecret;

use crate::settings::{InvalidSettings, Reach, Settings, WEBHOOK_SECRET};
use crate::webhook::{HttpClientError, InvalidSigningSecret, SigningSecrets, http_client};

use attempt::{Attempt, after};
use patience::Patience;

/// How long an event is one run's. Longer than a run may take.
const CLAIM_MS: i64 = 2 * 60_000;
/// Events of each of the index's 16 partitions that are listed at once.
const PAGE_EVENTS: i32 = 16;
/// Events under way at once.
const EVENTS_IN_FLIGHT: usize = 8;

/// What a courier is made of.
pub struct Parts {
    /// The tables.
    pub ledger: Ledger,
    /// Who has the addresses.
    pub stripe: stripe::Client,
    /// SES.
    pub ses: aws_sdk_sesv2::Client,
    /// By which ways there is anything to do.
    pub channels: Channels,
    /// How, as JSON: see [`Settings::parse`]. Read again when it changes.
    pub settings: RotatedSecret,
    /// What requests are signed with; needed where they are a way.
    pub signing: Option<RotatedSecret>,
    /// Where requests may go.
    pub reach: Reach,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Brings notifications by e-mail and webhook.
pub struct Courier {
    parts: Parts,
    http: reqwest::Client,
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Deliveries that were taken.
    pub sent: u64,
    /// Those that failed, and are tried again.
    pub failed: u64,
    /// Those that failed for the last time.
    pub dead: u64,
    /// Those that were not to be sent after all.
    pub dropped: u64,
}

/// Why a run broke off. What it had noted stays noted.
#[derive(Debug, thiserror::Error)]
pub enum CourierError {
    /// What is due cannot be listed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// What the operator chose cannot be used.
    #[error(transparent)]
    Settings(#[from] InvalidSettings),
    /// There is nothing to sign with.
    #[error("{WEBHOOK_SECRET}: {0}")]
    Signing(#[from] InvalidSigningSecret),
}

/// What the operator chose, as it is now.
struct Chosen {
    settings: Settings,
    secrets: Option<SigningSecrets>,
}

impl Courier {
    /// A courier of `parts`.
    ///
    /// # Errors
    /// [`HttpClientError`].
    pub fn new(parts: Parts) -> Result<Self, HttpClientError> {
        let http = http_client(parts.reach)?;
        Ok(Self { parts, http })
    }

    /// Tries everything that is due, oldest first, and starts nothing that may not end
    /// before `deadline`. A channel that fails is left to the next run, and the others
    /// go on; the run ends with the last of them.
    ///
    /// # Errors
    /// [`CourierError`]. That a single delivery fails is no error: it is counted, and
    /// tried again. Nor is it one that a channel cannot be used, while another can:
    /// that is logged, and what is due by it waits.
    pub async fn run(&self, deadline: Instant) -> Result<Report, CourierError> {
        let channels = self.parts.channels.as_slice();
        let patience = Patience::until(deadline);
        let mut report = Report::default();
        let mut chosen = None;
        let mut seen = HashSet::new();
        while patience.has_time() && patience.has_any_of(channels) {
            let now = self.parts.clock.now();
            let ledger = &self.parts.ledger;
            let listed = ledger
                .billing_events_at(
                    Progress::Pending,
                    Order::OldestFirst,
                    Some(now),
                    PAGE_EVENTS,
                )
                .await?;
            // What this run has left stays listed; and the index is a moment behind.
            let fresh: Vec<ListedEvent> = listed
                .into_iter()
                .filter(|event| seen.insert(event.stripe_event_id.clone()))
                .collect();
            if fresh.is_empty() {
                break;
            }
            let chosen = match &mut chosen {
                Some(chosen) => chosen,
                none => none.insert(self.chosen(&patience).await?),
            };
            let brought = fresh
                .iter()
                .map(|event| self.bring(event, chosen, &patience));
            for done in in_order(brought.collect(), EVENTS_IN_FLIGHT).await {
                report.add(&done);
            }
        }
        if report != Report::default() {
            let Report {
                sent,
                failed,
                dead,
                dropped,
            } = report;
            tracing::info!(sent, failed, dead, dropped, "notifications were delivered");
        }
        Ok(report)
    }

    /// What the operator chose: looked up again, since this process may be older. A
    /// channel that cannot be used so is given up at once, so that nothing that is due
    /// by it is taken for unwanted; it is an error where no other is left.
    async fn chosen(&self, patience: &Patience) -> Result<Chosen, CourierError> {
        let Parts {
            channels,
            settings,
            reach,
            ..
        } = &self.parts;
        let json = renewed(settings).await;
        let (settings, invalid) = Settings::parse_each(channels, json.expose_secret(), *reach)?;
        let secrets = self.signing_secrets().await;
        let invalid = invalid.into_iter();
        let unusable = invalid.map(|(channel, error)| (channel, error.into()));
        let unsigned = secrets.as_ref().err().copied();
        let unsigned = unsigned.map(|error| (Channel::Webhook, CourierError::from(error)));
        for (channel, error) in unusable.chain(unsigned) {
            patience.give_up(channel);
            if !patience.has_any_of(channels.as_slice()) {
                return Err(error);
            }
            tracing::error!(%channel, %error, "notifications wait: their way cannot be used");
        }
        let secrets = secrets.unwrap_or_default();
        Ok(Chosen { settings, secrets })
    }

    /// What requests are signed with, where they are a way.
    async fn signing_secrets(&self) -> Result<Option<SigningSecrets>, InvalidSigningSecret> {
        if !self.parts.channels.contains(Channel::Webhook) {
            return Ok(None);
        }
        let signing = self.parts.signing.as_ref();
        let signing = signing.ok_or(InvalidSigningSecret::None)?;
        SigningSecrets::parse(&renewed(signing).await).map(Some)
    }

    /// Tries what is due of one event.
    async fn bring(&self, event: &ListedEvent, chosen: &Chosen, patience: &Patience) -> Report {
        let mut report = Report::default();
        let channels = self.parts.channels.as_slice();
        if !patience.has_time() || !patience.has_any_of(channels) {
            return report;
        }
        let now = self.parts.clock.now();
        let claim = now.plus_ms(CLAIM_MS);
        let mut row = match self.parts.ledger.claim_deliveries(event, claim).await {
            Ok(Some(row)) => row,
            Ok(None) => return report,
            Err(error) => {
                tracing::warn!(event_id = event.stripe_event_id, %error, "deliveries cannot be claimed");
                return report;
            }
        };
        let due: Vec<usize> = (0..row.deliveries.len())
            .filter(|place| row.deliveries[*place].is_due(now))
            .collect();
        for (nth, place) in due.iter().enumerate() {
            let delivery = &row.deliveries[*place];
            let attempt = if patience.allows(delivery.channel) {
                self.attempt(&row, delivery, chosen, now).await
            } else {
                patience.leave(delivery, channels, now)
            };
            patience.note(delivery.channel, &attempt);
            let noted = after(delivery, &attempt, self.parts.clock.now());
            report.count(&noted, &attempt);
            log(&row, &noted, &attempt);
            row.deliveries[*place] = noted;
            let is_last = nth + 1 == due.len();
            let noted = self
                .parts
                .ledger
                .note_delivery(&row, *place, claim, is_last);
            match noted.await {
                Ok(Updated::Done) => {}
                Ok(Updated::VersionConflict) => return report,
                Err(error) => {
                    tracing::warn!(event_id = row.stripe_event_id, %error, "a delivery is not noted: it is made again");
                    return report;
                }
            }
        }
        report
    }
}

async fn renewed(secret: &RotatedSecret) -> SecretString {
    secret.renew(&secret.current()).await;
    secret.current()
}

impl Report {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.dead += other.dead;
        self.dropped += other.dropped;
    }

    fn count(&mut self, delivery: &Delivery, attempt: &Attempt) {
        match (delivery.state, attempt) {
            (DeliveryState::Sent, _) => self.sent += 1,
            (DeliveryState::Dead, _) => self.dead += 1,
            (DeliveryState::Dropped, _) => self.dropped += 1,
            (DeliveryState::Pending, Attempt::Left | Attempt::PutOff(_)) => {}
            (DeliveryState::Pending, _) => self.failed += 1,
        }
    }
}

fn log(row: &BillingEventRow, delivery: &Delivery, attempt: &Attempt) {
    let (id, channel) = (&delivery.notification_id, delivery.channel.as_str());
    let (event_id, reason, attempts) = (&row.stripe_event_id, &delivery.reason, delivery.attempts);
    match (delivery.state, attempt) {
        (_, Attempt::Left | Attempt::PutOff(_)) => {}
        (DeliveryState::Dead, _) => {
            tracing::error!(
                event_id,
                id,
                channel,
                reason,
                attempts,
                "a notification is given up"
            );
        }
        (DeliveryState::Pending, _) => {
            tracing::warn!(
                event_id,
                id,
                channel,
                reason,
                attempts,
                "a notification is not taken"
            );
        }
        (DeliveryState::Sent, _) => {
            tracing::info!(
                event_id,
                id,
                channel,
                attempts,
                "a notification is delivered"
            );
        }
        (DeliveryState::Dropped, _) => {
            tracing::info!(
                event_id,
                id,
                channel,
                reason,
                "a notification is not to be delivered"
            );
        }
    }
}
