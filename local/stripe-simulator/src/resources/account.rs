//! Accounts (Stripe API reference: Accounts).

use serde_json::json;

use super::Answer;
use crate::api::error::{Result, StripeError};
use crate::api::params::Params;

/// The account that the key belongs to.
pub(crate) const ACCOUNT_ID: &str = "acct_1MeterlineSimulated";

/// Refuses any account but the key's own, which is all that a key without Connect reaches.
pub(crate) fn check(account: Option<&str>) -> Result<()> {
    match account {
        Some(account) if account != ACCOUNT_ID => Err(StripeError::foreign_account(account)),
        _ => Ok(()),
    }
}

/// `GET /v1/account` and `GET /v1/accounts/{id}`.
pub(crate) fn retrieve(params: Params) -> Answer {
    params.finish()?;
    Ok(json!({
        "id": ACCOUNT_ID,
        "object": "account",
        "business_profile": { "name": "Simulated account", "url": null },
        "business_type": null,
        "capabilities": { "card_payments": "active", "transfers": "active" },
        "charges_enabled": true,
        "controller": { "type": "account" },
        "country": "US",
        "created": 1_700_000_000,
        "default_currency": "usd",
        "details_submitted": true,
        "email": "site@example.com",
        "metadata": {},
        "payouts_enabled": true,
        "settings": {
            "dashboard": { "display_name": "Simulated account", "timezone": "Etc/UTC" },
        },
        "type": "standard",
    }))
}
