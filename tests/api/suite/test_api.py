"""Thousands of requests that are made from openapi.json: every answer is one that it describes."""

from pathlib import Path

import pytest
import schemathesis
from hypothesis import seed
from schemathesis.config import SchemathesisConfig

from conftest import EXAMPLES, SEED
from plausible import make_plausible

DOCUMENT = Path(__file__).parents[3] / "openapi.json"
CONFIG = SchemathesisConfig.from_dict(
    {
        "checks": {
            # Whether an id names somebody no schema tells; the minimum of successes stands in for it.
            "positive_data_acceptance": {"enabled": False},
        },
        "generation": {"max-examples": EXAMPLES},
    }
)
SCHEMA = schemathesis.openapi.from_path(DOCUMENT, config=CONFIG)
OPERATIONS = sorted(operation.ok().label for operation in SCHEMA.get_all_operations())

# Each event of a batch is judged by itself, and the batch is taken in any case. By
# operation: the content type of a batch.
JUDGED_ONE_BY_ONE = {
    "POST /v1/usage/batch": "application/json",
    "POST /v1/events": "application/cloudevents-batch+json",
}
ALL_REFUSED = "200 for none"
# They need no key; a dashboard's address holds a secret of its own.
OPEN = {
    "GET /dashboard",
    "GET /dashboard/data",
    "GET /dashboard/invoices",
    "POST /dashboard/billing-portal",
    "GET /dashboard/assets/{version}/{name}",
    "GET /openapi.json",
}
# Each success is a session at Stripe, of which a customer gets a few a minute.
FEW = {"POST /dashboard/billing-portal": 5}


def play(case, system, answers, caller, headers):
    operation = case.operation.label
    is_batch = operation in JUDGED_ONE_BY_ONE and case.media_type == JUDGED_ONE_BY_ONE[operation]
    excluded = []
    if is_batch:
        excluded.append(schemathesis.checks.negative_data_rejection)
    response = case.call_and_validate(
        base_url=system.url, headers=headers, excluded_checks=excluded
    )
    outcome = response.status_code
    if is_batch and outcome == 200:
        batch = response.json()
        if len(batch["results"]) == batch["rejected"]:
            outcome = ALL_REFUSED
    answers.note(caller, operation, outcome)
    return outcome, response


def seeded(test):
    return test if SEED is None else seed(int(SEED))(test)


@seeded
@SCHEMA.parametrize()
def test_an_operator_is_answered_as_described(case, system, answers):
    if case.meta is None or case.meta.generation.mode.is_positive:
        make_plausible(case, system)
    play(case, system, answers, "operator", {"Authorization": f"Bearer {system.key}"})


@seeded
@SCHEMA.parametrize()
def test_who_may_read_one_customer_is_refused_all_else(case, system, answers):
    if case.meta is None or case.meta.generation.mode.is_positive:
        make_plausible(case, system)
    headers = {"Authorization": f"Bearer {system.restricted_key}"}
    outcome, response = play(case, system, answers, "restricted", headers)
    operation = case.operation.label
    own = system.customers[0]["customer_id"]
    may = operation in OPEN or (
        operation.startswith("GET ") and case.path_parameters.get("customer_id") == own
    )
    # The dashboard link is made by a reader, for the one customer.
    may = may or (operation.endswith("/dashboard-links") and own in response.request.url)
    assert may or outcome == ALL_REFUSED or outcome >= 400, response.text


@seeded
@SCHEMA.parametrize()
def test_a_stranger_is_refused_everywhere(case, system, answers):
    outcome, response = play(case, system, answers, "stranger", {})
    assert case.operation.label in OPEN or outcome >= 400, response.text


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_succeeded_often_enough(operation, answers):
    """A wall of refusals is an answer as described, too: it is not to pass for a test."""
    assert answers.successes("operator", operation) >= FEW.get(operation, max(5, EXAMPLES // 8))
    if operation not in OPEN:
        assert answers.successes("stranger", operation) == 0
