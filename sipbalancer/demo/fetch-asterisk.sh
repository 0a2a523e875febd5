#!/bin/sh
# fetch-asterisk.sh 22|16 DIR
#
# Unpacks a private Asterisk into DIR and starts it once to prove that it runs. Nothing is installed: apt
# works with an empty state of its own, the packages (C library included) are only unpacked, and DIR/asterisk
# runs the program through the loader that came with them. No root is needed. Says nothing and ends at once
# when DIR is already complete.
#
#   22  chan_pjsip and the SQLite driver for shared contacts (suite forky, else sid)
#   16  chan_sip (suite bullseye; an old suite, it may be gone one day)
#
# The packages come from wherever this machine's apt gets its own release.
# Exit status: 0 DIR/asterisk runs, 1 it could not be fetched (the reason is on stderr).
set -eu

die() { echo "fetch-asterisk: $*" >&2; exit 1; }

case "${1-}" in
22) suites="forky sid" packages="asterisk libsqliteodbc" ;;
16) suites="bullseye" packages="asterisk" ;;
*) die "usage: fetch-asterisk.sh 22|16 DIR" ;;
esac
dir=${2:?fetch-asterisk: which folder?}
[ -x "$dir/asterisk" ] && exit 0
for tool in apt-get dpkg-deb tar flock; do
    command -v "$tool" >/dev/null || die "$tool is missing: this needs Debian or a relative of it"
done

mkdir -p "$(dirname "$dir")"
exec 9>"$dir.lock"
flock 9 # two sessions at once: the second finds the work done
[ -x "$dir/asterisk" ] && exit 0

new=$dir.new
apt=$new/.apt
rm -rf "$new"
trap 'rm -rf "$new"' EXIT
mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$apt/empty"
: >"$apt/status"

quiet() { "$@" >"$apt/log" 2>&1; }

own_apt() { # apt-get with a state of its own, blind to what is installed here
    apt-get -q -o Debug::NoLocking=1 -o APT::Sandbox::User= -o APT::Install-Recommends=0 -o Acquire::Retries=3 \
        -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o APT::Update::Post-Invoke::=true \
        -o Dir::State="$apt" -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" \
        -o Dir::Cache="$apt" -o Dir::Cache::archives="$apt/archives" -o Dir::Etc::sourcelist="$apt/sources.list" \
        -o Dir::Etc::sourceparts="$apt/empty" -o Dir::Etc::preferencesparts="$apt/empty" "$@"
}

mirrors() { # where this machine's own release comes from; works before any apt-get update
    . /etc/os-release
    apt-get -o Debug::NoLocking=1 --print-uris update 2>/dev/null |
        sed -n "s,^'\(.*\)/dists/$VERSION_CODENAME/InRelease'.*,\1,p" | sort -u
}

download() { # the packages of suite $1, from the first mirror that has it
    for mirror in $(mirrors); do
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" >"$apt/sources.list"
        # shellcheck disable=SC2086
        quiet own_apt --error-on=any update && quiet own_apt -y --download-only install $packages && return 0
    done
    return 1
}

unpack() { # one .deb; without what Asterisk never opens
    case "${1##*/}" in
    perl* | libperl* | gnupg* | gpg* | dirmngr* | pinentry* | libc-gconv* | passwd* | adduser* | debconf* | login* | tzdata* | base-* | libpam* | gcc-*) return 0 ;;
    esac
    # tar, because dpkg-deb -x would replace the links bin -> usr/bin by folders
    dpkg-deb --fsys-tarfile "$1" |
        tar -x -C "$new" --keep-directory-symlink --no-same-owner \
            --exclude='./usr/share/doc' --exclude='./usr/share/man' --exclude='./usr/share/locale'
}

for suite in $suites; do
    download "$suite" && break || suite=
done
[ -n "$suite" ] || { tail -n 5 "$apt/log" >&2; die "no mirror of this machine's apt has Asterisk $1"; }

mkdir -p "$new/usr/bin" "$new/usr/sbin" "$new/usr/lib" "$new/usr/lib64"
for folder in bin sbin lib lib64; do ln -s "usr/$folder" "$new/$folder"; done
for deb in "$apt"/archives/*.deb; do unpack "$deb"; done
[ -e "$new/usr/share/asterisk/sounds/en" ] || ln -s en_US_f_Allison "$new/usr/share/asterisk/sounds/en"
rm -rf "$apt"

cat >"$new/asterisk" <<'END'
#!/bin/sh
# made by fetch-asterisk.sh: Asterisk through the loader and libraries of its own release
root=$(dirname "$(readlink -f "$0")")
for loader in "$root"/usr/lib/*-linux-gnu*/ld-linux*.so*; do :; done
exec "$loader" --library-path "${loader%/*}:$root/usr/lib" "$root/usr/sbin/asterisk" "$@"
END
chmod 755 "$new" "$new/asterisk"
"$new/asterisk" -V >/dev/null || die "what was unpacked does not run on this machine"
rm -rf "$dir"
mv "$new" "$dir"
