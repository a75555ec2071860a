"""The local system as a process, for the suites that are written in Python."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ACTION_TYPE = "document_processed"


class Refusal(Exception):
    """The system answered with an error."""

    def __init__(self, status, body):
        super().__init__(f"{status} {body}")
        self.status = status


class LocalSystem:
    """One local system on free ports, in a folder of its own."""

    def __init__(self, programs, **settings):
        self.programs = Path(programs).resolve()
        self.folder = Path(tempfile.mkdtemp(prefix="meterline-"))
        ports = {name: "0" for name in ("METERLINE_PORT", "DYNAMODB_PORT", "STRIPE_PORT")}
        self.log = open(self.folder / "log", "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [self.programs / "meterline-local", "serve"],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env={
                **os.environ,
                **ports,
                "LOCAL_DIR": str(self.folder),
                "RUST_LOG": "error",
                **settings,
            },
        )
        try:
            self._await_start()
            self.fill()
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

    def fill(self):
        """What a suite wants to be there."""

    def create_customer(self, external_id, payment_method="pm_card_visa", **fields):
        body = {
            "email": f"{external_id}@example.com",
            "payment_method": payment_method,
            "external_id": external_id,
            **fields,
        }
        return self.call("POST", "/v1/customers", body)

    def create_key(self, *arguments):
        """A new API key, by the operator's command."""
        made = subprocess.run(
            [self.programs / "meterline", "keys", "create", *arguments, "--json"],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(made.stdout)["key"]

    def call(self, method, path, body=None):
        """A request to the API, by an operator. Raises a Refusal."""
        data = None if body is None else json.dumps(body).encode()
        return self._call(method, f"{self.url}{path}", data, self.key)

    def call_stripe(self, method, path, body=None):
        """A request to the Stripe simulator: a form, or JSON where it is not Stripe's."""
        data = None
        if body is not None and path.startswith("/_simulator"):
            data = json.dumps(body).encode()
        elif body is not None:
            data = urllib.parse.urlencode(body).encode()
        url = f"{self.environment['STRIPE_API_BASE']}{path}"
        return self._call(method, url, data, self.environment["STRIPE_SECRET_KEY"])

    @staticmethod
    def _call(method, url, data, key):
        headers = {"Authorization": f"Bearer {key}"}
        request = urllib.request.Request(url, method=method, data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise Refusal(error.code, error.read().decode(errors="replace")) from None

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
