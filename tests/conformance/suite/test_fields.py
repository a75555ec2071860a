"""The fields of all that was answered, compared with the lists in the simulator's folder.

The lists say what the simulator lacks, and what it has beyond Stripe's description. They
are written by `make conformance FIELDS=update`, and this fails where they are not current.
"""

import json
import os
from pathlib import Path

import pytest

from conftest import FIELDS, IS_ACACIA

ROOT = Path(__file__).resolve().parents[3]
LISTS = ROOT / "local/stripe-simulator/fields"
#: The full path of Stripe's fixtures: the simulator's README says where they come from.
FIXTURES = os.environ.get("STRIPE_FIXTURES")


@pytest.fixture(autouse=True)
def whole_suite(request):
    """Part of the suite has seen part of the fields."""
    chosen = {item.path.name for item in request.session.items}
    missing = {path.name for path in Path(__file__).parent.glob("test_*.py")} - chosen
    if missing or request.config.getoption("keyword"):
        pytest.skip("only after the whole suite")


def compare(request, name, lines):
    path = LISTS / name
    text = "".join(f"{line}\n" for line in lines)
    if request.config.getoption("--update-fields"):
        LISTS.mkdir(exist_ok=True)
        path.write_text(text)
    hint = f"{path} is not current: make conformance FIELDS=update"
    assert path.read_text().splitlines() == lines, hint


def test_the_fields_that_the_sdk_knows(request):
    assert len(FIELDS.answers) >= 20, "hardly an object was answered"
    compare(request, "acacia.txt" if IS_ACACIA else "newest.txt", FIELDS.differences())


@pytest.mark.newest
def test_the_fields_of_stripes_fixtures(request):
    if not FIXTURES:
        pytest.skip("STRIPE_FIXTURES names no copy of Stripe's fixtures")
    fixtures = json.loads(Path(FIXTURES).read_text())["resources"]
    compare(request, "fixtures.txt", FIELDS.fixture_differences(fixtures))
