"""Idempotency keys, and the SDK's own retries."""

import threading

import pytest
import stripe

from conftest import make_client, make_meter, unique, v1


def test_a_key_replays_the_first_answer(simulator):
    key = unique("key")
    first = stripe.Customer.create(email="a@b.example", idempotency_key=key)
    again = stripe.Customer.create(email="a@b.example", idempotency_key=key)
    assert again.id == first.id
    headers = again.last_response.headers
    assert headers["idempotent-replayed"] == "true"
    assert headers["original-request"] == first.last_response.request_id
    assert headers["idempotency-key"] == key
    assert "idempotent-replayed" not in first.last_response.headers


def test_a_key_means_one_request(simulator):
    key = unique("key")
    stripe.Customer.create(email="a@b.example", idempotency_key=key)
    with pytest.raises(stripe.IdempotencyError) as error:
        stripe.Customer.create(email="other@b.example", idempotency_key=key)
    assert (error.value.http_status, error.value.error.type) == (400, "idempotency_error")
    with pytest.raises(stripe.IdempotencyError):
        stripe.Product.create(name="x", idempotency_key=key)


def test_a_refused_request_does_not_use_up_its_key(simulator):
    key = unique("key")
    with pytest.raises(stripe.InvalidRequestError):
        stripe.Product.create(idempotency_key=key)
    assert stripe.Product.create(name="x", idempotency_key=key).name == "x"


def test_a_key_in_use_is_a_conflict(simulator):
    key = unique("key")
    simulator.order_fault(kind="delay_ms", delay_ms=1_500, path_prefix="/v1/customers")
    made = []

    def create():
        made.append(stripe.Customer.create(idempotency_key=key))

    first = threading.Thread(target=create)
    first.start()
    simulator.await_fault()
    with pytest.raises(stripe.APIError) as error:
        stripe.Customer.create(idempotency_key=key)
    first.join()
    assert error.value.http_status == 409
    assert error.value.error.code == "idempotency_key_in_use"
    assert len(made) == 1


def test_the_sdk_retries_a_conflict_until_the_first_is_done(simulator):
    key = unique("key")
    simulator.order_fault(kind="delay_ms", delay_ms=300, path_prefix="/v1/customers")
    customers = v1(make_client(simulator, max_network_retries=5)).customers
    made = []

    def create():
        made.append(customers.create(options={"idempotency_key": key}).id)

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 2 and len(set(made)) == 1


def test_the_sdk_retries_a_lost_answer_without_doing_it_twice(simulator):
    simulator.order_fault(kind="lose_answer", method="POST", path_prefix="/v1/customers")
    email = f"{unique('lost')}@example.com"
    customers = v1(make_client(simulator, max_network_retries=2)).customers
    made = customers.create({"email": email})
    assert [one.id for one in stripe.Customer.list(email=email).data] == [made.id]


def test_a_lost_answer_without_retries_is_a_connection_error(simulator):
    simulator.order_fault(kind="lose_answer", path_prefix="/v1/customers")
    with pytest.raises(stripe.APIConnectionError):
        stripe.Customer.create()


def test_a_stored_500_is_replayed(simulator):
    key = unique("key")
    simulator.order_fault(kind="error_before", status=500, path_prefix="/v1/customers")
    for _ in range(2):
        with pytest.raises(stripe.APIError) as error:
            stripe.Customer.create(idempotency_key=key)
        assert error.value.http_status == 500


def test_the_sdk_survives_an_outage(simulator):
    simulator.order_fault(kind="error_before", status=503, times=2, path_prefix="/v1/products")
    products = v1(make_client(simulator, max_network_retries=3)).products
    assert products.create({"name": "After all"}).name == "After all"


def test_an_identifier_is_refused_under_another_key(simulator):
    meter, customer = make_meter(), stripe.Customer.create()
    event = {
        "event_name": meter.event_name,
        "identifier": unique("once"),
        "payload": {"stripe_customer_id": customer.id, "value": "1"},
    }
    stripe.billing.MeterEvent.create(**event)
    with pytest.raises(stripe.InvalidRequestError) as error:
        stripe.billing.MeterEvent.create(**event)
    assert error.value.http_status == 400
    assert "already exists" in str(error.value)
    assert error.value.headers["stripe-should-retry"] == "false"


def test_v2_has_keys_too(simulator):
    meter, customer = make_meter(), stripe.Customer.create()
    meter_events = make_client(simulator).v2.billing.meter_events
    event = {
        "event_name": meter.event_name,
        "payload": {"stripe_customer_id": customer.id, "value": "1"},
    }
    options = {"idempotency_key": unique("v2")}
    first = meter_events.create(event, options)
    assert meter_events.create(event, options).identifier == first.identifier
    other = {**event, "payload": {**event["payload"], "value": "2"}}
    with pytest.raises(stripe.IdempotencyError) as error:
        meter_events.create(other, options)
    assert error.value.http_status == 400
