"""A driver whose client makes one of the mistakes that the cases are there to find."""

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
import uuid

MISTAKE = sys.argv[1]
# As long as any case lets a request take.
TIMEOUT_S = 15


def attempt(settings, event):
    """The answer's status and body; a status of 0 where there is none."""
    request = urllib.request.Request(
        f"{settings['url']}/v1/usage",
        data=json.dumps(event).encode(),
        headers={"Authorization": f"Bearer {settings['api_key']}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    except (OSError, ValueError, http.client.HTTPException):
        return 0, {}


def emit(settings, request):
    event = {
        "event_id": request.get("event_id") or str(uuid.uuid4()),
        **{name: request[name] for name in ("customer_id", "action_type")},
        "quantity": request.get("quantity", 1),
    }
    if MISTAKE == "acknowledges without sending":
        return acknowledged(event)
    while True:
        status, body = attempt(settings, event)
        if 200 <= status < 300:
            return {"ok": body}
        if MISTAKE == "takes every answer for a success":
            return acknowledged(event)
        if MISTAKE == "gives up at once" or 400 <= status < 429:
            error = {"kind": "refused", "retryable": False, "type": body.get("type")}
            return {"error": {**error, "event_id": event["event_id"]}}
        if MISTAKE == "makes a new id for each attempt":
            event["event_id"] = str(uuid.uuid4())
        # "does not wait as long as it is told" is what is left.
        time.sleep(0.05)


def acknowledged(event):
    outcome = {name: event[name] for name in ("event_id", "quantity")}
    return {"ok": {**outcome, "status": "delivered", "duplicate": False, "customer_status": "active"}}


def main():
    settings = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer = {"ok": {}}
        if request["op"] == "open":
            settings = request["settings"]
        elif request["op"] == "emit":
            answer = emit(settings, request)
        print(json.dumps({"id": request["id"], **answer}), flush=True)


if __name__ == "__main__":
    main()
