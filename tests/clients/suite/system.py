"""The local system for the clients' cases, and what it says in the end."""

import os
import time
import urllib.parse

from local_system import ACTION_TYPE, LocalSystem, Refusal

PROGRAMS = os.environ.get("CLIENT_PROGRAMS", "target/debug")
# Of a key's form, and of no row.
WRONG_KEY = f"mk_0123456789abcdef_{'ab' * 32}"
UNKNOWN_CUSTOMER = "cus_nobody"
PERIOD_AND_MORE_S = 33 * 24 * 3600
# How long what is pending may take: it is sent again every minute.
REDELIVERY_S = 180
# How long the totals, or a webhook, may take.
PATIENCE_S = 60


class System(LocalSystem):
    """One local system, in which the first failed payment suspends."""

    def __init__(self):
        super().__init__(PROGRAMS, DUNNING_FAILED_ATTEMPTS="1")

    def fill(self):
        self.customers_made = 0
        self.other = self.create_customer("other")["customer_id"]
        self.suspended = self._suspended_customer()
        self.keys = {
            "$key": self.create_key("--scope", "emit", "--scope", "read"),
            "$foreign_key": self.create_key("--scope", "emit", "--customer", self.other),
            "$wrong_key": WRONG_KEY,
        }

    def new_customer(self):
        """Who is of one case alone."""
        self.customers_made += 1
        return self.create_customer(f"case-{self.customers_made}")["customer_id"]

    def _suspended_customer(self):
        """Whose card failed at the end of a period."""
        now_s = int(time.time())
        clock = self.call_stripe("POST", "/v1/test_helpers/test_clocks", {"frozen_time": now_s})["id"]
        customer = self.create_customer(
            "suspended", payment_method="pm_card_chargeCustomerFail", test_clock=clock
        )["customer_id"]
        usage = {
            "event_id": "first",
            "customer_id": customer,
            "quantity": 60,
            "action_type": ACTION_TYPE,
        }
        self.call("POST", "/v1/usage", usage)
        advance = f"/v1/test_helpers/test_clocks/{clock}/advance"
        self.call_stripe("POST", advance, {"frozen_time": now_s + PERIOD_AND_MORE_S})
        await_that(lambda: self.access(customer)["status"] == "suspended", "the customer is suspended")
        return customer

    def access(self, customer):
        return self.call("GET", f"/v1/customers/{customer}/access")

    def set_limit(self, customer, limit):
        self.call("PUT", f"/v1/customers/{customer}/spending-limit", limit)

    def await_held_units(self, customer, units):
        """What an event settles is held until the totals count the event."""

        def is_so():
            answer = self.call("GET", f"/v1/customers/{customer}/spending-limit")
            return answer["spending_limit"]["held_units"] == units

        await_that(is_so, f"{units} units are held")

    def recorded_event(self, customer, event_id):
        """The event's row in the audit log; none where there is none."""
        query = urllib.parse.urlencode({"event_id": event_id})
        try:
            return self.call("GET", f"/v1/usage/{customer}?{query}")
        except Refusal as refusal:
            # 400: it cannot even be an id.
            if refusal.status in (400, 404):
                return None
            raise

    def meter_events(self, customer):
        """What Stripe counts."""
        query = urllib.parse.urlencode({"customer": customer, "limit": 10_000})
        return self.call_stripe("GET", f"/_simulator/meter_events?{query}")

    def reported_units(self, customer):
        return self.call("GET", f"/v1/customers/{customer}/usage")["total_units"]

    def set_stripe(self, state):
        """Whether Stripe takes usage."""
        if state == "up":
            self.call_stripe("DELETE", "/_simulator/faults")
            return
        fault = {"kind": "error_before", "status": 503, "times": 1_000_000}
        fault["path_prefix"] = "/v2/billing/meter_event_"
        self.call_stripe("POST", "/_simulator/faults", fault)


def await_that(condition, what, patience_s=PATIENCE_S):
    """Looks until it is so."""
    give_up_at = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < give_up_at, f"not within {patience_s} s: {what}"
        time.sleep(0.05)
