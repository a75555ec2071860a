"""What requests need to succeed on the local system."""

import os
import urllib.parse

from local_system import ACTION_TYPE, LocalSystem

PROGRAMS = os.environ.get("API_PROGRAMS", "target/debug")
PRICE_LOOKUP_KEY = "agent_operations_monthly"
# Customers that usage is emitted for and read of; another one's subscription ends.
CUSTOMERS = 4
EVENTS = 20
RESERVATIONS = 5


class System(LocalSystem):
    """One local system with customers, and usage of theirs."""

    def __init__(self):
        super().__init__(PROGRAMS)

    def fill(self):
        self.customers = [self.create_customer(f"api-{number}") for number in range(CUSTOMERS)]
        self.leaving = self.create_customer("api-leaving")
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
            for number in range(RESERVATIONS):
                reservation = {
                    "reservation_id": f"held-{number}",
                    "customer_id": customer["customer_id"],
                    "quantity": 1,
                    "action_type": ACTION_TYPE,
                }
                self.call("POST", "/v1/usage/reservations", reservation)
            invoices = self.call("GET", f"/v1/customers/{customer['customer_id']}/invoices")
            customer["invoice_id"] = invoices["invoices"][0]["invoice_id"]
        own = self.customers[0]["customer_id"]
        wish = {"billing_portal": True}
        link = self.call("POST", f"/v1/customers/{own}/dashboard-links", wish)
        query = urllib.parse.urlsplit(link["url"]).query
        self.link = dict(urllib.parse.parse_qsl(query))
        # One that may read, and only of one customer.
        self.restricted_key = self.create_key("--scope", "read", "--customer", own)


__all__ = ["ACTION_TYPE", "EVENTS", "PRICE_LOOKUP_KEY", "RESERVATIONS", "System"]
