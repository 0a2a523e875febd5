"""The words with a grammar of their own: `virtual`, `real`, `fallback`, `source`, `alias`, `advertise`, `metrics`.

virtual = host:port
real = host[->host][:port] [gate|masq|ipip] [weight] ["request","receive"] [l:N] [u:N]
fallback = host[:port] [gate|masq|ipip]
source = address, ...          alias = name[:port], ...          advertise = host[:port]
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address
from types import MappingProxyType
from typing import NamedTuple

from sipbalancer.config import values
from sipbalancer.config.address import HostPort, joined, literal, read_host_port
from sipbalancer.config.findings import Cell, nearest, shown
from sipbalancer.config.model import Forwarding, RealServerConfig

SIP_PORT = 5060
_REAL = 'host:port gate|masq|ipip [weight] ["request","receive"] [l:N] [u:N]'
_METHODS = tuple(member.value for member in Forwarding)
_METHOD = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?![:\w])")
_WEIGHT = re.compile(r"[0-9]+(?![^ \t])")
_PAIR = re.compile(r'"([^"]*)"[ \t]*,?[ \t]*"([^"]*)"')
_THRESHOLD = re.compile(r"([lu]):([0-9]{1,9})(?![^ \t])")
_MOST_IN_RANGE = 1024
_MOST_WEIGHT = 65535


class Written(NamedTuple):
    """One `real=` or `fallback=` line: its servers (a range gives several), ports still open (None: the virtual's)."""

    line: int
    servers: tuple[RealServerConfig, ...]
    port: int | None
    method: bool
    """Whether a forwarding method was written."""


def read_virtual(cell: Cell, services: Mapping[str, int]) -> HostPort | None:
    """The address of a service, its port always known. An address without a port is read as 5060 with a warning."""
    family = 6 if cell.word.endswith("6") else 4
    value = values.first_word(cell)
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        cell.wrong(
            f"{shown(value)} is a firewall mark, which only IPVS has; write the address that phones use:"
            f" {cell.word} = 192.168.6.240:5060"
        )
        return None
    found = read_host_port(cell, value, family, services)
    if found is None or not _can_listen(cell, found):
        return None
    return found if found.port is not None else _with_sip_port(cell, found)


def _can_listen(cell: Cell, found: HostPort) -> bool:
    address = literal(found.host)
    if address is None or not (address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255"):
        return True
    kind = "means every address" if address.is_unspecified else "is no address of one machine"
    here = joined(found.host, found.port or SIP_PORT)
    cell.wrong(
        f"{here} {kind}; write the one address that phones are given,"
        f" for example {cell.word} = {joined('2001:db8::1' if address.version == 6 else '192.168.6.240', SIP_PORT)}"
    )
    return False


def _with_sip_port(cell: Cell, found: HostPort) -> HostPort | None:
    address = joined(found.host, SIP_PORT)
    if not found.is_literal:
        cell.wrong(f"the port is missing; write {cell.word} = {address}")
        return None
    mark = found.host.partition(".")[0] if cell.word == "virtual" else ""
    reading = f"ldirectord reads firewall mark {mark}" if mark else "ldirectord refuses it"
    cell.doubt(f"no port: read as {address} ({reading}); write {cell.word} = {address}")
    return found._replace(port=SIP_PORT)


def read_real(cell: Cell, services: Mapping[str, int]) -> Written | None:
    """A `real=` line: one server, or one for each address of an IPv4 range."""
    address, rest = _first(cell.text)
    if not address:
        cell.wrong(f"no server is written; write {cell.word} = {_REAL}")
        return None
    flags = _read_flags(cell, rest)
    first, arrow, last = address.partition("->")
    if flags is None:
        return None
    if arrow:
        return _read_range(cell, first, last, flags, services)
    found = _read_server(cell, address, services)
    return None if found is None else _written(cell, (found,), found.port, flags)


def read_fallback(cell: Cell, services: Mapping[str, int]) -> Written | None:
    """A `fallback=` line: one server and perhaps a method."""
    address, rest = _first(cell.text)
    if not address:
        cell.wrong(f"no server is written; write {cell.word} = host:port")
        return None
    if rest and rest not in _METHODS:
        cell.wrong(f"`{shown(rest)}` is left over; write {cell.word} = {shown(address)} [gate|masq|ipip]")
        return None
    found = _read_server(cell, address, services)
    flags: dict[str, object] = {"forwarding": Forwarding(rest)} if rest else {}
    return None if found is None else _written(cell, (found,), found.port, flags)


def _first(value: str) -> tuple[str, str]:
    words = value.split(None, 1)
    return (words[0] if words else ""), (words[1].strip(" \t") if len(words) > 1 else "")


def _read_server(cell: Cell, address: str, services: Mapping[str, int]) -> HostPort | None:
    if address.endswith(":0"):
        cell.doubt(f"port 0 is read as the virtual's port; write {cell.word} = {shown(address[:-2])}")
        address = address[:-2]
    found = read_host_port(cell, address, 6 if cell.word.endswith("6") else 4, services)
    if found is None:
        return None
    if found.host.startswith("_") and found.port is not None:
        cell.wrong(f"an SRV record brings its own port; write {cell.word} = {found.host}")
        return None
    target = literal(found.host)
    if target is not None and (target.is_unspecified or target.is_multicast):
        cell.wrong(f"{found.host} is no address of a server; write the address that Asterisk listens on")
        return None
    return found._replace(port=0) if found.host.startswith("_") else found


def _read_range(
    cell: Cell, first: str, last: str, flags: Mapping[str, object], services: Mapping[str, int]
) -> Written | None:
    end = _read_server(cell, last, services)
    begin = literal(first)
    until = literal(end.host) if end is not None else None
    if end is None:
        return None
    if not isinstance(begin, IPv4Address) or not isinstance(until, IPv4Address):
        cell.wrong("a range goes between two IPv4 addresses; write one `real =` line for each server")
        return None
    size = int(until) - int(begin) + 1
    if size < 1:
        cell.wrong(f"the range ends before it begins; write {until}->{begin}")
        return None
    if size > _MOST_IN_RANGE:
        cell.wrong(f"the range has {size} addresses, more than {_MOST_IN_RANGE}; is {until} right?")
        return None
    hosts = tuple(HostPort(str(begin + step), end.port, True) for step in range(size))
    return _written(cell, hosts, end.port, flags)


def _written(cell: Cell, found: tuple[HostPort, ...], port: int | None, flags: Mapping[str, object]) -> Written:
    names = ["host", *flags] if port is None else ["host", "port", *flags]
    lines = MappingProxyType(dict.fromkeys(names, cell.line))
    family = 6 if cell.word.endswith("6") else 4
    fields = {"port": port or 0, "family": family, "lines": lines, **flags}
    servers = tuple(RealServerConfig.model_validate({"host": each.host, **fields}) for each in found)
    return Written(cell.line, servers, port, "forwarding" in flags)


def _read_flags(cell: Cell, rest: str) -> dict[str, object] | None:
    """What follows the address, in ldirectord's order; thresholds in either order."""
    flags: dict[str, object] = {}
    if match := _METHOD.match(rest):
        if match[0] not in _METHODS:
            cell.wrong(f"`{shown(match[0])}` is not gate, masq or ipip{nearest(match[0], _METHODS)}")
            return None
        flags["forwarding"] = Forwarding(match[0])
        rest = rest[match.end() :].lstrip(" \t")
    if match := _WEIGHT.match(rest):
        if len(match[0]) > 5 or int(match[0]) > _MOST_WEIGHT:
            cell.wrong(f"weight {shown(match[0])} is more than {_MOST_WEIGHT}")
            return None
        flags["weight"] = int(match[0])
        rest = rest[match.end() :].lstrip(" \t")
    return _read_pair(cell, rest, flags)


def _read_pair(cell: Cell, rest: str, flags: dict[str, object]) -> dict[str, object] | None:
    if match := _PAIR.match(rest):
        if fault := values.regex_fault(match[2]):
            cell.wrong(f"`{shown(match[2])}` is no regular expression: {fault}")
            return None
        flags |= {"request": match[1], "receive": match[2]}
        rest = rest[match.end() :].lstrip(" \t")
    while match := _THRESHOLD.match(rest):
        flags["upper" if match[1] == "u" else "lower"] = int(match[2])
        rest = rest[match.end() :].lstrip(" \t")
    if rest:
        cell.wrong(f"`{shown(rest)}` is left over; write {cell.word} = {_REAL}")
        return None
    return flags


def read_sources(cell: Cell) -> tuple[str, ...] | None:
    """Addresses a server sends from: literals without ports."""
    found: list[str] = []
    for item in _items(cell):
        address = literal(item.removeprefix("[").removesuffix("]"))
        if address is None:
            cell.wrong(f"`{shown(item)}` is no address; write addresses without ports: source = 10.0.0.5, 10.0.0.6")
            return None
        found.append(str(address))
    return tuple(found) or None


def read_aliases(cell: Cell) -> tuple[str, ...] | None:
    """Names phones use for this service: `name` or `name:port`."""
    found: list[str] = []
    for item in _items(cell):
        name = _public_name(cell, item)
        if name is None:
            return None
        found.append(name)
    return tuple(found) or None


def read_advertise(cell: Cell) -> str | None:
    value = values.text(cell)
    return None if value is None else _public_name(cell, value)


def _public_name(cell: Cell, text: str) -> str | None:
    if text.lower().startswith(("sip:", "sips:")):
        cell.wrong(f"`{shown(text)}` is a URI; write only the name: {cell.word} = {shown(text.partition(':')[2])}")
        return None
    found = read_host_port(cell, text, 0, {})
    if found is None:
        return None
    host = f"[{found.host}]" if ":" in found.host else found.host
    return host if found.port is None else f"{host}:{found.port}"


def _items(cell: Cell) -> list[str]:
    value = values.text(cell)
    items = [item.strip() for item in value.split(",")] if value is not None else []
    if value is not None and "" in items:
        cell.wrong(f"`{shown(value)}` has an empty place between commas; write {cell.word} = one, two")
        return []
    return items


def read_metrics(cell: Cell) -> str | None:
    """`host:port`, or `no`."""
    value = values.first_word(cell)
    if value is None or value == "no":
        return value
    if value.isdigit() or value.startswith(":"):
        cell.wrong(f"the address is missing; write metrics = 127.0.0.1:{shown(value.lstrip(':'))}, or no")
        return None
    found = read_host_port(cell, value, 0, {})
    if found is not None and found.port is None:
        cell.wrong(f"the port is missing; write metrics = {shown(value)}:9436, or no")
        return None
    return None if found is None or found.port is None else joined(found.host, found.port)
