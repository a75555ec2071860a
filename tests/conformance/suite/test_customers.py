"""Customers and their payment methods."""

import json

import pytest
import stripe

from conftest import make_client, make_payer, unique, v1

pytestmark = pytest.mark.usefixtures("simulator")


def test_a_customer_brings_a_payment_method():
    customer = make_payer(name="Ada", description="The first", phone="+49 30 1", metadata={"tier": "gold"})
    assert customer.id.startswith("cus_")
    assert (customer.email, customer.name) == ("ada@example.com", "Ada")
    method = customer.invoice_settings.default_payment_method
    assert method.startswith("pm_")
    assert stripe.PaymentMethod.retrieve(method).customer == customer.id
    shown = stripe.Customer.retrieve(customer.id, expand=["invoice_settings.default_payment_method"])
    assert shown.invoice_settings.default_payment_method.card.last4 == "4242"


def test_a_customer_keeps_address_and_shipping():
    address = {"line1": "1 Main St", "city": "Berlin", "country": "DE", "postal_code": "10115"}
    customer = stripe.Customer.create(
        address=address,
        shipping={"name": "Ada", "address": address},
        preferred_locales=["de"],
        tax_exempt="reverse",
    )
    assert customer.address.city == "Berlin"
    assert customer.address.line2 is None
    assert customer.shipping.name == "Ada"
    assert customer.shipping.address.country == "DE"
    assert (customer.preferred_locales, customer.tax_exempt) == (["de"], "reverse")


def test_a_payment_method_is_attached_made_default_and_detached():
    customer = stripe.Customer.create(email="grace@example.com")
    method = stripe.PaymentMethod.attach("pm_card_visa", customer=customer.id)
    stripe.Customer.modify(customer.id, invoice_settings={"default_payment_method": method.id})
    listed = stripe.PaymentMethod.list(customer=customer.id, type="card")
    assert [one.id for one in listed.data] == [method.id]
    assert [one.id for one in stripe.Customer.list_payment_methods(customer.id).data] == [method.id]
    assert stripe.Customer.retrieve_payment_method(customer.id, method.id).id == method.id
    detached = stripe.PaymentMethod.detach(method.id)
    assert detached.customer is None
    left = stripe.Customer.retrieve(customer.id)
    assert left.invoice_settings.default_payment_method is None


def test_a_card_is_made_of_a_test_token():
    method = stripe.PaymentMethod.create(
        type="card", card={"token": "tok_visa"}, billing_details={"name": "Ada", "email": "a@b.example"}
    )
    assert (method.type, method.card.brand, method.customer) == ("card", "visa", None)
    assert method.billing_details.name == "Ada"
    assert method.billing_details.email == "a@b.example"
    assert method.billing_details.phone is None


def test_a_mastercard_says_so():
    method = stripe.PaymentMethod.attach("pm_card_mastercard", customer=stripe.Customer.create().id)
    assert (method.card.brand, method.card.last4) == ("mastercard", "4444")


def test_metadata_is_merged_key_by_key():
    customer = stripe.Customer.create(metadata={"a": "1", "b": "2"})
    changed = stripe.Customer.modify(customer.id, metadata={"b": "", "c": "3"})
    assert json.loads(str(changed.metadata)) == {"a": "1", "c": "3"}
    emptied = stripe.Customer.modify(customer.id, metadata="")
    assert json.loads(str(emptied.metadata)) == {}


def test_an_empty_text_unsets():
    customer = stripe.Customer.create(name="Ada", description="x")
    changed = stripe.Customer.modify(customer.id, name="", description="")
    assert (changed.name, changed.description) == (None, None)


def test_a_customer_is_found_by_metadata_and_email():
    external = unique("ext")
    email = f"{external}@example.com"
    customer = stripe.Customer.create(email=email, name="O'Hara", metadata={"external_id": external})
    for query in [
        f"metadata['external_id']:'{external}'",
        f'email:"{email}"',
        f"email~'{external}' AND name:'O\\'Hara'",
        f"metadata['external_id']:'{external}' AND -name:'Ada'",
        f"metadata['external_id']:'nobody' OR email:'{email}'",
        f"metadata['external_id']:'{external}' AND created>1000000000",
        f"-metadata['external_id']:null AND email:'{email}'",
    ]:
        found = stripe.Customer.search(query=query, limit=3)
        assert found.object == "search_result"
        assert [one.id for one in found.data] == [customer.id], query


def test_search_results_are_paged():
    batch = unique("batch")
    made = [stripe.Customer.create(metadata={"batch": batch}).id for _ in range(5)]
    found = stripe.Customer.search(query=f"metadata['batch']:'{batch}'", limit=2)
    assert found.has_more
    assert sorted(one.id for one in found.auto_paging_iter()) == sorted(made)


def test_customers_are_listed_by_email():
    email = f"{unique('list')}@example.com"
    made = stripe.Customer.create(email=email)
    assert [one.id for one in stripe.Customer.list(email=email).data] == [made.id]


def test_a_deleted_customer_says_so():
    customer = stripe.Customer.create()
    assert stripe.Customer.delete(customer.id).deleted
    assert stripe.Customer.retrieve(customer.id).deleted


def test_a_balance_transaction_changes_the_balance():
    customer = stripe.Customer.create()
    credit = stripe.Customer.create_balance_transaction(
        customer.id, amount=-500, currency="usd", description="Sorry", metadata={"why": "outage"}
    )
    assert (credit.ending_balance, credit.type) == (-500, "adjustment")
    assert stripe.Customer.retrieve(customer.id).balance == -500
    listed = stripe.Customer.list_balance_transactions(customer.id)
    assert [one.id for one in listed.data] == [credit.id]
    again = stripe.Customer.retrieve_balance_transaction(customer.id, credit.id)
    assert again.metadata["why"] == "outage"


def test_the_client_style_makes_the_same(simulator):
    customers = v1(make_client(simulator)).customers
    customer = customers.create({"email": "client@example.com", "metadata": {"a": "1"}})
    assert customers.update(customer.id, {"name": "Client"}).name == "Client"
    assert customers.retrieve(customer.id).metadata["a"] == "1"
    assert customers.delete(customer.id).deleted


def test_the_account_is_the_keys():
    account = stripe.Account.retrieve()
    assert account.id.startswith("acct_")
    assert account.object == "account"
