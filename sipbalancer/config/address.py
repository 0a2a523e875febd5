"""Hosts and ports as an operator writes them, to `(host, port)`: literals normalised, names kept as names.

`192.168.6.2::5060` (ldirectord's own sample) is read as port 5060 with a warning. Nothing is resolved here
but port names, through the mapping given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from sipbalancer.config.findings import Cell, nearest, shown
from sipbalancer.config.services import WELL_KNOWN

_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBERS = re.compile(r"[0-9.]+")
_LONGEST_NAME = 253


class HostPort(NamedTuple):
    """`port` is None when none was written; `is_literal` is false for a host name."""

    host: str
    port: int | None
    is_literal: bool


def read_host_port(cell: Cell, text: str, family: int, services: Mapping[str, int]) -> HostPort | None:
    """`host`, `host:port`, `[IPv6]:port`, with a port number or name. Family 6 allows IPv6 literals only in
    brackets, family 4 none. None after an error."""
    parts = _split(cell, text, family)
    if parts is None:
        return None
    host_text, port_text = parts
    host = read_host(cell, host_text, family)
    port = None if port_text is None else _read_port(cell, port_text, host_text, services)
    if host is None or (port_text is not None and port is None):
        return None
    return HostPort(host, port, literal(host) is not None)


def literal(text: str) -> IPv4Address | IPv6Address | None:
    """The address, when the text is one (no brackets, no zone)."""
    try:
        return None if "%" in text else ip_address(text)
    except ValueError:
        return None


def is_name(text: str) -> bool:
    """A host name: labels of letters, digits, `-` and `_`, the last one not a number."""
    labels = text.removesuffix(".").split(".")
    fits = len(text) <= _LONGEST_NAME and all(_LABEL.fullmatch(label) for label in labels)
    return fits and not labels[-1].isdigit()


def joined(host: str, port: int) -> str:
    """`host:port`, `[host]:port` for IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _split(cell: Cell, text: str, family: int) -> tuple[str, str | None] | None:
    """Host (IPv6 without its brackets) and port text."""
    if text.startswith("["):
        return _split_bracket(cell, text, family)
    if isinstance(literal(text), IPv6Address):
        cell.wrong(f"an IPv6 address stands in brackets; write [{text}]:5060")
        return None
    host, colon, port = text.partition(":")
    if port.startswith(":") and ":" not in port[1:]:
        port = port[1:]
        cell.doubt(
            f"`{shown(text)}` has two colons; read as {shown(host)}:{shown(port)} (ldirectord reads a host `{port}`)"
        )
    return host, (port if colon else None)


def _split_bracket(cell: Cell, text: str, family: int) -> tuple[str, str | None] | None:
    host, closed, rest = text[1:].partition("]")
    if not closed or (rest and not rest.startswith(":")):
        cell.wrong(f"`{shown(text)}` is no address; write [2001:db8::1]:5060")
        return None
    if family == 4:
        cell.wrong(f"an IPv6 address needs the word `{cell.word}6`; write {cell.word}6 = {shown(text)}")
        return None
    address = literal(host)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        cell.wrong(f"`{shown(host)}` is the IPv4 address {address.ipv4_mapped}; write that, in a `virtual` section")
        return None
    if not isinstance(address, IPv6Address):
        zone = "; an address with a zone (%) cannot be used" if "%" in host else ""
        cell.wrong(f"`{shown(host)}` is no IPv6 address{zone}; write [2001:db8::1]:5060")
        return None
    return host, (rest[1:] if rest else None)


def read_host(cell: Cell, text: str, family: int) -> str | None:
    """An address literal, normalised, or a host name in lower case. None after an error."""
    address = literal(text)
    if isinstance(address, IPv4Address) and family == 6:
        cell.wrong(
            f"{address} is an IPv4 address; write {cell.word.removesuffix('6')} = {address} in a `virtual` section"
        )
        return None
    if address is not None:
        return str(address)
    if is_name(text):
        return text.lower().removesuffix(".")
    cell.wrong(_bad_host(text))
    return None


def _bad_host(text: str) -> str:
    if not text:
        return "the address is missing; write an address such as 192.168.6.2:5060"
    if _NUMBERS.fullmatch(text):
        return f"`{shown(text)}` is no IPv4 address: it needs four numbers of 0 to 255, without leading zeros"
    return f"`{shown(text)}` is neither an IPv4 address nor a host name; write it as 192.168.6.2:5060"


def _read_port(cell: Cell, text: str, host: str, services: Mapping[str, int]) -> int | None:
    if text.isascii() and text.isdigit():
        if len(text) <= 5 and 1 <= int(text) <= 65535:
            return int(text)
        cell.wrong(f"port {shown(text)} is not within 1 to 65535; write {shown(host)}:5060")
        return None
    port = services.get(text, WELL_KNOWN.get(text))
    if port is None:
        hint = nearest(text, (*services, *WELL_KNOWN)) if text else ""
        cell.wrong(f"`{shown(text)}` is no port number and no service name{hint}; write {shown(host)}:5060")
    return port
