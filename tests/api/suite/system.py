"""The local system as a process, and what requests need to succeed on it."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

PROGRAMS = Path(os.environ.get("API_PROGRAMS", "target/debug")).resolve()
PRICE_LOOKUP_KEY = "agent_operations_monthly"
ACTION_TYPE = "document_processed"
# Customers that usage is emitted for and read of; another one's subscription ends.
CUSTOMERS = 4
EVENTS = 20


class System:
    """One local system on free ports, in a folder of its own."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="meterline-api-"))
        ports = {name: "0" for name in ("METERLINE_PORT", "DYNAMODB_PORT", "STRIPE_PORT")}
        self.log = open(self.folder / "log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [PROGRAMS / "meterline-local", "serve"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={**os.environ, **ports, "LOCAL_DIR": str(self.folder), "RUST_LOG": "error"},
        )
        try:
            self._await_start()
            self._fill()
        except BaseException:
            self.stop()
            raise

    def _await_start(self):
        """Reads the output up to the line that says where the keys are: it listens then."""
        if not any(line.startswith("Keys ") for line in self.process.stdout):
            raise AssertionError(f"it did not start: {(self.folder / 'log').read_text()}")
        self.environment = {}
        for line in (self.folder / "env").read_text(encoding="utf-8").splitlines():
            name, is_variable, value = line.partition("=")
            if is_variable:
                self.environment[name] = shlex.split(value)[0]
        self.url = self.environment["METERLINE_URL"]
        self.key = self.environment["METERLINE_API_KEY"]

    def _fill(self):
        """Customers, and usage of theirs."""
        self.customers = [self._customer(f"api-{number}") for number in range(CUSTOMERS)]
        self.leaving = self._customer("api-leaving")
        for customer in self.customers:
            events = [
                {
                    "event_id": f"event-{number}",
                    "customer_id": customer["customer_id"],
                    "quantity": number + 1,
                    "action_type": ACTION_TYPE,
                }
                for number in range(EVENTS)
            ]
            answer = self.call("POST", "/v1/usage/batch", {"events": events})
            assert answer["delivered"] + answer["pending"] == EVENTS, answer
        link = self.call(
            "POST", f"/v1/customers/{self.customers[0]['customer_id']}/dashboard-links"
        )
        query = urllib.parse.urlsplit(link["url"]).query
        self.link = dict(urllib.parse.parse_qsl(query))
        self.restricted_key = self._restricted_key()

    def _customer(self, external_id):
        body = {
            "email": f"{external_id}@example.com",
            "payment_method": "pm_card_visa",
            "external_id": external_id,
        }
        return self.call("POST", "/v1/customers", body)

    def _restricted_key(self):
        """One that may read, and only of one customer."""
        command = ["meterline", "keys", "create", "--scope", "read", "--json"]
        command += ["--customer", self.customers[0]["customer_id"]]
        made = subprocess.run(
            [PROGRAMS / command[0], *command[1:]],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(made.stdout)["key"]

    def call(self, method, path, body=None):
        request = urllib.request.Request(
            f"{self.url}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.key}"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)
