"""The README's quick starts and the example agents, as they stand there."""

import os
import re
import subprocess
import sys

import pytest
from drivers import PYTHON_PATH, REPOSITORY, TARGET
from system import await_that

LINES_MAX = 10
# What runs a block of a language, given on standard input, and what it needs in the environment.
RUNNERS = {
    "python": ([sys.executable, "-"], PYTHON_PATH),
    # Compiled from a file that must be the block.
    "rust": ([TARGET / "examples/quick_start"], {}),
}
DOCUMENTS = len(list((REPOSITORY / "examples/documents").iterdir()))


def quick_start(language):
    """The block of the README's section "In an agent"."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## In an agent\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)[1]
    return re.search(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[1]


def run(command, environment, text=None):
    done = subprocess.run(
        command,
        input=text,
        env={**os.environ, **environment},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def of_the_system(system, customer):
    return {
        "METERLINE_URL": system.url,
        "METERLINE_API_KEY": system.keys["$key"],
        "CUSTOMER_ID": customer,
    }


def test_what_was_compiled_for_the_rust_quick_start_is_the_block():
    file = REPOSITORY / "clients/rust/examples/quick_start.rs"
    comment, _, program = file.read_text(encoding="utf-8").partition("\n")
    assert comment.startswith("//! ")
    assert program == quick_start("rust")


@pytest.mark.parametrize("language", RUNNERS)
def test_a_quick_start_is_short_and_bills_once(language, system):
    block = quick_start(language)
    assert len(block.splitlines()) <= LINES_MAX
    customer = system.new_customer()
    command, environment = RUNNERS[language]
    for _ in range(2):
        output = run(command, {**environment, **of_the_system(system, customer)}, block)
        assert output.split() == ["a", "summary", "delivered"]
    assert system.meter_events(customer)["value"] == 1
    await_that(lambda: system.reported_units(customer) == 1, "the unit in the usage report")


def test_the_python_agent_bills_each_document_once(system, models):
    customer = system.new_customer()
    command = [sys.executable, "examples/python/process_documents.py"]
    command += ["--customer", customer, "--job", "monday"]
    environment = {
        **PYTHON_PATH,
        **of_the_system(system, customer),
        "ANTHROPIC_BASE_URL": models,
        "ANTHROPIC_API_KEY": "any",
    }
    first = run(command, environment).splitlines()
    again = run(command, environment).splitlines()
    assert len(first) == DOCUMENTS
    assert all(line.endswith("[delivered]") for line in first), first
    assert all(line.endswith("[billed before]") for line in again), again
    assert system.meter_events(customer)["value"] == DOCUMENTS

