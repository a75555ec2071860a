"""Two agents in Python. `stripe`: the emitter that one finds everywhere, which
posts a meter event with Stripe's SDK and then inserts a row with a connection of
its own. `meterline`: the same usage through Meterline's API.

Reads its settings as JSON from standard input, prints what it took as JSON.
"""

import json
import sqlite3
import sys
import threading
import time
import uuid

import requests
import stripe

settings = json.load(sys.stdin)


class CommonEmitter:
    """Stripe first, the audit row second."""

    def __init__(self):
        self.client = stripe.StripeClient(
            settings["stripe_key"],
            base_addresses={"api": settings["stripe_url"]},
            **settings["client_options"],
        )
        with sqlite3.connect(settings["database"]) as database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS usage_events (customer_id TEXT, quantity INTEGER,"
                " action_type TEXT, stripe_record_id TEXT, timestamp TEXT DEFAULT CURRENT_TIMESTAMP)"
            )
        database.close()

    def emit(self, customer, event_id):
        record = self.client.v1.billing.meter_events.create(
            {
                "event_name": settings["event_name"],
                "payload": {"stripe_customer_id": customer, "value": "1"},
            }
        )
        database = sqlite3.connect(settings["database"], timeout=30)
        with database:
            database.execute(
                "INSERT INTO usage_events (customer_id, quantity, action_type, stripe_record_id)"
                " VALUES (?, 1, 'summarise_document', ?)",
                (customer, record.identifier),
            )
        database.close()


class MeterlineEmitter:
    def __init__(self):
        self.session = requests.Session()
        self.session.headers["Authorization"] = "Bearer " + settings["meterline_key"]

    def emit(self, customer, event_id):
        answer = self.session.post(
            settings["meterline_url"] + "/v1/usage",
            json={
                "event_id": event_id,
                "customer_id": customer,
                "quantity": 1,
                "action_type": "summarise_document",
            },
            timeout=60,
        )
        answer.raise_for_status()


def caller(customer, taken, failed):
    emitter = CommonEmitter() if settings["emitter"] == "stripe" else MeterlineEmitter()
    for _ in range(settings["events"]):
        event_id = str(uuid.uuid4())
        started = time.perf_counter_ns()
        while True:
            try:
                emitter.emit(customer, event_id)
                break
            except (stripe.StripeError, requests.RequestException):
                # An agent that got no answer tries again.
                failed.append(event_id)
        taken.append((time.perf_counter_ns() - started) // 1000)


taken, failed = [], []
threads = [
    threading.Thread(target=caller, args=(customer, taken, failed))
    for customer in settings["customers"]
]
started = time.perf_counter_ns()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
elapsed_us = (time.perf_counter_ns() - started) // 1000
json.dump({"elapsed_us": elapsed_us, "taken_us": taken, "failed": len(failed)}, sys.stdout)
