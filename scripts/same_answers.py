"""Sends the same requests to several ways of running the functions, and compares
their answers: `same_answers.py NAME=BASE NAME=BASE…`.

All of them work on the same tables and the same Stripe. A base that holds `{function}`
is completed with the name of the function that a route belongs to. Read from the
environment: METERLINE_API_KEY, a key that may do everything.

Compared are the status, the content type and the body: to the byte, or, where an
answer holds what is of the moment (times, and the ids that Stripe gives out), with
those replaced by their kinds. What each way is asked to record has an event id of its
own, of the same length; what is read is the same for all. Exits 1 where an answer differs.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request

KEY = os.environ["METERLINE_API_KEY"]
OF_THE_MOMENT = [
    (re.compile(r"\b(cus|sub|si|price|in|il|evt|req)_[A-Za-z0-9]+"), r"\1_…"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "a time"),
    (re.compile(r'(https?://)[^/"]+'), r"\1host"),
    (re.compile(r"expires=\d+&signature=[0-9a-f]+"), "expires=…&signature=…"),
]
DASHBOARD_UNSIGNED = "/dashboard?customer=cus_1&expires=1&signature=00"


class Way:
    """One way of running the functions."""

    def __init__(self, name, base, letter):
        self.name, self.base, self.letter = name, base, letter
        self.customer = None

    def call(self, function, method, path, body=None, key=KEY):
        url = self.base.replace("{function}", function) + path
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        data = body.encode() if body is not None else None
        request = urllib.request.Request(url, data=data, method=method)
        request.add_header("content-type", "application/json")
        if key is not None:
            request.add_header("authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers["content-type"], response.read()
        except urllib.error.HTTPError as refusal:
            return refusal.code, refusal.headers["content-type"], refusal.read()

    def event_id(self, name):
        return f"same-{self.letter}-{os.getpid()}-{name}"


def requests(way, first):
    """What `way` is asked, in order: (what it is, function, method, path, body, key).
    What is read is of the customer of the way `first`. All bodies are UTF-8: sam local
    answers others itself, with a 502."""
    customer = way.customer

    def usage(name, **fields):
        event = {
            "event_id": way.event_id(name),
            "customer_id": customer,
            "quantity": 1,
            "action_type": "document_processed",
        }
        return {**event, **fields}

    emit, batch, of_customer = "/v1/usage", "/v1/usage/batch", f"/v1/customers/{first.customer}"
    row = f"/v1/usage/{first.customer}"
    new = {"email": "a@example.com", "payment_method": "pm_card_visa"}
    ask = lambda function, what, method, path, body=None, key=KEY: (what, function, method, path, body, key)
    yield ask("emission", "a new event", "POST", emit, usage("1"))
    yield ask("emission", "the same again", "POST", emit, usage("1"))
    yield ask("emission", "the same with another quantity", "POST", emit, usage("1", quantity=2))
    yield ask("emission", "a batch, one of it bad", "POST", batch, {"events": [usage("2"), usage("3", quantity=0)]})
    yield ask("emission", "a batch again", "POST", batch, {"events": [usage("2")]})
    yield ask("emission", "an empty batch", "POST", batch, {"events": []})
    yield ask("emission", "no key", "POST", emit, usage("4"), None)
    yield ask("emission", "a forged key", "POST", emit, usage("4"), f"mk_{'0' * 16}_{'0' * 64}")
    yield ask("emission", "no JSON", "POST", emit, "{")
    yield ask("emission", "a fraction", "POST", emit, usage("4", quantity=1.5))
    yield ask("emission", "a huge number", "POST", emit, usage("4", quantity=2**63))
    yield ask("emission", "an unknown customer", "POST", emit, usage("4", customer_id="cus_unknown"))
    yield ask("emission", "letters of all kinds", "POST", emit, usage("5", event_id=way.event_id("ü/#\u202e")))
    yield ask("emission", "a body too large", "POST", emit, usage("4", event_id="x" * 70_000))
    yield ask("report", "the audit row", "GET", f"{row}?event_id={first.event_id('1')}")
    yield ask("report", "the audit row by its path", "GET", f"{row}/{first.event_id('1')}")
    yield ask("report", "no audit row", "GET", f"{row}?event_id=none")
    yield ask("report", "usage", "GET", f"{of_customer}/usage?period_days=0")
    yield ask("report", "usage of nobody", "GET", "/v1/customers/cus_unknown/usage")
    yield ask("report", "access", "GET", f"{of_customer}/access")
    yield ask("report", "invoices", "GET", f"{of_customer}/invoices")
    yield ask("report", "a link", "POST", f"{of_customer}/dashboard-links")
    yield ask("report", "a link that nobody signed", "GET", DASHBOARD_UNSIGNED, None, None)
    yield ask("report", "a file of the dashboard", "GET", "/dashboard/assets/0123456789abcdef/dashboard.css", None, None)
    yield ask("report", "no file of the dashboard", "GET", "/dashboard/assets/0123456789abcdef/none.css", None, None)
    yield ask("onboarding", "a card that is declined", "POST", "/v1/customers", {**new, "payment_method": "pm_card_chargeDeclined"})
    yield ask("onboarding", "no address", "POST", "/v1/customers", {**new, "email": "none"})
    yield ask("onboarding", "another price, of none", "POST", f"{of_customer}/subscription", {"price": "price_none"})


def of_kinds(way, body):
    text = body.decode("utf-8", "backslashreplace").replace(way.letter + "-" + str(os.getpid()), "…")
    for pattern, kind in OF_THE_MOMENT:
        text = pattern.sub(kind, text)
    return text


def main(ways):
    for way in ways:
        new = {"email": "a@example.com", "payment_method": "pm_card_visa", "external_id": way.event_id("customer")}
        status, _, body = way.call("onboarding", "POST", "/v1/customers", new)
        if status != 201:
            sys.exit(f"{way.name}: no customer: {status} {body!r}")
        way.customer = json.loads(body)["customer_id"]
    exact = alike = differing = 0
    for asked in zip(*(requests(way, ways[0]) for way in ways)):
        answers = [way.call(*request[1:]) for way, request in zip(ways, asked)]
        what = asked[0][0]
        kinds = {(status, kind, of_kinds(way, body)) for way, (status, kind, body) in zip(ways, answers)}
        if len(set(answers)) == 1:
            exact += 1
        elif len(kinds) == 1:
            alike += 1
        else:
            differing += 1
            print(f"DIFFERS: {what}")
            for way, answer in zip(ways, answers):
                print(f"  {way.name}: {answer}")
    of = " and ".join(way.name for way in ways)
    print(f"{of}: {exact} answers the same to the byte, {alike} but for ids and times, {differing} differ")
    return 1 if differing or not exact else 0


named = [argument.partition("=") for argument in sys.argv[1:]]
if len(named) < 2 or not all(base for _, _, base in named):
    sys.exit(__doc__)
sys.exit(main([Way(name, base.rstrip("/"), chr(ord("a") + i)) for i, (name, _, base) in enumerate(named)]))
