#!/usr/bin/env bash
# What takes too long for every commit, or needs root: all of .ci/run, the functions for
# arm64, sam local in Docker, a million events under faults, ten thousand prices, the long
# run against the OpenAPI document, the benchmarks, and 200 open dashboards. Writes docs/nightly.md,
# which is kept: what ran, for how long, and how it ended. Fails if one of them fails, but runs the
# others first.
#
#   make nightly                      everything, about four hours on two processors
#   make nightly STAGES="arm64 sam-local"
set -euo pipefail
cd "$(dirname "$0")/.."

page=docs/nightly.md
logs=target/nightly
mkdir -p "$logs"
failed=
rows=

sam_local() {
    if [ "$(id -u)" -ne 0 ] && ! docker info >/dev/null 2>&1; then
        echo "needs Docker, or root on Debian to set it up" >&2
        return 1
    fi
    scripts/docker.sh
    make sam-build ARCH=x86_64
    make build
    scripts/sam-local.sh
}

run() { # STAGE
    case $1 in
        ci) .ci/run ;;
        arm64) make lambda-zips ARCH=arm64 ;;
        sam-local) sam_local ;;
        api) make api-test EXAMPLES=1000 ;;
        prices) make prices ;;
        soak) make soak EVENTS=1000000 ;;
        bench) make bench ;;
        client-bench) make client-bench ;;
        dashboards) make dashboards ;;
        *) echo "no such stage: $1" >&2; return 2 ;;
    esac
}

for stage in ${STAGES:-ci arm64 sam-local api prices soak bench client-bench dashboards}; do
    printf '\n━━ %s, log in %s\n' "$stage" "$logs/$stage.log"
    started=$SECONDS outcome=passed
    # A subshell of its own keeps -e inside, which `if` would switch off.
    set +e
    (set -e; run "$stage") >"$logs/$stage.log" 2>&1
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        outcome=FAILED
        failed+=" $stage"
        tail -n 30 "$logs/$stage.log" >&2
    fi
    minutes=$(((SECONDS - started + 30) / 60))
    rows+="| $stage | $outcome | $minutes | $(date -u +%Y-%m-%d) | $(git rev-parse --short HEAD) |"$'\n'
    printf '%s: %s, %s min\n' "$stage" "$outcome" "$minutes"
done

python3 - "$page" <<PYTHON
import re, sys
path = sys.argv[1]
text = open(path).read()
new = dict((row.split("|")[1].strip(), row) for row in """$rows""".strip().splitlines())
begin, end = "<!-- results: written by make nightly -->\n", "<!-- end of results -->"
head, rest = text.split(begin)
table, tail = rest.split(end)
lines = [line for line in table.strip().splitlines() if line]
kept = [line for line in lines if line.split("|")[1].strip() not in new]
open(path, "w").write(head + begin + "\n" + "\n".join(kept + list(new.values())) + "\n\n" + end + tail)
PYTHON

if [ -n "$failed" ]; then
    echo "failed:$failed" >&2
    exit 1
fi
