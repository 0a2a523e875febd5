#!/bin/sh
# Install the Debian packages that a make target needs and this machine lacks.
#
#   sh requirements/debian.sh demo     what `python3 -m venv` needs
#   sh requirements/debian.sh compiled that, and a C compiler with Python's headers
#   sh requirements/debian.sh test     what demo needs, and the real programs of the tests
#   sh requirements/debian.sh bench    all of these, and what bench/ measures beside sipbalancer and builds its load with
#
# Root or passwordless sudo installs; anyone else is told the one line to run, and the target goes on with what
# there is. Only without venv nothing goes on: exit status 1. PYTHON names the interpreter, as in the Makefile.
set -eu
PATH=$PATH:/usr/sbin:/sbin
PROGRAMS_test="sipp:sip-tester baresip:baresip-core promtool:prometheus kamailio:kamailio
    ip:iproute2 nft:nftables ps:procps"
PROGRAMS_bench="nginx:nginx-light"
DAEMONS="nginx prometheus prometheus-node-exporter kamailio nftables"

has_venv() {
    "${PYTHON:-python3}" -c 'import ensurepip, venv' 2>/dev/null
}

missing_for_demo() {
    has_venv || echo python3-venv
}

has_headers() {
    "${PYTHON:-python3}" -c 'import os, sys, sysconfig as s; sys.exit(not os.path.exists(s.get_path("include") + "/Python.h"))'
}

missing_for_compiler() {
    command -v gcc >/dev/null || echo gcc
    [ -e /usr/include/stdio.h ] || echo libc6-dev
    has_headers || echo python3-dev
}

missing_for_compiled() {
    missing_for_demo
    missing_for_compiler
}

missing_for_test() {
    missing_for_demo
    for pair in $PROGRAMS_test; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done
    [ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates
}

missing_for_bench() {
    missing_for_test
    missing_for_compiler
    for pair in $PROGRAMS_bench; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
    done
    [ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || echo libnginx-mod-stream
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# The tests want the programs, not the services: nothing may start on 5060 or 9090, now or at the next boot.
install_quietly() {
    guard=/usr/sbin/policy-rc.d
    [ -e "$guard" ] && guard=
    [ -z "$guard" ] || printf '#!/bin/sh\nexit 101\n' | as_root sh -c "cat >$guard && chmod 755 $guard"
    status=0
    as_root apt-get -qq -o Acquire::Retries=3 update || status=$?
    as_root env DEBIAN_FRONTEND=noninteractive DEBCONF_NOWARNINGS=yes apt-get -qq -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 \
        install --no-install-recommends "$@" >/dev/null || status=$?
    [ -z "$guard" ] || as_root rm -f "$guard"
    [ ! -d /run/systemd/system ] || disable_new "$@"
    return $status
}

disable_new() {
    for daemon in $DAEMONS; do
        case " $* " in *" $daemon "*) as_root systemctl --quiet disable "$daemon" || true ;; esac
    done
}

packages=$("missing_for_$1" | tr '\n' ' ')
packages=${packages% }
[ -n "$packages" ] || exit 0

by_hand="apt-get install --no-install-recommends $packages"
if ! command -v apt-get >/dev/null; then
    echo "make: this is not Debian; what is missing is called there: $packages" >&2
elif [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then
    echo "make: installing $packages" >&2
    # shellcheck disable=SC2086  # a list of package names
    install_quietly $packages || echo "make: apt-get failed; run it yourself to see why: $by_hand" >&2
else
    echo "make: some programs are missing; to have them:  sudo $by_hand" >&2
fi
has_venv || { echo "make: cannot go on without python3-venv" >&2; exit 1; }
