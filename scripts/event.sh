#!/usr/bin/env bash
# Prints a sample event with its $PLACEHOLDERS filled from the environment:
#
#   source .local/env && export CUSTOMER_ID=cus_...
#   scripts/event.sh emission >/tmp/event.json
#   cargo lambda invoke emission --data-file /tmp/event.json
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -eq 1 ] && [ -f "events/$1.json" ] || {
    echo "usage: $0 NAME, one of: $(cd events && echo *.json | sed 's/\.json//g')" >&2
    exit 2
}
event=$(<"events/$1.json")
for placeholder in METERLINE_API_KEY CUSTOMER_ID; do
    if [[ $event == *"\$$placeholder"* ]]; then
        [ -n "${!placeholder-}" ] || { echo "events/$1.json needs $placeholder to be set" >&2; exit 1; }
        event=${event//"\$$placeholder"/"${!placeholder}"}
    fi
done
printf '%s\n' "$event"
