"""The text of `sipbalancer check FILE`: each effective value with the line it came from or `default`.

Plain text, no colours. Words that work are always shown; words that are only accepted (nothing to do here)
are shown when they were written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from sipbalancer.config.directives import GLOBAL, SECTION, Directive, Owner, Standing
from sipbalancer.config.findings import shown
from sipbalancer.config.model import (
    PASSWORDS,
    CheckConfig,
    CheckType,
    Config,
    Frozen,
    RealServerConfig,
    VirtualServiceConfig,
)
from sipbalancer.config.values import written
from sipbalancer.errors import Finding

_SECONDS = frozenset(
    (
        "persistent calltimeout deaddialogs maxexpires slowstart checkinterval negotiatetimeout checktimeout "
        "emailalertfreq"
    ).split()
)
_EMPTY = {
    "login": "- (the probe names no user)",
    "receive": "- (any fit answer)",
    "checkport": "- (the server's port)",
    "advertise": "- (the virtual address)",
    "netmask": "- (one address)",
    "logfile": "- (standard error)",
}
_SERVER_WORDS = ("source", "request", "receive", "lower", "upper", "name", "priority")
_STANDING = {Standing.WORKS: "", Standing.NOTHING: "  (no effect here)"}


class Row(NamedTuple):
    """One line of the report: `origin` is `line N` or `default`."""

    depth: int
    word: str
    value: str
    origin: str
    remark: str = ""


def report(config: Config, warnings: Iterable[Finding]) -> str:
    """The whole report, ending in a newline: a summary, values, warnings, notes."""
    warnings = tuple(warnings)
    parts = [_summary(config, warnings), _table(_global_rows(config))]
    parts += [_table(_service_rows(service)) for service in config.virtual]
    parts += [_list("warnings", [finding for finding in warnings if not finding.note])]
    parts += [_list("notes (nothing to do)", [finding for finding in warnings if finding.note])]
    return "\n".join(part for part in parts if part)


def _summary(config: Config, warnings: tuple[Finding, ...]) -> str:
    servers = sum(len(service.real) for service in config.virtual)
    notes = sum(finding.note for finding in warnings)
    counts = (
        counted(len(config.virtual), "virtual service"),
        counted(servers, "real server"),
        counted(len(warnings) - notes, "warning"),
        counted(notes, "note"),
    )
    return f"{config.path}: {', '.join(counts)}\n"


def counted(number: int, noun: str) -> str:
    """`1 server`, `2 servers`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _list(title: str, findings: list[Finding]) -> str:
    return "".join([f"{title}\n", *(f"  {finding}\n" for finding in findings)]) if findings else ""


def _table(rows: Iterable[Row]) -> str:
    """Rows in three columns, as wide as this table needs."""
    rows = tuple(rows)
    words = max(2 * row.depth + len(row.word) for row in rows)
    values = max(len(row.value) for row in rows if row.depth)
    return "".join(_line(row, words, values) for row in rows)


def _line(row: Row, words: int, values: int) -> str:
    word = f"{'  ' * row.depth}{row.word}"
    return f"{word:{words}}  {row.value:{values}}  {row.origin}{row.remark}".rstrip() + "\n"


def _global_rows(config: Config) -> Iterator[Row]:
    yield Row(0, "global", "", "")
    for row in _word_rows(config, GLOBAL, Owner.CONFIG, 1):
        if row.word == "workers" and not config.workers:
            row = row._replace(value="auto (one per CPU that may be used)")
        yield row._replace(value=f"{config.state}/secret") if row.word == "secret" and not config.secret else row


def _service_rows(service: VirtualServiceConfig) -> Iterator[Row]:
    yield Row(0, "virtual", service.key, _origin(service, "host"))
    for row in _word_rows(service, SECTION, Owner.SERVICE, 1):
        yield row._replace(value=f"{service.leg_ports(2)[0]} (with workers above 1)") if row.word == "legport" else row
    yield Row(1, "alias", shown(written(service.alias)), _origin(service, "alias"))
    yield from _check_rows(service.check)
    for server in service.real:
        yield from _server_rows("real", server, server.lines.get("host"))
    if service.fallback is None:
        yield Row(1, "fallback", "-", "default")
    else:
        yield from _server_rows("fallback", service.fallback, service.lines.get("fallback"))


def _check_rows(check: CheckConfig) -> Iterator[Row]:
    for row in _word_rows(check, SECTION, Owner.CHECK, 1):
        if row.word == "checktype" and check.checktype is CheckType.MIXED:
            yield row._replace(value=f"{check.mixed_connects} (one judged answer after every {check.mixed_connects})")
        else:
            yield row


def _server_rows(word: str, server: RealServerConfig, line: int | None) -> Iterator[Row]:
    address = f"{server.host} (SRV)" if server.is_srv else server.key
    yield Row(1, word, address, f"line {line}" if line else "default")
    if "port" not in server.lines and not server.is_srv:
        yield Row(2, "port", str(server.port), "default")
    for name in ("weight", "forwarding"):
        yield Row(2, name, written(getattr(server, name)), _origin(server, name))
    for name in _SERVER_WORDS:
        if value := getattr(server, name):
            yield Row(2, name, shown(written(value)), _origin(server, name))


def _word_rows(owner: Frozen, table: Mapping[str, Directive], kind: Owner, depth: int) -> Iterator[Row]:
    for word, row in table.items():
        if row.owner is kind and (row.standing is Standing.WORKS or word in owner.lines):
            hidden = kind is Owner.CHECK and word in PASSWORDS
            value = "(hidden)" if hidden else _value(word, getattr(owner, word))
            yield Row(depth, word, value, _origin(owner, word), _STANDING[row.standing])


def _value(word: str, value: object) -> str:
    text = shown(written(value))
    if text == "-":
        return _EMPTY.get(word, text)
    return f"{text} s" if word in _SECONDS else text


def _origin(owner: Frozen, word: str) -> str:
    line = owner.lines.get(word)
    return f"line {line}" if line else "default"
