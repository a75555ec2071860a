"""One system for the suite, and one local model."""

import subprocess

import pytest
from drivers import TARGET
from system import System


@pytest.fixture(scope="session")
def system():
    system = System()
    yield system
    system.stop()


@pytest.fixture(scope="session")
def models():
    """The address of a local server that speaks Anthropic's protocol."""
    command = [TARGET / "anthropic-simulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().split()[-1]
        process.terminate()
