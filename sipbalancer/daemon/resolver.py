"""Host names of the file to addresses: one question, one answer with its TTL. Never in the datagram path.

In the order an operator expects (`hosts: files dns`): `/etc/hosts` first, then DNS as `/etc/resolv.conf` says, search
list included; both are read anew when they change. Not asked: mDNS, NIS, systemd's own names. `real =` names are
looked up as A, `real6 =` as AAAA; a name that begins with `_` (`_sip._udp.example.com`) as SRV (RFC 2782), whose
targets are looked up in turn. When to look again, and what is kept on failure, is `names`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import dns.asyncresolver
import dns.exception
import dns.resolver

from sipbalancer.config.model import RealServerConfig
from sipbalancer.errors import Unresolved

SHORTEST_TTL = 5.0
LONGEST_TTL = 3600.0
HOSTS_TTL = 60.0
"""Seconds until `/etc/hosts` is looked at again: it has no TTLs of its own."""
LIFETIME = 5.0
"""Seconds for one question, all name servers together."""


class Place(NamedTuple):
    """One address behind a name; what only an SRV record says is None otherwise."""

    address: str
    name: str
    """The name that address belongs to: an SRV's target, else the name asked for."""
    port: int | None = None
    weight: int | None = None
    priority: int = 0


class Answer(NamedTuple):
    """All places behind a name, in a stable order: a rotated answer is the same answer."""

    places: tuple[Place, ...]
    ttl: float
    """Seconds, within the bounds."""


class Resolution(NamedTuple):
    """What one `real =` stands for now."""

    servers: tuple[RealServerConfig, ...]
    ttl: float
    """Seconds until it should be asked again."""


class Hosts:
    """`/etc/hosts`, read anew whenever it changed; absent is empty."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._names: dict[str, list[str]] = {}

    def addresses(self, name: str, family: int) -> list[str]:
        """Addresses of that family (4 or 6) for `name`, whatever its case."""
        self._refresh()
        return [each for each in self._names.get(name.lower().rstrip("."), ()) if ip_address(each).version == family]

    def _refresh(self) -> None:
        try:
            status = self._path.stat()
            stamp = status.st_mtime_ns, status.st_size
            if stamp != self._stamp:
                self._names = read_hosts(self._path.read_text(encoding="utf-8", errors="replace"))
                self._stamp = stamp
        except OSError:
            self._names, self._stamp = {}, None


def read_hosts(text: str) -> dict[str, list[str]]:
    """Lower-case name -> addresses, in the file's order; lines that are none are passed over (hosts(5))."""
    names: dict[str, list[str]] = {}
    for line in text.splitlines():
        address, *aliases = line.partition("#")[0].split() or [""]
        with suppress(ValueError):
            literal = str(ip_address(address))
            for alias in aliases:
                names.setdefault(alias.lower(), []).append(literal)
    return names


class Resolver:
    """Asks; remembers of what it learnt only the last addresses of each SRV target."""

    def __init__(
        self,
        nameservers: tuple[str, ...] = (),
        port: int = 53,
        hosts: Path = Path("/etc/hosts"),
        lifetime: float = LIFETIME,
    ) -> None:
        """`nameservers` and `port` replace `/etc/resolv.conf`."""
        self._nameservers = nameservers
        self._port = port
        self._hosts = Hosts(hosts)
        self._lifetime = lifetime
        self._targets: dict[tuple[str, int], list[str]] = {}

    async def resolve(self, real: RealServerConfig) -> Resolution:
        """The servers behind one `real =`; an address stands for itself, for ever. Raises Unresolved."""
        if is_literal(real.host):
            return Resolution((real,), LONGEST_TTL)
        answer = await self.look_up(real.host, real.family)
        return Resolution(placed(real, answer.places), answer.ttl)

    async def look_up(self, name: str, family: int) -> Answer:
        """Raises Unresolved, whose text says what was asked and what came of it."""
        places, ttl = await (self._services(name, family) if name.startswith("_") else self._plain(name, family))
        ordered = sorted(places, key=lambda place: (place.priority, ip_address(place.address).packed, place.port))
        return Answer(tuple(dict.fromkeys(ordered)), min(max(ttl, SHORTEST_TTL), LONGEST_TTL))

    async def _plain(self, name: str, family: int) -> tuple[list[Place], float]:
        addresses, ttl = await self._addresses(name, family)
        return [Place(address, name) for address in addresses], ttl

    async def _services(self, name: str, family: int) -> tuple[list[Place], float]:
        """SRV records and their targets. A target that fails keeps its last addresses, if it ever had any."""
        answer = await self._ask(name, "SRV")
        records = [record for record in answer if record.target.to_text() != "."]
        if not records:
            raise Unresolved(f"{name}: the SRV record says that this service is not offered")
        hosts = [record.target.to_text(omit_final_dot=True) for record in records]
        found = await asyncio.gather(*(self._target(host, family) for host in hosts))
        places = [
            Place(address, host, record.port, record.weight, record.priority)
            for record, host, (addresses, _) in zip(records, hosts, found, strict=True)
            for address in addresses
        ]
        if not places:
            raise Unresolved(f"{name}: none of its targets has an address: {', '.join(hosts)}")
        return places, min(lifetime_of(answer), *(ttl for _, ttl in found))

    async def _target(self, host: str, family: int) -> tuple[list[str], float]:
        try:
            addresses, ttl = await self._addresses(host, family)
        except Unresolved:
            return self._targets.get((host, family), []), SHORTEST_TTL
        self._targets[host, family] = addresses
        return addresses, ttl

    async def _addresses(self, name: str, family: int) -> tuple[list[str], float]:
        known = self._hosts.addresses(name, family)
        if known:
            return known, HOSTS_TTL
        answer = await self._ask(name, "AAAA" if family == 6 else "A")
        return [record.address for record in answer], lifetime_of(answer)

    async def _ask(self, name: str, kind: str) -> dns.resolver.Answer:
        """One question to DNS. Raises Unresolved."""
        try:
            return await self._client().resolve(name, kind, search=True, lifetime=self._lifetime)
        except (dns.exception.DNSException, OSError, ValueError) as error:
            raise Unresolved(f"{name} ({kind}): {error or type(error).__name__}") from error

    def _client(self) -> dns.asyncresolver.Resolver:
        """Made anew for each question: `/etc/resolv.conf` changes under a running daemon (DHCP, VPN)."""
        client = dns.asyncresolver.Resolver(configure=not self._nameservers)
        if self._nameservers:
            client.nameservers = list(self._nameservers)
            client.port = self._port
        return client


def lifetime_of(answer: dns.resolver.Answer) -> float:
    """The shortest TTL of the answer and of every CNAME that led to it, in seconds."""
    return float(answer.chaining_result.minimum_ttl)


def is_literal(host: str) -> bool:
    """Whether this is an address and no name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def placed(real: RealServerConfig, places: Iterable[Place]) -> tuple[RealServerConfig, ...]:
    """The servers that `real` stands for: its own words, with address, name and what an SRV record says.

    A weight of 0 in SRV means "hardly ever" and becomes 1; a weight of 0 in the file means "drained" and stays.
    """
    drained = real.weight == 0
    servers = []
    for place in places:
        update: dict[str, object] = {"host": place.address, "name": _shown(real, place), "priority": place.priority}
        if place.port is not None:
            update["port"] = place.port
        if place.weight is not None and not drained:
            update["weight"] = max(1, place.weight)
        servers.append(real.model_copy(update=update))
    return tuple(servers)


def _shown(real: RealServerConfig, place: Place) -> str:
    """An SRV name stands for many servers: each is called by its own name."""
    return place.name if real.is_srv else real.name or real.host
