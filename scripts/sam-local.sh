#!/usr/bin/env bash
# The functions in containers, as `sam local` runs them, beside the same functions in
# one process: the same requests must get the same answers, byte for byte where no
# time or name is in them. Then `sam local invoke` with the sample events.
#
# Needs Docker (scripts/docker.sh sets it up on Debian) and what `sam build` made.
# Leaves nothing running.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1
root=$PWD
image=meterline/lambda-base:bookworm

source scripts/background.sh

# A container outlives a sam that is stopped while it works.
put_away() {
    docker ps --quiet --filter "ancestor=${image%%:*}:rapid-x86_64" | xargs -r docker rm --force >/dev/null
}

[ -f .aws-sam/build/template.yaml ] || { echo "sam build has made nothing yet: make sam-build" >&2; exit 1; }

# ── The local system, reachable from containers ──────────────────────────────

export LOCAL_DIR=$work/local METERLINE_PORT=0 DYNAMODB_PORT=0 STRIPE_PORT=0
start local "${CARGO_TARGET_DIR:-target}/debug/meterline-local" serve
await 60 "$LOCAL_DIR/env" test -s "$LOCAL_DIR/env"
set -a
# shellcheck disable=SC1091
source "$LOCAL_DIR/env"
set +a

# It listens on this machine alone; containers come by Docker's bridge.
bridge=$(docker run --rm --add-host this-machine:host-gateway "$image" getent hosts this-machine | cut -d ' ' -f 1)
dynamodb_port=${AWS_ENDPOINT_URL_DYNAMODB##*:} stripe_port=${STRIPE_API_BASE##*:}
for port in $(printf '%s\n' "$dynamodb_port" "$stripe_port" "${STRIPE_METER_EVENTS_BASE##*:}" | sort -u); do
    start "forward-$port" python3 scripts/forward.py "$bridge:$port" "127.0.0.1:$port"
    await 10 "a way to port $port" listens_at "$bridge" "$port"
done

# ── The functions ────────────────────────────────────────────────────────────

# sam local sets only variables that the template names. What names the stand-ins
# for AWS and Stripe is added to a copy; a deployed function has none of it.
mkdir "$work/build"
cp -al .aws-sam/build/. "$work/build"
rm "$work/build/template.yaml"
.venv/bin/python - "$root/.aws-sam/build/template.yaml" "$work/build/template.yaml" "$bridge" <<'PYTHON'
import json, os, sys
from samcli.yamlhelper import yaml_dump, yaml_parse
source, target, bridge = sys.argv[1:]
template = yaml_parse(open(source).read())
here = lambda url: url.replace("127.0.0.1", bridge)
local = {
    "AWS_ENDPOINT_URL_DYNAMODB": here(os.environ["AWS_ENDPOINT_URL_DYNAMODB"]),
    "STRIPE_API_BASE": here(os.environ["STRIPE_API_BASE"]),
    "STRIPE_METER_EVENTS_BASE": here(os.environ["STRIPE_METER_EVENTS_BASE"]),
    "STRIPE_SECRET_KEY": os.environ["STRIPE_SECRET_KEY"],
    "STRIPE_WEBHOOK_SECRET": os.environ["STRIPE_WEBHOOK_SECRET"],
    "STRIPE_PRICE_LOOKUP_KEY": "agent_operations_monthly",
    "DASHBOARD_LINK_SECRET": "only-for-this-machine",
    "USAGE_API": "meter_event_stream",
    "SINGLE_SHARD_STREAM": "true",
}
for function in template["Resources"].values():
    if function["Type"] != "AWS::Serverless::Function":
        continue
    variables = function["Properties"].setdefault("Environment", {}).setdefault("Variables", {})
    for name in list(variables):
        if name.endswith("_TABLE"):
            variables[name] = os.environ[name]
        elif name.endswith("_ARN"):
            del variables[name]
    variables.update(local)
open(target, "w").write(yaml_dump(template))
PYTHON

options=(--template "$work/build/template.yaml" --invoke-image "$image" --skip-pull-image
    --container-host-interface 127.0.0.1
    --parameter-overrides "Architecture=x86_64 StripeSecretKeyArn=unused StripeWebhookSecretArn=unused")
export AWS_ACCESS_KEY_ID=${AWS_ACCESS_KEY_ID:-local} AWS_SECRET_ACCESS_KEY=${AWS_SECRET_ACCESS_KEY:-local}

# The shell's variables go before the template's, and name this machine otherwise.
sam_local() {
    env -u AWS_ENDPOINT_URL_DYNAMODB -u STRIPE_API_BASE -u STRIPE_METER_EVENTS_BASE sam local "$@"
}

api_port=$(free_port)
start sam sam_local start-api "${options[@]}" --host 127.0.0.1 --port "$api_port" --warm-containers LAZY
await 120 "sam local start-api" listens_at 127.0.0.1 "$api_port"

python3 scripts/same_answers.py "in one process=$METERLINE_URL" "sam local=http://127.0.0.1:$api_port"

# ── sam local invoke, with the sample events ─────────────────────────────────

customer=$(curl -sS --fail-with-body -H "Authorization: Bearer $METERLINE_API_KEY" "$METERLINE_URL/v1/customers" \
    -d '{"email": "sam@example.com", "payment_method": "pm_card_visa", "external_id": "sam-local"}')
CUSTOMER_ID=$(python3 -c 'import json, sys; print(json.loads(sys.argv[1])["customer_id"])' "$customer")
export CUSTOMER_ID

# invoke FUNCTION EVENT EXPRESSION: over `answer`, and `status` and `body` of an HTTP answer.
invoke() {
    local answer
    scripts/event.sh "$2" >"$work/event.json"
    answer=$(sam_local invoke "$1" "${options[@]}" --event "$work/event.json" 2>>"$work/invoke.log") || {
        tail -n 30 "$work/invoke.log" >&2
        return 1
    }
    python3 scripts/expect.py "$2" "$answer" "$3"
}
invoke OnboardingFunction onboarding 'status == 201 and body["customer_id"].startswith("cus_")'
invoke EmissionFunction emission 'status == 200 and body["status"] == "delivered" and not body["duplicate"]'
invoke EmissionFunction emission-batch 'status == 200 and body["delivered"] == 2'
invoke EmissionFunction emission-cloudevent 'status == 200 and body["status"] == "delivered"'
invoke ReportFunction report 'status == 200 and body["customer_id"]'
invoke WebhookFunction webhook 'status == 400 and body == {"error": "invalid signature"}'
invoke WebhookFunction webhook-sweep 'answer["failed"] == 0'
invoke RollupFunction rollup 'isinstance(answer["state"], dict)'
invoke RedeliveryFunction redelivery '"errorMessage" not in (answer or {})'
