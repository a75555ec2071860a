//! An event about a customer: the current subscription decides the status.

use billing::Timestamp;
use ledger::{Applied, BillingEventRow, Consequence, CustomerRow, CustomerStatus, LedgerError};
use metering::customers::with_subscription;
use metering::{Debt, METADATA_ONBOARDING, Standing, with_current_items};
use stripe::{Event, Invoice, Subscription};

use crate::error::WebhookError;
use crate::notification::{Bill, News, origin};
use crate::subject::Subject;
use crate::{Outcome, Parts};

/// How often a customer that others change meanwhile is read again. Of those who
/// change one at once one gets through each time, and Stripe sends the events of
/// an invoice at once. Beyond, Stripe's next delivery is the retry.
const ATTEMPTS_MAX: u32 = 16;

/// The event whose 2xx starts the hour in which an invoice is a draft.
const INVOICE_CREATED: &str = "invoice.created";

const INVOICE_PAID: &str = "invoice.paid";
const PAYMENT_FAILED: &str = "invoice.payment_failed";
const ACTION_REQUIRED: &str = "invoice.payment_action_required";
/// Events of whose invoice the operator is told.
const TOLD_INVOICE_EVENTS: [&str; 3] = [INVOICE_PAID, PAYMENT_FAILED, ACTION_REQUIRED];

/// A customer as Stripe has it now.
struct Current {
    row: CustomerRow,
    /// None where it went with its test clock.
    subscription: Option<Subscription>,
}

impl Parts {
    /// Applies `event` to its customer, if that is one of ours.
    pub(crate) async fn apply_to_customer(
        &self,
        event: &Event,
        subject: &Subject,
    ) -> Result<Outcome, WebhookError> {
        if self.was_applied(&event.id).await? {
            return Ok(Outcome::Duplicate);
        }
        if event.event_type == INVOICE_CREATED {
            self.hasten_pending_usage(event, subject).await?;
        }
        let mut trouble = WebhookError::Contended;
        for _ in 0..ATTEMPTS_MAX {
            // Read before Stripe is asked: if Stripe's answer is older than what
            // somebody stores meanwhile, the version tells.
            let Some(customer) = self.ledger.customer(&subject.customer_id).await? else {
                return self
                    .without_customer(subject)
                    .await
                    .map(|()| Outcome::Foreign);
            };
            let named = subject.subscription_id.as_ref();
            if named.is_some_and(|named| *named != customer.subscription_id) {
                // Another subscription of the same customer, made by others.
                return Ok(Outcome::Foreign);
            }
            let current = self.current(&customer).await?;
            let invoice = self.told_invoice(event, subject).await?;
            let row = self.applied(event, &customer, &current, invoice.as_ref())?;
            // The row is written even where nothing in it changes: its new
            // version stops whoever asked Stripe earlier and writes later.
            let change = Consequence::CustomerChanges {
                read: &customer,
                row: &current.row,
            };
            let applied = self.ledger.apply_billing_event(&row, Some(change));
            trouble = match applied.await {
                Ok(Applied::Done) => return self.finish(&row).await.map(|()| Outcome::Applied),
                Ok(Applied::Before(before)) => {
                    return self.finish(&before).await.map(|()| Outcome::Duplicate);
                }
                Ok(Applied::VersionConflict) => WebhookError::Contended,
                // Stripe sends several events of one invoice at once, and
                // DynamoDB refuses transactions that meet. A repeat tells.
                Err(error @ LedgerError::Unavailable { .. }) => error.into(),
                Err(error) => return Err(error.into()),
            };
        }
        Err(trouble)
    }

    /// No row: either not ours at all, or ours and its onboarding has not come
    /// to its end. One that has ended needs no row: an onboarding that goes on
    /// reads the subscription itself.
    async fn without_customer(&self, subject: &Subject) -> Result<(), WebhookError> {
        let Some(subscription_id) = &subject.subscription_id else {
            return Ok(());
        };
        let subscription = match self.stripe.retrieve_subscription(subscription_id).await {
            Ok(subscription) => subscription,
            Err(error) if error.is_not_found() => return Ok(()),
            Err(error) => return Err(WebhookError::stripe("retrieve subscription")(error)),
        };
        let is_ours = subscription.metadata.contains_key(METADATA_ONBOARDING);
        if is_ours && !subscription.has_ended() {
            return Err(WebhookError::NotOnboardedYet);
        }
        Ok(())
    }

    /// The customer as Stripe has it now. A subscription that went with its test
    /// clock has ended. No other ever goes: where one is missed, the key is of
    /// another account, and nobody's standing follows from that.
    async fn current(&self, customer: &CustomerRow) -> Result<Current, WebhookError> {
        let subscription = self
            .stripe
            .retrieve_subscription(&customer.subscription_id)
            .await;
        let subscription = match subscription {
            Ok(subscription) => subscription,
            Err(error) if error.is_not_found() && customer.test_clock.is_some() => {
                let row = CustomerRow {
                    status: CustomerStatus::Canceled,
                    grace_ends_at: None,
                    ..customer.clone()
                };
                return Ok(Current {
                    row,
                    subscription: None,
                });
            }
            Err(error) => return Err(WebhookError::stripe("retrieve subscription")(error)),
        };
        let standing = self.standing(customer, &subscription).await?;
        let catalog = self.catalog.current().await?;
        let row = customer.clone();
        let row = with_current_items(&self.stripe, row, &subscription, catalog.as_deref())
            .await
            .map_err(WebhookError::stripe("retrieve price"))?;
        // The items first: one of them tells the period.
        let row = CustomerRow {
            status: standing.status,
            grace_ends_at: standing.grace_ends_at,
            ..with_subscription(&row, &subscription)
        };
        Ok(Current {
            row,
            subscription: Some(subscription),
        })
    }

    async fn standing(
        &self,
        customer: &CustomerRow,
        subscription: &Subscription,
    ) -> Result<Standing, WebhookError> {
        let debt = if subscription.has_ended() {
            None
        } else {
            let invoices = self.stripe.list_open_invoices(&customer.subscription_id);
            let invoices = invoices
                .await
                .map_err(WebhookError::stripe("list invoices"))?;
            Debt::of(&invoices, &customer.subscription_id)
        };
        // Only a grace asks for the time.
        let now = match debt {
            Some(_) => self.customers.time_of(customer).await?,
            None => self.clock.now(),
        };
        // A grace that has ended has suspended, told or not: one of two unpaid
        // invoices paid must not begin another.
        let before = match debt {
            Some(_) => customer.status_at(now),
            None => customer.status,
        };
        let status = &subscription.status;
        Ok(self.dunning.standing(before, status, debt, now))
    }

    /// The invoice that the event is about, as it is now, where there may be
    /// something to tell of it. One that is gone was a draft.
    async fn told_invoice(
        &self,
        event: &Event,
        subject: &Subject,
    ) -> Result<Option<Invoice>, WebhookError> {
        let is_told = TOLD_INVOICE_EVENTS.contains(&event.event_type.as_str());
        let Some(invoice_id) = subject.invoice_id.as_ref().filter(|_| is_told) else {
            return Ok(None);
        };
        match self.stripe.retrieve_invoice(invoice_id).await {
            Ok(invoice) => Ok(Some(invoice)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(WebhookError::stripe("retrieve invoice")(error)),
        }
    }

    fn applied(
        &self,
        event: &Event,
        before: &CustomerRow,
        current: &Current,
        invoice: Option<&Invoice>,
    ) -> Result<BillingEventRow, WebhookError> {
        let origin = origin(event);
        let status = News::of_status(before, &current.row);
        let news = news_of_event(event, current, invoice)?;
        let notifications = news.into_iter().chain(status);
        let notifications: Result<_, _> = notifications
            .map(|news| origin.notification(Some(before), news))
            .collect();
        let customer_id = Some(before.customer_id.clone());
        Ok(self.billing_event(origin, customer_id, notifications?))
    }
}

/// What there is to tell of `event` itself. It came late perhaps: what does not
/// hold any more is told to nobody.
fn news_of_event(
    event: &Event,
    current: &Current,
    invoice: Option<&Invoice>,
) -> Result<Option<News<'static>>, WebhookError> {
    let is = |invoice: &Invoice, status| invoice.status.as_deref() == Some(status);
    Ok(match (event.event_type.as_str(), invoice) {
        (INVOICE_PAID, Some(invoice)) if is(invoice, "paid") && invoice.amount_paid > 0 => {
            Some(News::Receipt(Bill::of(invoice)?))
        }
        (PAYMENT_FAILED, Some(invoice)) if is(invoice, "open") => {
            let at = |unix_s| Timestamp::from_unix_s(unix_s).to_string();
            Some(News::PaymentFailed {
                bill: Bill::of(invoice)?,
                failed_attempts: invoice.attempt_count,
                next_attempt_at: invoice.next_payment_attempt.map(at),
                grace_ends_at: current.row.grace_ends_at.map(|end| end.to_string()),
            })
        }
        (ACTION_REQUIRED, Some(invoice)) if is(invoice, "open") => {
            Some(News::PaymentActionRequired(Bill::of(invoice)?))
        }
        ("customer.deleted", _) => Some(News::CustomerDeleted),
        ("customer.subscription.trial_will_end", _) => current
            .subscription
            .as_ref()
            .filter(|subscription| subscription.status == "trialing")
            .and_then(|subscription| subscription.trial_end)
            .map(|end| News::TrialWillEnd {
                trial_ends_at: Timestamp::from_unix_s(end).to_string(),
            }),
        _ => None,
    })
}
