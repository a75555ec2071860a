//! Which handler answers which path, in the order of Stripe's API reference.

use std::borrow::Cow;

use axum::http::Method;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::request::ApiRequest;
use crate::api::error::{Result, StripeError};
use crate::api::expand;
use crate::api::params::Params;
use crate::call::Call;
use crate::resources::{
    Answer, account, balance_transactions, billing_portal_sessions, charges, checkout_sessions,
    customer_balance_transactions, customers, disputes, event_destinations, events,
    invoice_payments, invoice_preview, invoices, meter_event_adjustments, meter_event_stream,
    meter_event_summaries, meter_events, meters, payment_intents, payment_methods, prices,
    products, search, setup_intents, subscription_items, subscriptions, tax_ids, test_clocks,
    usage_records, webhook_endpoints,
};

/// Answers a request, or refuses a path that leads nowhere.
pub(super) fn answer(call: &Call<'_>, request: &ApiRequest) -> Answer {
    let unknown = || {
        let message = format!(
            "Unrecognized request URL ({}: {}). If you are trying to list objects, remove the trailing slash. If you are trying to retrieve an object, make sure you passed a valid (non-empty) identifier in your code. Please see https://stripe.com/docs or we can help at https://support.stripe.com/.",
            request.method, request.path
        );
        let mut error = StripeError::invalid(message).not_remembered();
        error.status = 404;
        error
    };
    let decoded: Vec<Cow<'_, str>> = request
        .path
        .split('/')
        .skip(1)
        .map(|segment| percent_decode_str(segment).decode_utf8_lossy())
        .collect();
    let path: Vec<&str> = decoded.iter().map(Cow::as_ref).collect();
    match path.split_first() {
        _ if path.contains(&"") => Err(unknown()),
        Some((&"v1", rest)) => v1(call, request, rest).unwrap_or_else(|| Err(unknown())),
        Some((&"v2", rest)) => v2(call, request, rest).unwrap_or_else(|| Err(unknown())),
        _ => Err(unknown()),
    }
}

fn v1(call: &Call<'_>, request: &ApiRequest, path: &[&str]) -> Option<Answer> {
    let mut params = Params::parse(&request.form());
    let paths = match params.texts("expand") {
        Ok(paths) => paths.unwrap_or_default(),
        Err(error) => return Some(Err(error)),
    };
    let method = &request.method;
    if let ("GET", [resource, "search"]) = (method.as_str(), path) {
        let found = search::search(call, resource, params)?;
        return Some(found.and_then(|found| finish(call, found, &paths)));
    }
    let answer = match *path.first()? {
        "products" | "prices" | "account" | "accounts" => catalog(call, method, path, params),
        "customers" | "payment_methods" => payers(call, method, path, params),
        "setup_intents" | "checkout" | "billing_portal" => set_up(call, method, path, params),
        "charges"
        | "payment_intents"
        | "disputes"
        | "balance_transactions"
        | "invoice_payments" => paid(call, method, path, params),
        "subscriptions" | "subscription_items" => subscribed(call, method, path, params),
        "billing" => billing(call, method, path.get(1..)?, params),
        "invoices" => invoiced(call, method, path.get(1..)?, params),
        "test_helpers" => clocks(call, method, path.get(1..)?, params),
        "events" | "webhook_endpoints" => told(call, method, path, params),
        _ => None,
    }?;
    Some(answer.and_then(|answer| finish(call, answer, &paths)))
}

fn finish(call: &Call<'_>, mut answer: Value, paths: &[String]) -> Result<Value> {
    expand::adapt(call, &call.version, &mut answer)?;
    expand::expand(call, &mut answer, paths)?;
    Ok(answer)
}

fn catalog(call: &Call<'_>, method: &Method, path: &[&str], params: Params) -> Option<Answer> {
    Some(match (method.as_str(), path) {
        ("GET", ["account"]) => account::retrieve(params),
        ("GET", ["accounts", id]) => {
            account::check(Some(id)).and_then(|()| account::retrieve(params))
        }
        ("POST", ["products"]) => products::create(call, params),
        ("GET", ["products"]) => products::list(call, params),
        ("GET", ["products", id]) => products::retrieve(call, id, params),
        ("POST", ["products", id]) => products::update(call, id, params),
        ("DELETE", ["products", id]) => products::delete(call, id, params),
        ("POST", ["prices"]) => prices::create(call, params),
        ("GET", ["prices"]) => prices::list(call, params),
        ("GET", ["prices", id]) => prices::retrieve(call, id, params),
        ("POST", ["prices", id]) => prices::update(call, id, params),
        _ => return None,
    })
}

fn payers(call: &Call<'_>, method: &Method, path: &[&str], params: Params) -> Option<Answer> {
    Some(match (method.as_str(), path) {
        ("POST", ["customers"]) => customers::create(call, params),
        ("GET", ["customers"]) => customers::list(call, params),
        ("GET", ["customers", id]) => customers::retrieve(call, id, params),
        ("POST", ["customers", id]) => customers::update(call, id, params),
        ("DELETE", ["customers", id]) => customers::delete(call, id, params),
        ("GET", ["customers", id, "payment_methods"]) => {
            customers::list_payment_methods(call, id, params)
        }
        ("GET", ["customers", id, "payment_methods", method]) => {
            customers::retrieve_payment_method(call, id, method, params)
        }
        ("POST", ["customers", id, "balance_transactions"]) => {
            customer_balance_transactions::create(call, id, params)
        }
        ("GET", ["customers", id, "balance_transactions"]) => {
            customer_balance_transactions::list(call, id, params)
        }
        ("GET", ["customers", id, "balance_transactions", transaction]) => {
            customer_balance_transactions::retrieve(call, id, transaction, params)
        }
        ("POST", ["customers", id, "tax_ids"]) => tax_ids::create(call, id, params),
        ("GET", ["customers", id, "tax_ids"]) => tax_ids::list(call, id, params),
        ("GET", ["customers", id, "tax_ids", tax_id]) => {
            tax_ids::retrieve(call, id, tax_id, params)
        }
        ("DELETE", ["customers", id, "tax_ids", tax_id]) => {
            tax_ids::delete(call, id, tax_id, params)
        }
        ("POST", ["payment_methods"]) => payment_methods::create(call, params),
        ("GET", ["payment_methods"]) => payment_methods::list(call, params),
        ("GET", ["payment_methods", id]) => payment_methods::retrieve(call, id, params),
        ("POST", ["payment_methods", id, "attach"]) => payment_methods::attach(call, id, params),
        ("POST", ["payment_methods", id, "detach"]) => payment_methods::detach(call, id, params),
        _ => return None,
    })
}

fn paid(call: &Call<'_>, method: &Method, path: &[&str], params: Params) -> Option<Answer> {
    Some(match (method.as_str(), path) {
        ("GET", ["balance_transactions"]) => balance_transactions::list(call, params),
        ("GET", ["balance_transactions", id]) => balance_transactions::retrieve(call, id, params),
        ("GET", ["charges"]) => charges::list(call, params),
        ("GET", ["charges", id]) => charges::retrieve(call, id, params),
        ("GET", ["disputes"]) => disputes::list(call, params),
        ("GET", ["disputes", id]) => disputes::retrieve(call, id, params),
        ("POST", ["disputes", id]) => disputes::update(call, id, params),
        ("POST", ["disputes", id, "close"]) => disputes::close(call, id, params),
        ("GET", ["payment_intents"]) => payment_intents::list(call, params),
        ("GET", ["payment_intents", id]) => payment_intents::retrieve(call, id, params),
        // Added in basil.
        ("GET", ["invoice_payments"]) if !call.version.is_before_basil() => {
            invoice_payments::list(call, params)
        }
        ("GET", ["invoice_payments", id]) if !call.version.is_before_basil() => {
            invoice_payments::retrieve(call, id, params)
        }
        _ => return None,
    })
}

fn set_up(call: &Call<'_>, method: &Method, path: &[&str], params: Params) -> Option<Answer> {
    Some(match (method.as_str(), path) {
        ("POST", ["setup_intents"]) => setup_intents::create(call, params),
        ("GET", ["setup_intents"]) => setup_intents::list(call, params),
        ("GET", ["setup_intents", id]) => setup_intents::retrieve(call, id, params),
        ("POST", ["setup_intents", id]) => setup_intents::update(call, id, params),
        ("POST", ["setup_intents", id, "confirm"]) => setup_intents::confirm(call, id, params),
        ("POST", ["setup_intents", id, "cancel"]) => setup_intents::cancel(call, id, params),
        ("POST", ["checkout", "sessions"]) => checkout_sessions::create(call, params),
        ("GET", ["checkout", "sessions"]) => checkout_sessions::list(call, params),
        ("GET", ["checkout", "sessions", id]) => checkout_sessions::retrieve(call, id, params),
        ("POST", ["checkout", "sessions", id]) => checkout_sessions::update(call, id, params),
        ("POST", ["checkout", "sessions", id, "expire"]) => {
            checkout_sessions::expire(call, id, params)
        }
        ("GET", ["checkout", "sessions", id, "line_items"]) => {
            checkout_sessions::line_items(call, id, params)
        }
        ("POST", ["billing_portal", "sessions"]) => billing_portal_sessions::create(call, params),
        _ => return None,
    })
}

fn subscribed(call: &Call<'_>, method: &Method, path: &[&str], params: Params) -> Option<Answer> {
    Some(match (method.as_str(), path) {
        ("POST", ["subscriptions"]) => subscriptions::create(call, params),
        ("GET", ["subscriptions"]) => subscriptions::list(call, params),
        ("GET", ["subscriptions", id]) => subscriptions::retrieve(call, id, params),
        ("POST", ["subscriptions", id]) => subscriptions::update(call, id, params),
        ("DELETE", ["subscriptions", id]) => subscriptions::cancel(call, id, params),
        ("POST", ["subscription_items"]) => subscription_items::create(call, params),
        ("GET", ["subscription_items"]) => subscription_items::list(call, params),
        ("GET", ["subscription_items", id]) => subscription_items::retrieve(call, id, params),
        ("POST", ["subscription_items", id]) => subscription_items::update(call, id, params),
        ("DELETE", ["subscription_items", id]) => subscription_items::delete(call, id, params),
        // Removed in basil.
        ("POST", ["subscription_items", id, "usage_records"]) if call.version.is_before_basil() => {
            usage_records::create(call, id, params)
        }
        ("GET", ["subscription_items", id, "usage_record_summaries"])
            if call.version.is_before_basil() =>
        {
            usage_records::summaries(call, id, params)
        }
        _ => return None,
    })
}

fn billing(call: &Call<'_>, method: &Method, path: &[&str], params: Params) -> Option<Answer> {
    Some(match (method.as_str(), path) {
        ("POST", ["meters"]) => meters::create(call, params),
        ("GET", ["meters"]) => meters::list(call, params),
        ("GET", ["meters", id]) => meters::retrieve(call, id, params),
        ("POST", ["meters", id]) => meters::update(call, id, params),
        ("POST", ["meters", id, "deactivate"]) => meters::deactivate(call, id, params),
        ("POST", ["meters", id, "reactivate"]) => meters::reactivate(call, id, params),
        ("GET", ["meters", id, "event_summaries"]) => meter_event_summaries::list(call, id, params),
        ("POST", ["meter_events"]) => meter_events::create(call, params),
        ("POST", ["meter_event_adjustments"]) => meter_event_adjustments::create(call, params),
        _ => return None,
    })
}

fn invoiced(call: &Call<'_>, method: &Method, path: &[&str], params: Params) -> Option<Answer> {
    Some(match (method.as_str(), path) {
        ("GET", []) => invoices::list(call, params),
        ("POST", ["create_preview"]) => invoice_preview::create(call, params),
        // Removed in basil, for the preview.
        ("GET", ["upcoming"]) if call.version.is_before_basil() => {
            invoice_preview::upcoming(call, params)
        }
        ("GET", ["upcoming", "lines"]) if call.version.is_before_basil() => {
            invoice_preview::upcoming_lines(call, params)
        }
        ("GET", [id]) => invoices::retrieve(call, id, params),
        ("POST", [id]) => invoices::update(call, id, params),
        ("GET", [id, "lines"]) => invoices::lines(call, id, params),
        ("POST", [id, "finalize"]) => invoices::finalize(call, id, params),
        ("POST", [id, "pay"]) => invoices::pay(call, id, params),
        ("POST", [id, "void"]) => invoices::void(call, id, params),
        ("POST", [id, "mark_uncollectible"]) => invoices::mark_uncollectible(call, id, params),
        _ => return None,
    })
}

fn clocks(call: &Call<'_>, method: &Method, path: &[&str], params: Params) -> Option<Answer> {
    Some(match (method.as_str(), path) {
        ("POST", ["test_clocks"]) => test_clocks::create(call, params),
        ("GET", ["test_clocks"]) => test_clocks::list(call, params),
        ("GET", ["test_clocks", id]) => test_clocks::retrieve(call, id, params),
        ("DELETE", ["test_clocks", id]) => test_clocks::delete(call, id, params),
        ("POST", ["test_clocks", id, "advance"]) => test_clocks::advance(call, id, params),
        _ => return None,
    })
}

fn told(call: &Call<'_>, method: &Method, path: &[&str], params: Params) -> Option<Answer> {
    Some(match (method.as_str(), path) {
        ("GET", ["events"]) => events::list(call, params),
        ("GET", ["events", id]) => events::retrieve(call, id, params),
        ("POST", ["webhook_endpoints"]) => webhook_endpoints::create(call, params),
        ("GET", ["webhook_endpoints"]) => webhook_endpoints::list(call, params),
        ("GET", ["webhook_endpoints", id]) => webhook_endpoints::retrieve(call, id, params),
        ("POST", ["webhook_endpoints", id]) => webhook_endpoints::update(call, id, params),
        ("DELETE", ["webhook_endpoints", id]) => webhook_endpoints::delete(call, id, params),
        _ => return None,
    })
}

fn v2(call: &Call<'_>, request: &ApiRequest, path: &[&str]) -> Option<Answer> {
    let mut query = Params::parse_v2(&request.query);
    let method = request.method.as_str();
    if let ("POST", ["billing", "meter_event_stream"]) = (method, path) {
        let token = request.session_token.as_deref().unwrap_or_default();
        let body = meter_event_stream::check_session(call, token).and_then(|()| json_of(request));
        return Some(body.and_then(|body| meter_event_stream::stream(call, &body)));
    }
    match (method, path) {
        ("GET", ["core", "events"]) => return Some(events::list_v2(call, &request.query)),
        ("GET", ["core", "event_destinations"]) => {
            return Some(event_destinations::list(call, &request.query));
        }
        _ => {}
    }
    let includes = match query.texts("include") {
        Ok(includes) => includes.unwrap_or_default(),
        Err(error) => return Some(Err(error)),
    };
    let body = match json_of(request) {
        Ok(body) => body,
        Err(error) => return Some(Err(error)),
    };
    Some(match (method, path) {
        ("POST", ["billing", "meter_event_session"]) => meter_event_stream::create_session(call),
        ("POST", ["billing", "meter_events"]) => meter_event_stream::create_event(call, &body),
        ("POST", ["billing", "meter_event_adjustments"]) => {
            meter_event_adjustments::create_v2(call, &body)
        }
        ("GET", ["core", "events", id]) => events::retrieve_v2(call, id),
        ("POST", ["core", "event_destinations"]) => event_destinations::create(call, &body),
        ("GET", ["core", "event_destinations", id]) => {
            event_destinations::retrieve(call, id, &includes)
        }
        ("POST", ["core", "event_destinations", id]) => event_destinations::update(call, id, &body),
        ("DELETE", ["core", "event_destinations", id]) => event_destinations::delete(call, id),
        ("POST", ["core", "event_destinations", id, "ping"]) => event_destinations::ping(call, id),
        ("POST", ["core", "event_destinations", id, "enable"]) => {
            event_destinations::set_enabled(call, id, true)
        }
        ("POST", ["core", "event_destinations", id, "disable"]) => {
            event_destinations::set_enabled(call, id, false)
        }
        _ => return None,
    })
}

/// The body of a v2 request; a call without parameters may send none.
fn json_of(request: &ApiRequest) -> Result<Value> {
    if request.body.is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_slice(&request.body).map_err(|_| {
        StripeError::invalid("The request body could not be parsed as JSON.").not_remembered()
    })
}
