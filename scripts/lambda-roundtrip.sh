#!/usr/bin/env bash
# Invokes every function with its sample event under `cargo lambda watch`, against
# a local system of its own, and checks each answer. Leaves nothing running.
#
# make lambda-roundtrip builds what this needs.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH

work=$(mktemp -d)
pids=()
finish() {
    local status=$?
    trap - EXIT INT TERM
    if [ "$status" -ne 0 ]; then
        for log in local watch; do
            echo "── last lines of $log ──" >&2
            tail -n 30 "$work/$log.log" 2>/dev/null | cut -c -300 >&2 || true
        done
    fi
    # Each was started as the leader of its own process group, children included.
    for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# start NAME COMMAND…: in the background, in a process group of its own.
start() {
    local name=$1
    shift
    set -m
    "$@" >"$work/$name.log" 2>&1 </dev/null &
    pids+=($!)
    set +m
}

# await SECONDS WHAT COMMAND…: until the command succeeds.
await() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" 2>/dev/null; do
        for pid in "${pids[@]}"; do
            kill -0 "$pid" 2>/dev/null || { echo "ended while waiting for $what" >&2; return 1; }
        done
        ((SECONDS < deadline)) || { echo "no $what" >&2; return 1; }
        sleep 0.2
    done
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)) && listens "$port"; do :; done
    echo "$port"
}

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

# check NAME ANSWER EXPRESSION: the expression, in Python, over `answer` (as the
# function gave it), `status` and `body` (of an HTTP answer).
check() {
    python3 - "$@" <<'PYTHON'
import json, sys
name, text, expression = sys.argv[1:]
answer = json.loads(text)
status = body = None
if isinstance(answer, dict) and "statusCode" in answer:
    status, body = answer["statusCode"], json.loads(answer.get("body") or "null")
ok = bool(eval(expression))
print(f"{name:15} {'as expected' if ok else 'NOT ' + expression}: {json.dumps(body if body is not None else answer)[:200]}")
sys.exit(0 if ok else 1)
PYTHON
}

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

# The local system's own rollup follows the table's stream meanwhile.
for _ in {1..50}; do
    answer=$(invoke report "$(sample report)")
    if check report "$answer" 'body["total_units"] == 4' >/dev/null; then break; fi
    sleep 0.2
done
check report "$answer" 'status == 200 and body["total_units"] == 4'

answer=$(invoke webhook events/webhook.json)
check "webhook, stale" "$answer" 'status == 400 and body == {"error": "invalid signature"}'
scripts/sign-webhook.sh >"$work/webhook.json"
answer=$(invoke webhook "$work/webhook.json")
check "webhook, signed" "$answer" 'status == 200 and body == {"received": True}'

answer=$(invoke rollup events/rollup.json)
check rollup "$answer" 'isinstance(answer["state"], dict)'
answer=$(invoke redelivery events/redelivery.json)
check redelivery "$answer" 'not (isinstance(answer, dict) and "errorMessage" in answer)'
