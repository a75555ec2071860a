"""The simulator as a process, and what only a simulator can be asked for."""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

SECRET_KEY = "sk_test_conformance"
PROGRAMS = Path(os.environ.get("CONFORMANCE_PROGRAMS", "target/debug"))


class Simulator:
    """One simulator on a free port, in memory."""

    def __init__(self, *arguments):
        command = [PROGRAMS / "stripe-simulator", "--port", "0", "--secret-key", SECRET_KEY]
        environment = {**os.environ, "RUST_LOG": "error"}
        self.process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, text=True, env=environment
        )
        self.url = self.process.stdout.readline().split()[-1]

    def stop(self):
        self.process.terminate()
        self.process.wait(timeout=10)
        self.process.stdout.close()

    def control(self, method, path, body=None):
        """A request to one of the routes that are not Stripe's."""
        request = urllib.request.Request(
            f"{self.url}/_simulator/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {SECRET_KEY}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def settle(self):
        """Does what Stripe would do by and by, webhooks too."""
        return self.control("POST", "settle")

    def order_fault(self, **fault):
        return self.control("POST", "faults", fault)

    def await_fault(self):
        """Waits until a fault has struck: its request is under way, then."""
        for _ in range(5_000):
            if any(fault["struck"] for fault in self.control("GET", "faults")["data"]):
                return
        raise AssertionError("no fault struck")

    def end_faults(self):
        return self.control("DELETE", "faults")
