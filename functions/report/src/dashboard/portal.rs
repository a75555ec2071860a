//! `POST /dashboard/billing-portal`: from the dashboard to Stripe's billing portal.
//!
//! The way in is made when somebody asks for it, and only where their link was made for
//! that: whoever has it acts as the customer there, which is more than to look.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header::ORIGIN;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use billing::{CustomerId, Timestamp};
use stripe::{CreateBillingPortalSession, ExposeSecret, RequestOptions};

use crate::Parts;
use crate::dashboard::{Refused, html, notices};
use crate::links::LinkQuery;

/// Sessions that an environment makes of one customer in [`WINDOW_MS`]. Each is a request
/// to Stripe, whose rate everybody shares.
const SESSIONS_MAX: u32 = 5;
const WINDOW_MS: i64 = 30_000;
/// Customers that are counted at once.
const CUSTOMERS_MAX: usize = 10_000;

/// How many sessions were made of whom.
#[derive(Default)]
pub(crate) struct PortalSessions(Mutex<HashMap<CustomerId, Window>>);

struct Window {
    until: Timestamp,
    sessions: u32,
}

impl PortalSessions {
    /// Counts one more session of `customer_id`, if there may be one.
    fn count(&self, customer_id: &CustomerId, now: Timestamp) -> bool {
        let mut windows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= CUSTOMERS_MAX {
            windows.retain(|_, window| now < window.until);
            if windows.len() >= CUSTOMERS_MAX {
                windows.clear();
            }
        }
        let window = windows.entry(customer_id.clone());
        let window = window.or_insert(Window {
            until: now.plus_ms(WINDOW_MS),
            sessions: 0,
        });
        if window.until <= now {
            window.until = now.plus_ms(WINDOW_MS);
            window.sessions = 0;
        }
        window.sessions = window.sessions.saturating_add(1);
        window.sessions <= SESSIONS_MAX
    }
}

pub(crate) async fn open(
    State(parts): State<Arc<Parts>>,
    headers: HeaderMap,
    query: Result<Query<LinkQuery>, QueryRejection>,
) -> Response {
    let opened = match parts.opened(query).await {
        Ok(opened) => opened,
        Err(refused) => return refused.page(),
    };
    let base = parts.links.base(&headers);
    if !opened.billing_portal || !is_from_own_page(&headers, base.as_deref()) {
        return Refused::NoPortal.page();
    }
    let customer_id = opened.customer_id;
    if !parts.portal_sessions.count(&customer_id, parts.clock.now()) {
        return html(StatusCode::TOO_MANY_REQUESTS, notices::portal_busy());
    }
    let session = CreateBillingPortalSession {
        customer: customer_id.to_string(),
        return_url: None,
    };
    let options = RequestOptions::new();
    let session = parts
        .stripe
        .create_billing_portal_session(&session, &options);
    match session.await {
        Ok(session) => html(
            StatusCode::OK,
            notices::to_portal(session.url.expose_secret()),
        ),
        Err(error) => {
            let problem = web::Problem::from_stripe("create billing portal session", &error);
            html(problem.problem_type().status(), notices::no_portal_now())
        }
    }
}

/// Whether a browser says that the request was made by the dashboard itself. Browsers
/// that do not say so in as many words name the page's origin (W3C: Fetch Metadata
/// Request Headers; RFC 6454, section 7).
fn is_from_own_page(headers: &HeaderMap, base: Option<&str>) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    let origin = headers.get(ORIGIN).and_then(|origin| origin.to_str().ok());
    origin.is_some() && origin == base.and_then(origin_of)
}

/// Scheme and host of an address.
fn origin_of(url: &str) -> Option<&str> {
    let host = url.find("://")? + "://".len();
    let rest = url.get(host..)?;
    let end = rest.find('/').map_or(url.len(), |slash| host + slash);
    url.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const NOW: Timestamp = Timestamp::from_unix_s(1_769_860_800);

    #[test]
    fn only_the_page_itself_may_ask() {
        for (name, value, is_own) in [
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
            ("sec-fetch-site", "none", false),
            ("origin", "https://billing.example", true),
            ("origin", "https://billing.example:8443", false),
            ("origin", "https://other.example", false),
            ("origin", "null", false),
            ("accept", "*/*", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            for base in [
                "https://billing.example",
                "https://billing.example/meterline",
            ] {
                assert_eq!(
                    is_from_own_page(&headers, Some(base)),
                    is_own,
                    "{name}: {value}"
                );
            }
            assert!(name != "origin" || !is_from_own_page(&headers, None));
        }
    }

    #[test]
    fn sessions_are_counted_by_customer_and_for_half_a_minute() {
        let sessions = PortalSessions::default();
        let [mine, other] = ["cus_1", "cus_2"].map(|id| CustomerId::parse(id).unwrap());
        for _ in 0..SESSIONS_MAX {
            assert!(sessions.count(&mine, NOW));
        }
        assert!(!sessions.count(&mine, NOW.plus_ms(WINDOW_MS - 1)));
        assert!(sessions.count(&other, NOW));
        assert!(sessions.count(&mine, NOW.plus_ms(WINDOW_MS)));
    }
}
