"""Which clients there are, and how their drivers are started."""

import os
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
CLIENTS = REPOSITORY / "clients"
TARGET = Path(os.environ.get("CLIENT_PROGRAMS", "target/debug")).resolve()

PYTHON = CLIENTS / "python/conformance/driver.py"
TYPESCRIPT = CLIENTS / "typescript/build/conformance/driver.js"
RUST = TARGET / "examples/conformance_driver"

# What the Python client's programs need in the environment.
PYTHON_PATH = {"PYTHONPATH": str(CLIENTS / "python/src")}

# By name: what has to be there, and the command.
DRIVERS = {
    "python": (PYTHON, [sys.executable, PYTHON, "sync"]),
    "python-async": (PYTHON, [sys.executable, PYTHON, "async"]),
    "typescript": (TYPESCRIPT, ["node", TYPESCRIPT]),
    "rust": (RUST, [RUST]),
}


def chosen():
    """The drivers that are there, or those that CLIENTS names, which must be."""
    names = os.environ.get("CLIENTS", "").split()
    if not names:
        return {name: command for name, (program, command) in DRIVERS.items() if program.exists()}
    return {name: DRIVERS[name][1] for name in names}
