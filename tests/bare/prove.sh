#!/usr/bin/env bash
# Run the README's commands, or the Dockerfile's steps, in a bare Debian 12 where nothing else is installed.
#
#   tests/bare/prove.sh FOLDER commands [COMMAND]...   in a fresh clone of HEAD; default: make demo, make test
#   tests/bare/prove.sh FOLDER docker                  the RUN lines of the Dockerfile, then the image's own command
#
# Needs root and debootstrap. FOLDER holds the bare tree (made once) and the tree of the run (made anew each time);
# packages come from the mirror this machine's apt uses, and what pip needs here (certificates, PIP_*, proxies) is
# handed on. Mounts and processes live in namespaces of their own and end with the run.
set -euo pipefail

FOLDER=${1:?usage: prove.sh FOLDER commands|docker [COMMAND]...}
WHAT=${2:?usage: prove.sh FOLDER commands|docker [COMMAND]...}
shift 2
REPO=$(cd "$(dirname "$0")/../.." && pwd)
SUITE=bookworm
mkdir -p "$FOLDER"
FOLDER=$(cd "$FOLDER" && pwd)
BARE=$FOLDER/bare TREE=$FOLDER/tree
CA=/etc/handed-on.crt

say() { echo "prove: $*" >&2; }

mirror() {
    apt-get -o Debug::NoLocking=1 --print-uris update 2>/dev/null |
        sed -n "s,^'\(.*\)/dists/$SUITE/InRelease'.*,\1,p" | head -n 1
}

# debootstrap's minbase and the three programs the README presumes, nothing more.
make_bare() {
    [ -e "$BARE/.complete" ] && return
    local from
    from=$(mirror)
    [ -n "$from" ] || { say "apt knows no mirror of $SUITE here"; exit 1; }
    rm -rf "$BARE"
    debootstrap --variant=minbase --include=git,make,python3 "$SUITE" "$BARE" "$from" >"$FOLDER/debootstrap.log"
    rm -rf "$BARE"/var/cache/apt/archives/*.deb "$BARE"/var/lib/apt/lists/*
    touch "$BARE/.complete"
}

# What belongs to this network, not to the machine under test.
hand_on() {
    cp -rL /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/apt/trusted.gpg.d "$TREE/etc/apt/"
    rm "$TREE/etc/apt/sources.list"
    [ ! -e /etc/apt/sources.list ] || cp -L /etc/apt/sources.list "$TREE/etc/apt/"
    cp -rL /usr/share/keyrings "$TREE/usr/share/"
    cp -L /etc/resolv.conf /etc/hosts "$TREE/etc/"
    [ ! -e /etc/pip.conf ] || cp -L /etc/pip.conf "$TREE/etc/"
    cp -L "${PIP_CERT:-/etc/ssl/certs/ca-certificates.crt}" "$TREE$CA"
    mkdir -p "$TREE/repo"
}

environment() {
    printf '%s\n' HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb COLUMNS=120
    env | grep -iE '^(PIP_DEFAULT_TIMEOUT|PIP_INDEX_URL|PIP_EXTRA_INDEX_URL|PIP_TRUSTED_HOST|(http|https|no|all)_proxy)=' || true
    printf '%s\n' "PIP_CERT=$CA" "SSL_CERT_FILE=$CA"
}

# inside NETWORK SCRIPT [ARGUMENT]...: bash runs SCRIPT in the tree, as on a machine of its own.
# NETWORK: shared, or alone (only its own loopback).
inside() {
    local settings network=
    [ "$1" = shared ] || network=--net
    shift
    mapfile -t settings < <(environment)
    # shellcheck disable=SC2086  # none or one option
    TREE=$TREE REPO=$REPO NETWORK=$network unshare $network --mount --pid --fork --kill-child --propagation private bash -c '
        set -e
        [ -z "$NETWORK" ] || ip link set lo up
        mount --bind "$REPO" "$TREE/repo" && mount -o remount,bind,ro "$TREE/repo"
        mount -t proc proc "$TREE/proc"
        mount -t sysfs sysfs "$TREE/sys"
        mount --rbind /dev "$TREE/dev"
        mount -t tmpfs tmpfs "$TREE/tmp"
        mount -t tmpfs tmpfs "$TREE/run"
        exec chroot "$TREE" env -i "$@"' inside "${settings[@]}" bash -euo pipefail -c "$@" </dev/null
}

prove_commands() {
    [ $# -gt 0 ] || set -- "make demo" "make test"
    inside shared 'git -c safe.directory="*" clone -q /repo /root/sipbalancer
        cd /root/sipbalancer
        for command; do
            echo "prove: \$ $command" >&2
            SECONDS=0
            sh -c "$command"
            echo "prove: ok after $SECONDS s: $command" >&2
        done' commands "$@"
}

# The base image is Debian with its own Python, pip and headers: python3-venv and python3-dev give the tree the same.
prove_docker() {
    inside shared 'apt-get -qq update
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends python3-venv python3-dev >/dev/null
        git -c safe.directory="*" clone -q /repo /root/sipbalancer
        cd /root/sipbalancer
        python3 tests/bare/dockerfile.py build Dockerfile >/root/build.sh
        python3 tests/bare/dockerfile.py start Dockerfile >/root/start.sh
        bash -euxo pipefail /root/build.sh' docker
    inside alone 'bash -euxo pipefail /root/start.sh' docker
}

make_bare
rm -rf "$TREE"
cp -a "$BARE" "$TREE"
hand_on
"prove_$WHAT" "$@"
say "proved: $WHAT"
