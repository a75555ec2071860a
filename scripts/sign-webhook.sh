#!/usr/bin/env bash
# Prints events/webhook.json as if Stripe had sent it just now: signed with the
# secret in STRIPE_WEBHOOK_SECRET (of several, the first). A body of your own, as
# Stripe writes it, can come from a file: scripts/sign-webhook.sh [BODY_FILE]
# (Stripe documentation: "Verify webhook signatures manually").
set -euo pipefail
: "${STRIPE_WEBHOOK_SECRET:?set it, for example by: source .local/env}"
event_file=$(dirname "$0")/../events/webhook.json

if [ $# -gt 0 ]; then
    body=$(<"$1")
else
    # The body has no escapes but \".
    body=$(sed -n 's/^  "body": "\(.*\)",$/\1/p' "$event_file" | sed 's/\\"/"/g')
fi
timestamp=$(date +%s)
signature=$(printf '%s.%s' "$timestamp" "$body" |
    openssl dgst -sha256 -hmac "${STRIPE_WEBHOOK_SECRET%%,*}" -r | cut -d' ' -f1)

# As a JSON string, on one line.
escaped=$(printf '%s' "$body" | sed 's/\\/\\\\/g; s/"/\\"/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')
while IFS= read -r line; do
    case $line in
        '  "body":'*) printf '  "body": "%s",\n' "$escaped" ;;
        *'"stripe-signature":'*) printf '    "stripe-signature": "t=%s,v1=%s",\n' "$timestamp" "$signature" ;;
        *) printf '%s\n' "$line" ;;
    esac
done <"$event_file"
