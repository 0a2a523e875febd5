"""The address of record a choice is pinned by: user and host of From or To, in one spelling (RFC 3261 10.3).

The user is unescaped, the host lower-case; scheme, port and parameters go; every name of ours counts as one, so
`sip:1001@pbx.example.com` and `sip:1001@192.0.2.1` are the same phone.
"""

from __future__ import annotations

import re

from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.uri import addr_spec, parameter, parameters, read_uri

LONGEST = 254
"""Octets of user and host. Memory is kept by AoR before anybody has proved that there is such a one."""

_NAME = rb'\s*(?:"[^"\\]*"\s*|[^"<\s][^"<]*|)'
"""White space is taken by one part alone: where two may share it out, a failed match tries every way to do so."""
_PLAIN = re.compile(_NAME + rb"<sip:([A-Za-z0-9_.+-]+)@([A-Za-z0-9.-]+)(?::[0-9]{1,4})?(?:;[^<>\s?]{0,999})?>")
_TAG = re.compile(_NAME + rb'<[^<>]*>;tag=([^;,\s"]+)(?:;|\Z)')
"""The usual spellings; whatever else is read the general way, which a property test holds them to."""


def read_aor(value: bytes, hosts: frozenset[bytes]) -> bytes:
    """`user@host` of a From or To value, `user@` where the host is one of `hosts` (ours); b"" when it has no user.

    MalformedMessage when the value is no name-addr, its URI no SIP URI, or that longer than `LONGEST`.
    """
    match = _PLAIN.match(value)
    if match is None:
        return _read_aor(value, hosts)
    user, host = match.groups()
    if len(user) + len(host) > LONGEST:
        raise MalformedMessage("uri")
    host = host.lower()
    return user + b"@" if host in hosts else b"%b@%b" % (user, host)


def _read_aor(value: bytes, hosts: frozenset[bytes]) -> bytes:
    return uri_aor(addr_spec(value), hosts)


def uri_aor(uri: bytes, hosts: frozenset[bytes]) -> bytes:
    """The same of a bare URI."""
    read = read_uri(uri)
    if len(read.user) + len(read.host) > LONGEST:
        raise MalformedMessage("uri")
    if not read.user:
        return b""
    return read.user + b"@" if read.host in hosts else b"%b@%b" % (read.user, read.host)


def digest_aors(username: bytes, hosts: frozenset[bytes]) -> list[bytes]:
    """The AoRs a digest username may mean: `1001` is a user of ours, `1001@host` that user there, or (the host may be a
    realm) of ours."""
    user, _, host = username.rpartition(b"@") if b"@" in username else (username, b"", b"")
    if not user or len(username) > LONGEST:
        return []
    ours = user + b"@"
    return [ours] if not host or host.lower() in hosts else [ours + host.lower(), ours]


def tag(value: bytes) -> bytes:
    """The tag of a From or To value; b"" when there is none (no dialog yet)."""
    if b">;tag=" in value:
        match = _TAG.match(value)
        if match is not None:
            return match[1]
    elif b"tag" not in value.lower():
        return b""
    try:
        return parameter(parameters(value), b"tag") or b""
    except MalformedMessage:
        return b""
