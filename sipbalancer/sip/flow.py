"""Who a datagram came from, or goes to, as the hot path carries it.

What lives here: the two tuple types, the packed form of an address and its text. Pure functions of bytes; no
socket, no name is ever resolved.

The packed form is `port (2, network order) + address (4 or 16)`. For IPv4 that is `sockaddr_in[2:8]`, so the
edge reads and writes a kernel address with one slice; for IPv6 it is `sockaddr_in6[2:4] + sockaddr_in6[8:24]`.
A scope id (`fe80::1%eth0`) has no place in it: link-local addresses are refused by `pack_address`.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address

Flow = tuple[int, bytes, bytes]
"""(leg index, packed remote address, ready text that follows the `rport` of a Via: `=PORT;received=ADDRESS`)."""

Datagram = tuple[bytes, Flow]
"""(message, the flow it came in on or goes out on)."""

PACKED_V4 = 6
PACKED_V6 = 18


def flow_of(leg: int, packed: bytes) -> Flow:
    """The flow of a packed remote address; its text as RFC 3581 section 4 wants it (IPv6 without brackets)."""
    if len(packed) == PACKED_V4:  # by hand: made for nearly every datagram where there are many clients
        high, low, a, b, c, d = packed
        return leg, packed, b"=%d;received=%d.%d.%d.%d" % (high << 8 | low, a, b, c, d)
    host, port = unpack_address(packed)
    return leg, packed, b"=%d;received=%b" % (port, host.encode("ascii"))


def pack_address(host: str, port: int) -> bytes:
    """Pack an address literal and a port; IPv6 may stand in brackets. ValueError for a name, a scope id, a bad port."""
    if not 0 <= port <= 65535:
        raise ValueError(f"{port} is not a port")
    address = ip_address(host[1:-1]) if host[:1] == "[" and host[-1:] == "]" else ip_address(host)
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise ValueError(f"{host}: an address with a scope id cannot be balanced")
    return port.to_bytes(2, "big") + address.packed


def unpack_address(packed: bytes) -> tuple[str, int]:
    """The inverse of `pack_address`: (host without brackets, port). ValueError when the length is neither form's."""
    if len(packed) == PACKED_V4:
        # By hand: an IPv4Address object costs three times as much.
        return f"{packed[2]}.{packed[3]}.{packed[4]}.{packed[5]}", packed[0] << 8 | packed[1]
    if len(packed) != PACKED_V6:
        raise ValueError(f"{packed!r} is not a packed address")
    return str(IPv6Address(packed[2:])), packed[0] << 8 | packed[1]


def address_text(packed: bytes) -> str:
    """For people and logs: `192.0.2.1:5060`, `[2001:db8::1]:5060`."""
    host, port = unpack_address(packed)
    return f"{host}:{port}" if len(packed) == PACKED_V4 else f"[{host}]:{port}"
