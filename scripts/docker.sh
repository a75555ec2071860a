#!/usr/bin/env bash
# Makes Docker ready for `sam local`, on Debian as root: installs it where it is
# missing, starts its daemon where none answers, and builds the image that functions
# run in. Run again, it does nothing. A daemon that it started goes on; its process
# id is in target/docker/pid.
#
# AWS's image cannot be had everywhere. The one built here is Debian with the
# certificates: a function of runtime provided.al2023 is one program and brings
# along what else it needs. What plays Lambda in it comes with sam.
set -euo pipefail
cd "$(dirname "$0")/.."

image=meterline/lambda-base:bookworm
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
state=$PWD/target/docker

say() { printf '%s\n' "docker: $*" >&2; }

can_install() { [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; }

install_packages() {
    can_install || { say "not Debian as root: install $* yourself"; return 1; }
    say "installing $*"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

answers() { docker info >/dev/null 2>&1; }

start_daemon() {
    command -v dockerd >/dev/null || install_packages docker.io iptables
    mkdir -p "$state"
    say "starting the daemon, its log is $state/log"
    setsid dockerd --data-root "$state/data" --exec-root "$state/exec" --pidfile "$state/pid" \
        >"$state/log" 2>&1 </dev/null &
    for _ in {1..120}; do
        if answers; then return; fi
        sleep 0.5
    done
    tail -n 20 "$state/log" >&2
    say "the daemon does not answer"
    return 1
}

build_image() {
    command -v debootstrap >/dev/null || install_packages debootstrap
    local root
    root=$(mktemp -d)
    say "building $image"
    debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror" >"$state/debootstrap.log" 2>&1 || {
        tail -n 20 "$state/debootstrap.log" >&2
        rm -rf "$root"
        return 1
    }
    tar -C "$root" -c . | docker import - "$image" >/dev/null
    rm -rf "$root"
}

mkdir -p "$state"
answers || start_daemon
docker image inspect "$image" >/dev/null 2>&1 || build_image
say "ready: $image"
