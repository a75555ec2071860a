"""Makes of what schemathesis generated a request that can succeed.

Generated ids name nobody, and generated fields contradict each other: alone they would only ever be
refused. Of the requests that fit the schema most are brought near success, and the rest are sent as
they are. What is done to one depends on it alone, so that it can be played again.
"""

import zlib

from system import ACTION_TYPE, EVENTS, PRICE_LOOKUP_KEY, RESERVATIONS

MAKE = {}


def of(operation):
    def register(function):
        MAKE[operation] = function
        return function

    return register


def make_plausible(case, system):
    number = zlib.crc32(repr((case.path_parameters, case.query, case.body)).encode("utf-8", "replace"))
    if number % 5 == 0:
        return
    operation = f"{case.method.upper()} {case.path}"
    customer = system.customers[number % len(system.customers)]
    if case.path_parameters and "customer_id" in case.path_parameters:
        case.path_parameters = {**case.path_parameters, "customer_id": customer["customer_id"]}
    if operation in MAKE:
        MAKE[operation](case, system, customer, number)


def without(fields, *names):
    return {name: value for name, value in fields.items() if name not in names}


def event(fields, customer, number):
    """The generated event, of a customer that is there and a time that can be billed."""
    fields = without(fields, "occurred_at", "subscription_item_id")
    fields |= {"customer_id": customer["customer_id"], "action_type": ACTION_TYPE}
    if number % 3 == 0:
        fields["subscription_item_id"] = customer["subscription_item_id"]
    if not fields.get("event_id"):
        fields["event_id"] = f"generated-{number}"
    return fields


@of("POST /v1/usage")
def emit(case, system, customer, number):
    if isinstance(case.body, dict):
        case.body = event(case.body, customer, number)


@of("POST /v1/usage/batch")
def emit_batch(case, system, customer, number):
    if isinstance(case.body, dict) and isinstance(case.body.get("events"), list):
        events = [it for it in case.body["events"] if isinstance(it, dict)]
        case.body = {"events": [event(it, customer, number) for it in events]}


def cloud_event(fields, customer, number):
    """The generated CloudEvent, of a customer that is there and a time that can be billed."""
    fields = without(fields, "time", "data_base64", "datacontenttype")
    return fields | {"subject": customer["customer_id"], "type": ACTION_TYPE}


@of("POST /v1/events")
def receive_cloud_events(case, system, customer, number):
    if isinstance(case.body, list):
        events = [it for it in case.body if isinstance(it, dict)]
        case.body = [cloud_event(it, customer, number) for it in events]
    elif case.media_type == "application/json":
        attributes = {
            "specversion": "1.0",
            "id": f"generated-{number}",
            "source": "/generated",
            "type": ACTION_TYPE,
            "subject": customer["customer_id"],
        }
        case.headers = {**(case.headers or {}), **{f"ce-{name}": it for name, it in attributes.items()}}
    elif isinstance(case.body, dict):
        case.body = cloud_event(case.body, customer, number)


@of("POST /v1/usage/reservations")
def reserve(case, system, customer, number):
    if isinstance(case.body, dict):
        case.body = case.body | {
            "reservation_id": f"generated-{number}",
            "customer_id": customer["customer_id"],
            "action_type": ACTION_TYPE,
        }


@of("DELETE /v1/usage/reservations/{reservation_id}")
def release(case, system, customer, number):
    case.path_parameters = {"reservation_id": f"held-{number % RESERVATIONS}"}
    case.query = {"customer_id": customer["customer_id"]}


@of("POST /v1/customers")
def create_customer(case, system, customer, number):
    if not isinstance(case.body, dict):
        return
    kept = without(
        case.body,
        "stripe_customer_id",
        "test_clock",
        "checkout",
        "setup_intent",
        "billing_cycle_anchor",
        "proration_behavior",
        "additional_prices",
        "tax_ids",
        "automatic_tax",
        "address",
    )
    payment = {"payment_method": "pm_card_visa"}
    if number % 4 == 1:
        payment = {
            "payment_method": None,
            "checkout": {"success_url": "https://example.com/welcome"},
            "external_id": kept.get("external_id") or f"generated-{number}",
        }
    case.body = {**kept, "email": f"generated-{number}@example.com", **payment}


@of("POST /v1/customers/{customer_id}/subscription")
def update_subscription(case, system, customer, number):
    if number % 2 == 0:
        case.body = {"price_lookup_key": PRICE_LOOKUP_KEY}
    else:
        case.body = {"cancel_at_period_end": number % 4 == 1}


@of("DELETE /v1/customers/{customer_id}/subscription")
def cancel_subscription(case, system, customer, number):
    case.path_parameters = {"customer_id": system.leaving["customer_id"]}


@of("GET /v1/usage/{customer_id}")
def find_usage_event(case, system, customer, number):
    case.query = {**(case.query or {}), "event_id": f"event-{number % EVENTS}"}


@of("GET /v1/usage/{customer_id}/{event_id}")
def get_usage_event(case, system, customer, number):
    case.path_parameters = {**case.path_parameters, "event_id": f"event-{number % EVENTS}"}


@of("GET /v1/customers/{customer_id}/usage")
def get_usage(case, system, customer, number):
    query = case.query or {}
    if number % 3 == 0:
        query = without(query, "from", "to")
    elif number % 3 == 1:
        query = {**without(query, "period_days"), "from": "2026-01-01T00:00:00Z", "to": "1769947200"}
    else:
        query = without(query, "from", "to", "period_days")
    case.query = query


@of("GET /v1/customers/{customer_id}/events")
@of("GET /v1/customers/{customer_id}/events/export")
def list_usage_events(case, system, customer, number):
    query = without(case.query or {}, "cursor")
    for first, second in (("from", "to"), ("billed_from", "billed_to")):
        if number % 2 == 0:
            query = without(query, second)
        else:
            query |= {first: "2026-01-01T00:00:00Z", second: "2524608000"}
    case.query = query


@of("GET /v1/customers/{customer_id}/invoices/{invoice_id}/explanation")
def explain_invoice(case, system, customer, number):
    case.path_parameters = {**case.path_parameters, "invoice_id": customer["invoice_id"]}


@of("GET /dashboard")
@of("GET /dashboard/data")
@of("GET /dashboard/invoices")
@of("POST /dashboard/billing-portal")
def under_a_link(case, system, customer, number):
    case.query = dict(system.link)


@of("GET /dashboard/assets/{version}/{name}")
def dashboard_asset(case, system, customer, number):
    names = ["main.js", "dashboard.css", "uPlot.LICENSE.txt"]
    case.path_parameters = {"version": f"{number:016x}", "name": names[number % 3]}
