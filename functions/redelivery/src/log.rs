//! What a run tells the log of single entries and events.

use std::error::Error;

use ledger::{OutboxKey, UsageEventRow};

use crate::listed::Listed;

pub(crate) fn entry(key: &OutboxKey, error: &dyn Error, what: &'static str) {
    tracing::error!(
        bucket = key.bucket,
        outbox_key = key.outbox_key,
        error = %error,
        source = error.source().map(tracing::field::debug),
        what,
        "redelivery passes an entry by"
    );
}

pub(crate) fn event(listed: &Listed<'_>, error: &dyn Error, what: &'static str) {
    tracing::error!(
        identifier = %listed.identifier,
        error = %error,
        source = error.source().map(tracing::field::debug),
        what,
        "redelivery passes an event by"
    );
}

/// Sent alone it is either Stripe's trouble or its own: the next run tries it last.
pub(crate) fn undigested(row: &UsageEventRow) {
    tracing::warn!(
        identifier = %row.identifier,
        customer_id = %row.customer_id,
        "nothing of a request with this event alone got through to Stripe"
    );
}

pub(crate) fn unreadable(keys: &[OutboxKey]) {
    for key in keys {
        tracing::error!(
            bucket = key.bucket,
            outbox_key = key.outbox_key,
            "an entry of the outbox cannot be read: it is passed by"
        );
    }
}
