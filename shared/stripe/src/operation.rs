//! What a request asks for, in words that say nothing of whom it is about.

use crate::request::{Host, Request};

/// The words of Stripe's paths. Whatever else stands in one is an id.
const WORDS: [&str; 39] = [
    "account",
    "advance",
    "attach",
    "balance_transactions",
    "billing",
    "billing_portal",
    "checkout",
    "core",
    "create_preview",
    "customers",
    "disable",
    "disputes",
    "event_destinations",
    "event_summaries",
    "events",
    "expire",
    "invoices",
    "lines",
    "meter_event_adjustments",
    "meter_event_session",
    "meter_event_stream",
    "meter_events",
    "meters",
    "pay",
    "payment_methods",
    "prices",
    "products",
    "search",
    "sessions",
    "setup_intents",
    "subscription_items",
    "subscriptions",
    "test_clocks",
    "test_helpers",
    "usage_record_summaries",
    "usage_records",
    "v1",
    "v2",
    "webhook_endpoints",
];
/// Stands for an id, as in docs/stripe.md.
const ID: &str = "ID";

/// A request's method and address, to be shown to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation<'a> {
    method: &'a str,
    base: &'a str,
    path: &'a str,
}

impl<'a> Operation<'a> {
    /// `method` on `path`, with its query, at `base`, an address such as
    /// `https://api.stripe.com`.
    pub fn new(method: &'a str, base: &'a str, path: &'a str) -> Self {
        Self {
            method,
            base: base.trim_end_matches('/'),
            path,
        }
    }

    pub(crate) fn of(request: &'a Request, config: &'a crate::Config) -> Self {
        let base = match request.host {
            Host::Api => &config.api_base,
            Host::MeterEvents => &config.meter_events_base,
        };
        Self::new(request.method.as_str(), base, &request.path)
    }

    /// `GET`, `POST` or `DELETE`.
    pub const fn method(self) -> &'a str {
        self.method
    }

    /// Host and port: `api.stripe.com`.
    pub fn host(self) -> &'a str {
        self.base
            .split_once("://")
            .map_or(self.base, |(_, host)| host)
    }

    /// The path without its query, with `ID` for every id: `/v1/customers/ID`. An id
    /// may tell who somebody is, and a query whom one looks for.
    pub fn route(self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        let mut route = String::with_capacity(path.len());
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            route.push('/');
            route.push_str(if WORDS.contains(&segment) {
                segment
            } else {
                ID
            });
        }
        route
    }

    /// The address of that: `https://api.stripe.com/v1/customers/ID`.
    pub fn url(self) -> String {
        format!("{}{}", self.base, self.route())
    }

    /// The address itself, for the request.
    pub(crate) fn address(self) -> String {
        format!("{}{}", self.base, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: &str = "https://api.stripe.com/";

    #[test]
    fn ids_and_queries_are_left_out() {
        for (path, route) in [
            ("/v1/customers", "/v1/customers"),
            ("/v1/customers/cus_1", "/v1/customers/ID"),
            (
                "/v1/customers/ada/balance_transactions",
                "/v1/customers/ID/balance_transactions",
            ),
            (
                "/v1/customers/search?query=email%3A%22ada%22",
                "/v1/customers/search",
            ),
            ("/v1/products/Ada%20Lovelace", "/v1/products/ID"),
            ("", ""),
        ] {
            let operation = Operation::new("GET", API, path);
            assert_eq!(operation.route(), route);
            assert_eq!(operation.url(), format!("https://api.stripe.com{route}"));
            assert_eq!(operation.host(), "api.stripe.com");
            assert_eq!(operation.address(), format!("https://api.stripe.com{path}"));
        }
    }
}
