"""Pagination, and what every request has."""

import pytest
import stripe

from conftest import SECRET_KEY, unique, v1

pytestmark = pytest.mark.usefixtures("simulator")


@pytest.fixture(scope="module")
def seven():
    """Seven customers of one email, oldest first."""
    email = f"{unique('page')}@example.com"
    return email, [stripe.Customer.create(email=email).id for _ in range(7)]


def test_a_list_is_newest_first_and_says_whether_there_is_more(seven):
    email, ids = seven
    page = stripe.Customer.list(email=email, limit=3)
    assert (page.object, page.url, page.has_more) == ("list", "/v1/customers", True)
    assert [one.id for one in page.data] == ids[:3:-1]
    last = stripe.Customer.list(email=email, limit=4, starting_after=ids[4])
    assert [one.id for one in last.data] == ids[3::-1]
    assert not last.has_more


def test_pages_follow_by_themselves(seven):
    email, ids = seven
    page = stripe.Customer.list(email=email, limit=2)
    assert [one.id for one in page.auto_paging_iter()] == ids[::-1]


def test_pages_go_backwards(seven):
    email, ids = seven
    page = stripe.Customer.list(email=email, limit=2, ending_before=ids[0])
    assert [one.id for one in page.data] == [ids[2], ids[1]]
    assert [one.id for one in page.auto_paging_iter()] == ids[1:]


def test_the_next_and_the_previous_page_are_asked_for(seven):
    email, ids = seven
    first = stripe.Customer.list(email=email, limit=3)
    assert [one.id for one in first.next_page().data] == [ids[3], ids[2], ids[1]]
    middle = stripe.Customer.list(email=email, limit=2, ending_before=ids[1])
    assert [one.id for one in middle.data] == [ids[3], ids[2]]
    assert [one.id for one in middle.previous_page().data] == [ids[5], ids[4]]


def test_lists_are_bounded_by_time(seven):
    email, ids = seven
    created = stripe.Customer.retrieve(ids[0]).created
    assert stripe.Customer.list(email=email, created={"lt": created}).data == []
    assert len(stripe.Customer.list(email=email, created={"gte": created}).data) == 7


def test_the_client_pages_too(seven, client):
    email, ids = seven
    page = v1(client).customers.list({"email": email, "limit": 2})
    assert [one.id for one in page.auto_paging_iter()] == ids[::-1]


def test_an_answer_has_its_request_id_and_version():
    customer = stripe.Customer.create()
    answer = customer.last_response
    assert answer.request_id.startswith("req_")
    assert answer.headers["stripe-version"] == stripe.api_version
    assert answer.headers["content-type"] == "application/json"
    assert answer.code == 200


def test_a_request_can_pin_another_version(subscribed):
    story = subscribed()
    old = stripe.Subscription.retrieve(story.subscription.id, stripe_version="2024-06-20")
    new = stripe.Subscription.retrieve(story.subscription.id, stripe_version="2026-06-24.dahlia")
    assert old.current_period_end
    assert "current_period_end" not in new
    assert new["items"]["data"][0].current_period_end == old.current_period_end
    assert "current_period_end" not in old["items"]["data"][0]


def test_a_request_can_bring_its_own_key(simulator):
    assert stripe.Customer.create(api_key=SECRET_KEY).object == "customer"
    account = stripe.Account.retrieve()
    assert stripe.Customer.create(stripe_account=account.id).object == "customer"


def test_any_path_can_be_asked_for_raw(client):
    made = client.raw_request("post", "/v1/customers", email="raw@example.com")
    assert client.deserialize(made, api_mode="V1").email == "raw@example.com"
    made = client.raw_request("post", "/v2/billing/meter_event_session")
    assert client.deserialize(made, api_mode="V2").authentication_token


def test_every_resource_is_searched_by_its_fields(subscribed):
    mark = unique("search")
    story = subscribed(metadata={"mark": mark})
    stripe.Price.modify(story.price.id, metadata={"mark": mark}, lookup_key=mark)
    stripe.Product.modify(story.price.product, metadata={"mark": mark}, name=mark)
    stripe.Invoice.modify(story.subscription.latest_invoice, metadata={"mark": mark})
    marked = f"metadata['mark']:'{mark}'"
    for kind, query, found in [
        (stripe.Price, f"active:'true' AND {marked}", story.price.id),
        (stripe.Price, f"lookup_key:'{mark}' AND currency:'usd'", story.price.id),
        (stripe.Product, f"active:'true' AND name:'{mark}'", story.price.product),
        (stripe.Product, f"name~'{mark}'", story.price.product),
        (stripe.Subscription, f"status:'active' AND {marked}", story.subscription.id),
        (stripe.Invoice, f"{marked} AND total:0", story.subscription.latest_invoice),
        (stripe.Invoice, f"subscription:'{story.subscription.id}'", story.subscription.latest_invoice),
    ]:
        assert [one.id for one in kind.search(query=query).data] == [found], query
