#!/usr/bin/env bash
# Invokes every function with its sample event under `cargo lambda watch`, against
# a local system of its own, and checks each answer; then asks the same functions in
# one process the same, and compares to the byte. Leaves nothing running.
#
# make lambda-roundtrip builds what this needs.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH

source scripts/background.sh

# ── The local system ─────────────────────────────────────────────────────────

export LOCAL_DIR=$work/local METERLINE_PORT=0 DYNAMODB_PORT=0 STRIPE_PORT=0
start local "${CARGO_TARGET_DIR:-target}/debug/meterline-local" serve
await 60 "$LOCAL_DIR/env" test -s "$LOCAL_DIR/env"
set -a
# shellcheck disable=SC1091
source "$LOCAL_DIR/env"
set +a

# ── The functions, as Lambda would run them ──────────────────────────────────

export STRIPE_PRICE_LOOKUP_KEY=agent_operations_monthly RUST_LOG=info \
    DASHBOARD_LINK_SECRET=${DASHBOARD_LINK_SECRET:-only-for-this-round-trip}

watch_port=$(free_port)
# It may compile before it answers; on two busy cores that takes a while.
start watch cargo lambda watch --ignore-changes --disable-cors \
    --invoke-address 127.0.0.1 --invoke-port "$watch_port"
await 60 "cargo lambda watch" listens "$watch_port"

# ── The round ────────────────────────────────────────────────────────────────

# invoke FUNCTION EVENT_FILE: the answer, as JSON.
invoke() {
    cargo lambda invoke "$1" --data-file "$2" --output-format json \
        --invoke-address 127.0.0.1 --invoke-port "$watch_port"
}

check() { python3 scripts/expect.py "$@"; } # NAME ANSWER EXPRESSION

sample() { # NAME: its event, filled; prints the file
    scripts/event.sh "$1" >"$work/$1.json"
    echo "$work/$1.json"
}

answer=$(invoke onboarding "$(sample onboarding)")
check onboarding "$answer" 'status == 201 and body["customer_id"].startswith("cus_")'
CUSTOMER_ID=$(python3 -c 'import json, sys; print(json.loads(json.loads(sys.argv[1])["body"])["customer_id"])' "$answer")
export CUSTOMER_ID

answer=$(invoke emission "$(sample emission)")
check emission "$answer" 'status == 200 and body["status"] == "delivered" and not body["duplicate"]'
answer=$(invoke emission "$(sample emission)")
check "emission again" "$answer" 'status == 200 and body["duplicate"]'
answer=$(invoke emission "$(sample emission-batch)")
check emission-batch "$answer" 'status == 200 and body["delivered"] == 2'
answer=$(invoke emission "$(sample emission-cloudevent)")
check emission-cloudevent "$answer" 'status == 200 and body["status"] == "delivered"'

# The local system's own rollup follows the table's stream meanwhile.
for _ in {1..50}; do
    answer=$(invoke report "$(sample report)")
    if check report "$answer" 'body["total_units"] == 5' >/dev/null; then break; fi
    sleep 0.2
done
check report "$answer" 'status == 200 and body["total_units"] == 5'

answer=$(invoke webhook events/webhook.json)
check "webhook, stale" "$answer" 'status == 400 and body == {"error": "invalid signature"}'
scripts/sign-webhook.sh >"$work/webhook.json"
answer=$(invoke webhook "$work/webhook.json")
check "webhook, signed" "$answer" 'status == 200 and body == {"received": True}'
answer=$(invoke webhook events/webhook-sweep.json)
check webhook-sweep "$answer" 'answer["failed"] == 0'

answer=$(invoke rollup events/rollup.json)
check rollup "$answer" 'isinstance(answer["state"], dict)'
answer=$(invoke redelivery events/redelivery.json)
check redelivery "$answer" 'not (isinstance(answer, dict) and "errorMessage" in answer)'

# ── The same answers as in one process ───────────────────────────────────────

python3 scripts/same_answers.py "in one process=$METERLINE_URL" \
    "cargo lambda watch=http://127.0.0.1:$watch_port/lambda-url/{function}"
