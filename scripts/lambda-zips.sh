#!/usr/bin/env bash
# Prints the size of each function's zip and fails where one reaches 6 MB: a cold
# start fetches and unpacks it.
set -euo pipefail
cd "$(dirname "$0")/.."

bytes_max=6000000
failed=
for function in "$@"; do
    bytes=$(wc -c <"${CARGO_TARGET_DIR:-target}/lambda/$function/bootstrap.zip")
    printf '%-12s %9d bytes\n' "$function" "$bytes"
    ((bytes < bytes_max)) || failed+=" $function"
done
[ -z "$failed" ] || { echo "6 MB or more:$failed" >&2; exit 1; }
