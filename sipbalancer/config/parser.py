"""The file: text to a frozen Config and warnings, or a ConfigError with every error of the file in line order.

Nothing is opened and nothing is resolved here: the text, its path (for messages) and the port names come in.
`grammar` cuts lines and sections, `directives` is the table of words, `servers` and `section` build the values,
`lint` says what an operator who comes from ldirectord should know.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from sipbalancer.config.directives import GLOBAL, GLOBAL_SERVER_WORDS
from sipbalancer.config.findings import Cell, Findings
from sipbalancer.config.grammar import Outline, Section, Statement, outline
from sipbalancer.config.lint import lint_config, lint_section
from sipbalancer.config.model import Config, VirtualServiceConfig
from sipbalancer.config.section import Draft, GlobalWords, build, read_section
from sipbalancer.config.servers import Written, read_fallback
from sipbalancer.config.services import LDIRECTORD_SERVICES, SERVICE_OF_PORT, WELL_KNOWN
from sipbalancer.config.words import Given, read_words
from sipbalancer.errors import Finding


class Parsed(NamedTuple):
    """A good file. `warnings` are in line order; those with `note` set ask for nothing."""

    config: Config
    warnings: tuple[Finding, ...]


def parse(text: str, path: str, services: Mapping[str, int] = WELL_KNOWN) -> Parsed:
    """Read a whole file. `services` maps port names (/etc/services) to ports; a small table is built in.

    Raises ConfigError, and nothing else, with all errors of the file.
    """
    findings = Findings(path)
    plan = outline(text, {*GLOBAL, *GLOBAL_SERVER_WORDS}, findings)
    top = _read_top(plan.top, services, findings)
    served = _served(plan, services, findings)
    drafts = [draft for section in served if (draft := read_section(section, services, findings)) is not None]
    virtual = tuple(_built(draft, top, findings) for draft in drafts)
    _find_twins(virtual, findings)
    config = _config(path, virtual, top.given)
    lint_config(config, findings)
    return Parsed(config, findings.warnings())


def _read_top(statements: tuple[Statement, ...], services: Mapping[str, int], findings: Findings) -> GlobalWords:
    given = read_words(statements, GLOBAL, GLOBAL_SERVER_WORDS, findings)
    fallback: dict[str, Written] = {}
    for statement in statements:
        if statement.word in GLOBAL_SERVER_WORDS:
            written = read_fallback(Cell(findings, *statement), services)
            if written is not None:
                fallback[statement.word] = written
    return GlobalWords(given, fallback)


def _built(draft: Draft, top: GlobalWords, findings: Findings) -> VirtualServiceConfig:
    service = build(draft, top, findings)
    lint_section(draft, service, top, findings)
    return service


def _config(path: str, virtual: tuple[VirtualServiceConfig, ...], given: Mapping[str, Given]) -> Config:
    names = [name for name in given if name in Config.model_fields]
    lines = MappingProxyType({name: given[name].line for name in names})
    values = {name: given[name].value for name in names}
    return Config.model_validate({"path": path, "virtual": virtual, "lines": lines, **values})


def _find_twins(virtual: tuple[VirtualServiceConfig, ...], findings: Findings) -> None:
    seen: dict[str, int] = {}
    for service in virtual:
        line = service.lines["host"]
        if service.key in seen:
            advice = (
                f"{service.key} is the service of line {seen[service.key]} already; put the servers into one section"
            )
            findings.error(line, "virtual", advice)
        seen.setdefault(service.key, line)


def _served(plan: Outline, services: Mapping[str, int], findings: Findings) -> list[Section]:
    """The sections that are SIP over UDP. The others, which ldirectord may serve beside them, are left out with a
    warning; when nothing remains they are errors."""
    udp = {_plain(section.head): section.head.line for section in plan.sections if _word(section, "protocol") == "udp"}
    left_out = [(section, why) for section in plan.sections if (why := _not_ours(section, udp, services)) is not None]
    served = [section for section in plan.sections if all(section is not other for other, _ in left_out)]
    for section, (line, word, reason) in left_out:
        if served:
            findings.warn(line, word, f"{reason}; the section of line {section.head.line} is not served here")
        else:
            findings.error(line, word, f"{reason}; write service = sip and protocol = udp")
    if not plan.sections:
        findings.error(
            1, "virtual", "no service in this file; write virtual = ADDRESS:5060 and indented real lines below"
        )
    return served


def _not_ours(section: Section, udp: Mapping[str, int], services: Mapping[str, int]) -> tuple[int, str, str] | None:
    """Line, word and reason why this section cannot be served; None when it can. `udp`: addresses that some section
    serves by udp in so many words, and its line."""
    line, word, _ = section.head
    service, protocol = _word(section, "service"), _word(section, "protocol")
    if service in LDIRECTORD_SERVICES - {"sip", "none"}:
        return _line(section, "service"), "service", f"`{service}` is not SIP"
    if protocol == "tcp":
        return _line(section, "protocol"), "protocol", "only UDP is served yet, `tcp` comes with later work"
    twin = udp.get(_plain(section.head))
    if not protocol and twin is not None:
        reason = "no protocol is written, which ldirectord reads as tcp, and"
        return line, word, f"{reason} line {twin} serves the same address by udp"
    guess = _service_of_port(section.head, services)
    if not service and guess:
        return line, word, f"its port is the one of `{guess}`, and no `service` is written"
    return None


def _word(section: Section, word: str) -> str:
    """The value of a word in a section before it is judged; the last one counts."""
    return next((_plain(statement) for statement in reversed(section.body) if statement.word == word), "")


def _line(section: Section, word: str) -> int:
    return next(statement.line for statement in reversed(section.body) if statement.word == word)


def _plain(statement: Statement) -> str:
    words = statement.value.strip('"').split()
    return words[0] if words else ""


def _service_of_port(head: Statement, services: Mapping[str, int]) -> str:
    text = _plain(head).rpartition(":")[2]
    port = (
        int(text)
        if text.isascii() and text.isdigit() and len(text) <= 5
        else services.get(text, WELL_KNOWN.get(text, 0))
    )
    return SERVICE_OF_PORT.get(port, "") if ":" in head.value else ""
