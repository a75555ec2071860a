#!/usr/bin/env bash
# Compares the features of what the functions depend on. Each function is built by itself, into
# one folder: where two of them differ in a feature of one crate, that crate and all that depends
# on it compile once more, which has cost the build ten minutes.
#
#   scripts/shared-features.sh FUNCTION…
set -euo pipefail
cd "$(dirname "$0")/.."

for function in "${@:?name the functions}"; do
    cargo tree --locked -p "$function" -e normal --target x86_64-unknown-linux-gnu \
        --prefix none --format '{p} [{f}]' | sed 's/ (\*)$//' | sort -u | sed "s/^/$function /"
done | awk '
    # function name version [features]
    $NF !~ /^\[/ { next }
    {
        crate = $2 " " $3
        if (!(crate in features)) { features[crate] = $NF; first[crate] = $1; next }
        if (features[crate] == $NF) next
        printf "%s: %s has %s, %s has %s\n", crate, first[crate], features[crate], $1, $NF
        differ = 1
    }
    END {
        if (!NR) { print "cargo tree named no dependency"; exit 1 }
        if (differ) { print "Name the feature for all of them: [workspace.dependencies], and a crate of shared/."; exit 1 }
        print "The functions have the same features of all that they share."
    }'
