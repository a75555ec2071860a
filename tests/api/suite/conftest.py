"""One system for the suite, how often requests are made of each operation, and what came of them."""

import os
from collections import Counter, defaultdict

import pytest
from hypothesis import HealthCheck, settings

from system import System

# Of each operation and kind of caller; more find more, and take as much longer.
EXAMPLES = int(os.environ.get("API_EXAMPLES") or 60)
# A seed plays the same requests again; without one they are the same each time.
SEED = os.environ.get("API_SEED") or None

settings.register_profile(
    "api",
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=SEED is None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("api")


class Answers:
    """How often each operation had which outcome, for which kind of caller: a status, or what it hides."""

    def __init__(self):
        self.counts = defaultdict(Counter)

    def note(self, caller, operation, outcome):
        self.counts[caller, operation][str(outcome)] += 1

    def successes(self, caller, operation):
        counts = self.counts[caller, operation]
        return sum(counts[str(status)] for status in range(200, 300))


ANSWERS = Answers()


@pytest.fixture(scope="session")
def answers():
    return ANSWERS


@pytest.fixture(scope="session")
def system():
    system = System()
    yield system
    system.stop()


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: "often_enough" in item.name)


def pytest_terminal_summary(terminalreporter):
    total = 0
    for (caller, operation), counts in sorted(ANSWERS.counts.items()):
        total += sum(counts.values())
        statuses = "  ".join(f"{outcome}: {count}" for outcome, count in sorted(counts.items()))
        terminalreporter.write_line(f"{caller:>10}  {operation:<56} {statuses}")
    terminalreporter.write_line(f"{total} requests")
