"""Products and prices, as the tutorials make them."""

from decimal import Decimal

import pytest
import stripe

from conftest import make_client, make_meter, make_metered_price, unique, v1

pytestmark = pytest.mark.usefixtures("simulator")


def test_a_product_is_made_changed_and_listed():
    product = stripe.Product.create(name="Agent actions", unit_label="action", metadata={"team": "a"})
    assert (product.object, product.active, product.type) == ("product", True, "service")
    assert product.metadata["team"] == "a"
    changed = stripe.Product.modify(product.id, description="Each action", active=False)
    assert (changed.description, changed.active) == ("Each action", False)
    assert stripe.Product.retrieve(product.id).updated >= product.created
    assert product.id in [one.id for one in stripe.Product.list(active=False).data]
    assert product.id not in [one.id for one in stripe.Product.list(active=True).auto_paging_iter()]


def test_a_product_can_bring_its_default_price():
    product = stripe.Product.create(
        name="Seats",
        default_price_data={"currency": "usd", "unit_amount": 900, "recurring": {"interval": "month"}},
        expand=["default_price"],
    )
    assert product.default_price.unit_amount == 900
    assert product.default_price.product == product.id
    assert product.default_price.recurring.usage_type == "licensed"


@pytest.mark.newest
def test_a_metered_price_names_its_meter():
    meter = make_meter()
    price = make_metered_price(meter, unit_amount_decimal="0.000000000123")
    assert price.billing_scheme == "per_unit"
    assert price.recurring.usage_type == "metered"
    assert price.recurring.meter == meter.id
    assert price.unit_amount is None
    assert price.unit_amount_decimal == Decimal("0.000000000123")
    found = stripe.Price.list(recurring={"usage_type": "metered", "meter": meter.id})
    assert [one.id for one in found.data] == [price.id]


@pytest.mark.acacia
def test_before_basil_a_metered_price_needs_no_meter():
    product = stripe.Product.create(name="Legacy tokens")
    price = stripe.Price.create(
        product=product.id,
        currency="usd",
        unit_amount=2,
        recurring={"interval": "month", "usage_type": "metered", "aggregate_usage": "sum"},
    )
    assert price.recurring.usage_type == "metered"
    assert price.recurring.aggregate_usage == "sum"
    assert price.recurring.meter is None


@pytest.mark.parametrize("mode", ["graduated", "volume"])
def test_tiers_are_shown_where_they_are_expanded(mode):
    price = make_metered_price(
        make_meter(),
        billing_scheme="tiered",
        tiers_mode=mode,
        tiers=[
            {"up_to": 1000, "unit_amount": 0},
            {"up_to": 5000, "unit_amount_decimal": "0.5", "flat_amount": 100},
            {"up_to": "inf", "unit_amount_decimal": "0.25"},
        ],
        expand=["tiers"],
    )
    assert (price.billing_scheme, price.tiers_mode) == ("tiered", mode)
    assert [tier.up_to for tier in price.tiers] == [1000, 5000, None]
    assert price.tiers[1].flat_amount == 100
    assert price.unit_amount is None
    assert "tiers" not in stripe.Price.retrieve(price.id)


def test_quantities_are_transformed():
    price = make_metered_price(
        make_meter(), unit_amount=100, transform_quantity={"divide_by": 1000, "round": "up"}
    )
    assert (price.transform_quantity.divide_by, price.transform_quantity.round) == (1000, "up")


def test_a_lookup_key_finds_a_price_and_moves_to_the_next():
    key = unique("standard")
    first = make_metered_price(make_meter(), lookup_key=key)
    second = make_metered_price(make_meter(), lookup_key=key, transfer_lookup_key=True)
    found = stripe.Price.list(lookup_keys=[key], expand=["data.product"])
    assert [price.id for price in found.data] == [second.id]
    assert found.data[0].product.name == "Tokens"
    assert stripe.Price.retrieve(first.id).lookup_key is None


@pytest.mark.parametrize(("currency", "amount"), [("eur", 1999), ("jpy", 500), ("kwd", 1230)])
def test_a_price_has_its_currency(currency, amount):
    price = stripe.Price.create(currency=currency.upper(), unit_amount=amount, product_data={"name": "Once"})
    assert (price.currency, price.unit_amount, price.type) == (currency, amount, "one_time")
    assert price.recurring is None


def test_prices_are_filtered_by_product_currency_and_type():
    product = stripe.Product.create(name="Two prices")
    monthly = stripe.Price.create(
        product=product.id, currency="eur", unit_amount=100, recurring={"interval": "month"}
    )
    once = stripe.Price.create(product=product.id, currency="usd", unit_amount=100)

    def ids(**filters):
        return [price.id for price in stripe.Price.list(product=product.id, **filters).data]

    assert ids() == [once.id, monthly.id]
    assert ids(type="recurring") == [monthly.id]
    assert ids(currency="usd") == [once.id]
    assert ids(active=False) == []


def test_a_price_is_changed():
    price = stripe.Price.create(currency="usd", unit_amount=1, product_data={"name": "Once"})
    changed = stripe.Price.modify(price.id, active=False, nickname="old", metadata={"a": "b"})
    assert (changed.active, changed.nickname, changed.metadata["a"]) == (False, "old", "b")


def test_a_product_is_deleted_while_nothing_needs_it():
    product = stripe.Product.create(name="Never sold")
    deleted = stripe.Product.delete(product.id)
    assert (deleted.id, deleted.deleted) == (product.id, True)


def test_the_client_style_makes_the_same(simulator):
    services = v1(make_client(simulator))
    product = services.products.create({"name": "By client"})
    price = services.prices.create(
        {"product": product.id, "currency": "usd", "unit_amount": 5, "recurring": {"interval": "day"}}
    )
    assert services.prices.retrieve(price.id, {"expand": ["product"]}).product.name == "By client"
    assert [one.id for one in services.prices.list({"product": product.id}).data] == [price.id]
    assert services.products.update(product.id, {"name": "Renamed"}).name == "Renamed"
