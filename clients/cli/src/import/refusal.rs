//! Why a row is not recorded, in the operator's terms.

use billing::{FieldError, UsageEvent};
use metering::NotRecorded;
use stripe::UsageApi;

use super::{ImportError, Outcome};

/// Why a row is not recorded.
pub(super) struct Refusal {
    pub(super) outcome: Outcome,
    pub(super) reason: String,
}

impl Refusal {
    /// Of `event`, unless it is recorded already.
    ///
    /// # Errors
    /// An [`ImportError`] where it is not the row that is at fault.
    pub(super) fn of(event: &UsageEvent, reason: NotRecorded) -> Result<Self, ImportError> {
        let invalid = |field, reason: String| FieldError::new(field, reason).to_string();
        let (outcome, reason) = match reason {
            NotRecorded::NotInCatalog => {
                let action_type = event.action_type.as_str();
                let reason = format!(
                    "{action_type} is not in the catalog of billable actions: add it there, or a \
                     default_meter, and import again"
                );
                (Outcome::Invalid, invalid("action_type", reason))
            }
            NotRecorded::OtherSubscriptionItem => {
                let reason = "is not the customer's subscription item that bills the action";
                let reason = invalid("subscription_item_id", reason.to_owned());
                (Outcome::Invalid, reason)
            }
            // Stripe would take no usage of this customer's, or bill it never.
            NotRecorded::OtherUsageApi { .. } => {
                let variable = UsageApi::VARIABLE;
                let reason = format!("{reason}: set {variable} to what its prices need");
                (Outcome::Invalid, reason)
            }
            NotRecorded::TooOld(refusal) => (Outcome::TooOld, refusal.to_string()),
            NotRecorded::InFuture(refusal) => (Outcome::Invalid, refusal.to_string()),
            NotRecorded::PeriodUnknown(unknown) => return Err(unknown.into()),
        };
        Ok(Self { outcome, reason })
    }
}
