#!/usr/bin/env bash
# Checks the dependencies against the RustSec advisory database. Where it cannot
# be reached, says so: that is no pass, but no reason to stop either.
set -euo pipefail
cd "$(dirname "$0")/.."

if answer=$(cargo-deny fetch db 2>&1); then
    cargo-deny --locked check --hide-inclusion-graph advisories
elif grep -qiE 'could not resolve|unable to access|connect|timed out' <<<"$answer"; then
    echo "advisories: not checked (database unreachable)"
else
    echo "$answer" >&2
    exit 1
fi
