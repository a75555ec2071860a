"""The README's quick starts and the example agents, as they stand there."""

import os
import re
import subprocess
import sys

import pytest
from drivers import CLIENTS, PYTHON_PATH, REPOSITORY, TARGET
from system import await_that

LINES_MAX = 10
# What runs a block of a language, given on standard input, what it needs in the environment, and where.
RUNNERS = {
    "python": ([sys.executable, "-"], PYTHON_PATH, REPOSITORY),
    # In the package, which finds itself by its name. The block has no types that Node.js would not take.
    "typescript": (["node", "--input-type=module", "-"], {}, CLIENTS / "typescript"),
    # Compiled from a file that must be the block.
    "rust": ([TARGET / "examples/quick_start"], {}, REPOSITORY),
}
DOCUMENTS = len(list((REPOSITORY / "examples/documents").iterdir()))


def quick_start(language):
    """The block of the README's section "In an agent"."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## In an agent\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)[1]
    return re.search(rf"^```{language}\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[1]


def run(command, environment, text=None, folder=REPOSITORY):
    done = subprocess.run(
        command,
        input=text,
        env={**os.environ, **environment},
        cwd=folder,
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
    command, environment, folder = RUNNERS[language]
    for _ in range(2):
        output = run(command, {**environment, **of_the_system(system, customer)}, block, folder)
        assert output.split() == ["a", "summary", "delivered"]
    assert system.meter_events(customer)["value"] == 1
    await_that(lambda: system.reported_units(customer) == 1, "the unit in the usage report")


# The example agents, and what they need in the environment.
AGENTS = {
    "python": ([sys.executable, "examples/python/process_documents.py"], PYTHON_PATH),
    "typescript": (["node", "examples/typescript/build/main.js"], {}),
    "rust": ([TARGET / "agent", "documents"], {}),
}


def summaries(language, system, models, customer):
    """The lines that an agent prints, one for each document."""
    command, environment = AGENTS[language]
    environment = {
        **environment,
        **of_the_system(system, customer),
        "ANTHROPIC_BASE_URL": models,
        "ANTHROPIC_API_KEY": "any",
    }
    return run([*command, "--customer", customer, "--job", "monday"], environment).splitlines()


@pytest.mark.parametrize("language", AGENTS)
def test_an_agent_bills_each_document_once(language, system, models):
    customer = system.new_customer()
    first = summaries(language, system, models, customer)
    again = summaries(language, system, models, customer)
    assert len(first) == DOCUMENTS
    assert all(line.endswith("[delivered]") for line in first), first
    assert all(line.endswith("[billed before]") for line in again), again
    assert system.meter_events(customer)["value"] == DOCUMENTS


def test_a_job_that_moves_to_another_language_is_billed_once(system, models):
    customer = system.new_customer()
    for language in AGENTS:
        summaries(language, system, models, customer)
    assert system.meter_events(customer)["value"] == DOCUMENTS
