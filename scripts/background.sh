# Sourced by scripts that start programs in the background. $work is a folder for
# their logs and whatever else; it and the programs are gone when the script ends. A
# script that has more to put away names it in a function put_away.
work=$(mktemp -d)
pids=()

finish() {
    local status=$?
    trap - EXIT INT TERM
    if [ "$status" -ne 0 ]; then show_logs; fi
    end_all
    # What is to be put away may be gone already: how the script ended stands.
    if declare -F put_away >/dev/null; then put_away || true; fi
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

# Each was started as the leader of its own process group, children included.
end_all() {
    for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}

show_logs() {
    local log
    for log in "$work"/*.log; do
        echo "── last lines of $(basename "$log" .log) ──" >&2
        tail -n 30 "$log" 2>/dev/null | cut -c -900 >&2 || true
    done
}

listens_at() { (exec 3<>"/dev/tcp/$1/$2") 2>/dev/null; }
listens() { listens_at 127.0.0.1 "$1"; }

free_port() {
    local port
    while port=$((20000 + RANDOM % 12000)) && listens "$port"; do :; done
    echo "$port"
}
