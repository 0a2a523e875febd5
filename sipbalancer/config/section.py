"""One `virtual` section to one VirtualServiceConfig: its own words first, then the global ones, then defaults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sipbalancer.config.address import HostPort, joined
from sipbalancer.config.directives import GLOBAL, SECTION, SERVER_WORDS, Owner
from sipbalancer.config.findings import Cell, Findings
from sipbalancer.config.grammar import Section, Statement
from sipbalancer.config.model import CheckConfig, CheckType, RealServerConfig, VirtualServiceConfig
from sipbalancer.config.servers import Written, read_aliases, read_fallback, read_real, read_sources, read_virtual
from sipbalancer.config.words import Given, read_words


@dataclass(frozen=True)
class GlobalWords:
    """What sections fall back to."""

    given: Mapping[str, Given]
    fallback: Mapping[str, Written]
    """By word: `fallback` for virtual, `fallback6` for virtual6."""


@dataclass
class Draft:
    """A section while it is read."""

    head: Statement
    address: HostPort
    given: dict[str, Given]
    reals: list[Written] = field(default_factory=list)
    fallback: Written | None = None
    aliases: list[str] = field(default_factory=list)
    alias_line: int = 0

    @property
    def six(self) -> bool:
        return self.head.word == "virtual6"


def read_section(section: Section, services: Mapping[str, int], findings: Findings) -> Draft | None:
    """All statements of a section; None when its address is unusable (its other errors are recorded too)."""
    address = read_virtual(Cell(findings, *section.head), services)
    given = read_words(section.body, SECTION, SERVER_WORDS, findings)
    draft = Draft(section.head, address or HostPort("", 0, True), given)
    _Servers(draft, services, findings).read(section.body)
    return draft if address is not None else None


class _Servers:
    """The words of a section whose order matters: `source` belongs to the server written just before it."""

    def __init__(self, draft: Draft, services: Mapping[str, int], findings: Findings) -> None:
        self._draft = draft
        self._services = services
        self._findings = findings
        self._last = ""
        """What a `source` line belongs to: "real", "fallback", or nothing yet."""
        self._written: Written | None = None
        """That server's line; None when it was wrong."""

    def read(self, body: Iterable[Statement]) -> None:
        for statement in body:
            cell = Cell(self._findings, *statement)
            if statement.word in ("real", "real6", "fallback", "fallback6"):
                self._server(cell)
            elif statement.word == "source":
                self._source(cell)
            elif statement.word == "alias":
                self._draft.aliases += read_aliases(cell) or ()
                self._draft.alias_line = self._draft.alias_line or cell.line

    def _server(self, cell: Cell) -> None:
        self._last = cell.word.removesuffix("6")
        right = self._last + ("6" if self._draft.six else "")
        written = None
        if cell.word != right:
            cell.wrong(f"stands in a `{self._draft.head.word}` section; write {right} = ...")
        elif self._last == "real":
            written = read_real(cell, self._services)
        else:
            written = read_fallback(cell, self._services)
        self._written = written
        if written is not None:
            self._keep(cell, written)

    def _keep(self, cell: Cell, written: Written) -> None:
        if self._last == "real":
            self._draft.reals.append(written)
            return
        if self._draft.fallback is not None:
            cell.doubt(f"replaces the fallback of line {self._draft.fallback.line}; a section has one")
        self._draft.fallback = written

    def _source(self, cell: Cell) -> None:
        sources = read_sources(cell)
        if not self._last:
            cell.wrong("belongs to the server above it; write it below its `real =` line")
        elif sources is not None and self._written is not None:
            self._give(cell, self._written, sources)

    def _give(self, cell: Cell, written: Written, sources: tuple[str, ...]) -> None:
        if len(written.servers) != 1:
            cell.wrong(f"belongs to one server, but line {written.line} is a range; write that server on its own line")
            return
        server = written.servers[0]
        lines = MappingProxyType({**server.lines, "source": cell.line})
        update = {"source": (*server.source, *sources), "lines": lines}
        self._written = written._replace(servers=(server.model_copy(update=update),))
        if self._last == "real":
            self._draft.reals[-1] = self._written
        else:
            self._draft.fallback = self._written


def build(draft: Draft, top: GlobalWords, findings: Findings) -> VirtualServiceConfig:
    """The frozen service: globals resolved in, ports filled in, twins of a server left out."""
    fields, lines = _fields(draft, top, Owner.SERVICE)
    host, port = draft.address.host, draft.address.port or 0
    fields |= {"host": host, "port": port, "family": 6 if draft.six else 4}
    lines |= {"host": draft.head.line, "port": draft.head.line}
    fallback = draft.fallback or top.fallback.get("fallback6" if draft.six else "fallback")
    if fallback is not None:
        fields["fallback"] = _with_port(fallback, port)[0]
        lines["fallback"] = fallback.line
    aliases = _aliases(draft)
    if aliases:
        fields["alias"] = aliases
        lines["alias"] = draft.alias_line or draft.head.line
    fields["real"] = _without_twins(
        [server for written in draft.reals for server in _with_port(written, port)], findings
    )
    fields["check"] = _check(draft, top)
    return VirtualServiceConfig.model_validate({**fields, "lines": MappingProxyType(lines)})


def _aliases(draft: Draft) -> tuple[str, ...]:
    """The aliases written, and the host name of `virtual =`: phones that know the service by it say it too."""
    own = () if draft.address.is_literal else (joined(draft.address.host, draft.address.port or 0),)
    return tuple(dict.fromkeys((*own, *draft.aliases)))


def _with_port(written: Written, port: int) -> tuple[RealServerConfig, ...]:
    """Servers without a port of their own take the virtual's; an SRV name keeps 0 until it is resolved."""
    if written.port is not None:
        return written.servers
    return tuple(each if each.is_srv else each.model_copy(update={"port": port}) for each in written.servers)


def _without_twins(servers: list[RealServerConfig], findings: Findings) -> tuple[RealServerConfig, ...]:
    kept: dict[str, RealServerConfig] = {}
    for server in servers:
        first = kept.setdefault(server.key, server)
        if first is not server:
            line = server.lines["host"]
            findings.warn(line, "real", f"{server.key} is in line {first.lines['host']} already; this one is ignored")
    return tuple(kept.values())


def _fields(draft: Draft, top: GlobalWords, owner: Owner) -> tuple[dict[str, object], dict[str, int]]:
    found = {}
    for word, row in SECTION.items():
        inherited = top.given.get(word) if GLOBAL.get(word) is row else None
        given = draft.given.get(word) or inherited
        if row.owner is owner and given is not None:
            found[word] = given
    return {word: given.value for word, given in found.items()}, {word: given.line for word, given in found.items()}


def _check(draft: Draft, top: GlobalWords) -> CheckConfig:
    fields, lines = _fields(draft, top, Owner.CHECK)
    for word, other in (("negotiatetimeout", "checktimeout"), ("checktimeout", "negotiatetimeout")):
        given = _time_limit(draft, top, word, other)
        if given is not None:
            fields[word], lines[word] = given
    number = fields.get("checktype")
    if isinstance(number, int):
        fields |= (
            {"checktype": CheckType.MIXED, "mixed_connects": number} if number else {"checktype": CheckType.NEGOTIATE}
        )
        lines["mixed_connects"] = lines["checktype"]
    service = draft.given.get("service")
    if service is not None and service.value == "none" and fields.get("checktype", "negotiate") == CheckType.NEGOTIATE:
        fields["checktype"], lines["checktype"] = CheckType.ON, service.line
    return CheckConfig.model_validate({**fields, "lines": MappingProxyType(lines)})


def _time_limit(draft: Draft, top: GlobalWords, word: str, other: str) -> Given | None:
    """ldirectord's order: each of the two limits is the other's default, in the section before the globals."""
    for given in (draft.given, top.given):
        for name in (word, other):
            if name in given:
                return given[name]
    return None
