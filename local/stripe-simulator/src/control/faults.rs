//! Faults that a test orders: each strikes so many requests of a method and a path.

use std::sync::{Mutex, PoisonError};

use axum::http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::error::{Result, StripeError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// An error in place of the work.
    ErrorBefore {
        status: u16,
        retry_after_s: Option<u16>,
    },
    /// The work is done and kept; then the connection ends without an answer.
    LoseAnswer,
    /// The work waits.
    DelayMs { delay_ms: u64 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    ErrorBefore,
    LoseAnswer,
    DelayMs,
}

/// A fault and whom it strikes, as it is ordered and listed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    kind: Kind,
    /// Of `error_before`.
    #[serde(default = "server_error")]
    status: u16,
    /// Of `error_before`: the `Retry-After` header.
    #[serde(default)]
    retry_after_s: Option<u16>,
    /// Of `delay_ms`.
    #[serde(default)]
    delay_ms: u64,
    /// `None` strikes every method.
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    path_prefix: String,
    /// What the body of a request that it strikes has in it; empty fits every request.
    #[serde(default)]
    body_contains: String,
    /// How many requests it lets pass first.
    #[serde(default)]
    skip: u64,
    /// How many requests it strikes.
    #[serde(default = "once")]
    times: u64,
    /// How many it has struck.
    #[serde(skip_deserializing)]
    struck: u64,
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    wanted.is_empty() || body.windows(wanted.len()).any(|part| part == wanted)
}

fn server_error() -> u16 {
    500
}

fn once() -> u64 {
    1
}

impl Order {
    fn fits(&self, method: &Method, path: &str, body: &[u8]) -> bool {
        let method = self
            .method
            .as_ref()
            .is_none_or(|wanted| wanted.eq_ignore_ascii_case(method.as_str()));
        method
            && path.starts_with(&self.path_prefix)
            && self.struck < self.times
            && contains(body, self.body_contains.as_bytes())
    }

    fn fault(&self) -> Fault {
        match self.kind {
            Kind::ErrorBefore => Fault::ErrorBefore {
                status: self.status,
                retry_after_s: self.retry_after_s,
            },
            Kind::LoseAnswer => Fault::LoseAnswer,
            Kind::DelayMs => Fault::DelayMs {
                delay_ms: self.delay_ms,
            },
        }
    }
}

/// The faults that are in force.
#[derive(Debug, Default)]
pub(crate) struct Faults(Mutex<Vec<Order>>);

impl Faults {
    /// Orders a fault; the body says which.
    pub(crate) fn add(&self, body: &[u8]) -> Result<Value> {
        let order: Order = serde_json::from_slice(body)
            .map_err(|error| StripeError::invalid(format!("No fault is ordered so: {error}")))?;
        if !(400..600).contains(&order.status) {
            return Err(StripeError::invalid(
                "The status of an error is 400 to 599.",
            ));
        }
        let shown = serde_json::to_value(&order)?;
        self.with(|orders| orders.push(order));
        Ok(shown)
    }

    /// The faults, worn out ones too, so that a test sees where they struck.
    pub(crate) fn list(&self) -> Vec<Value> {
        let shown = |order: &Order| serde_json::to_value(order).unwrap_or_default();
        self.with(|orders| orders.iter().map(shown).collect())
    }

    /// Ends all faults. Answers how many there were.
    pub(crate) fn clear(&self) -> usize {
        self.with(|orders| orders.drain(..).count())
    }

    /// The fault that strikes a request, if one does: the oldest that fits and is not worn out.
    pub(crate) fn strike(&self, method: &Method, path: &str, body: &[u8]) -> Option<Fault> {
        self.with(|orders| {
            let order = orders
                .iter_mut()
                .find(|order| order.fits(method, path, body))?;
            if order.skip > 0 {
                order.skip -= 1;
                return None;
            }
            order.struck += 1;
            Some(order.fault())
        })
    }

    /// Orders are whole whatever happened while they were locked.
    fn with<T>(&self, change: impl FnOnce(&mut Vec<Order>) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
