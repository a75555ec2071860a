#!/usr/bin/env bash
# Compares the features of what is built into one folder: the functions among each other, and the
# local system with the whole workspace and its tests. Where a feature of one crate differs, that
# crate and all that depends on it compile once more, which for tokio or bytes takes minutes.
#
#   scripts/same-features.sh FUNCTION…
set -euo pipefail
cd "$(dirname "$0")/.."

# features NAME ARGUMENT…: what `cargo tree` names, a line each: NAME crate version [features].
features() {
    local name=$1
    shift
    cargo tree --locked --target x86_64-unknown-linux-gnu --prefix none --format '{p} [{f}]' "$@" |
        sed 's/ (\*)$//' | { grep -v '(proc-macro)' || true; } | sort -u | sed "s/^/$name /"
}

# Compares what comes in.
same() {
    awk '
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
            if (differ) exit 1
        }'
}

outcome=0
for function in "${@:?name the functions}"; do
    features "$function" -p "$function" -e normal || exit 1
done | same || {
    echo "The functions would compile these twice: let a crate of shared/ ask for the feature." >&2
    outcome=1
}
{
    features workspace --workspace -e normal,dev || exit 1
    features stack -p stack -e normal
} | same || {
    echo "make run and make test would compile these twice: let local/stack ask for the feature." >&2
    outcome=1
}
exit "$outcome"
