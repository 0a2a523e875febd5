"""The table of words: where each may stand, who reads it, where its value goes, and what it does here.

A new word is one row (and a field in `model`). The words that make servers and sections (`virtual`, `real`,
`fallback`, `source`, `alias`) have grammars of their own in `servers` and no row here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import NamedTuple

from sipbalancer.config import values
from sipbalancer.config.findings import Cell, shown
from sipbalancer.config.model import MOST_WORKERS, CheckType, Nat, PersistenceKey, Scheduler
from sipbalancer.config.servers import read_advertise, read_metrics
from sipbalancer.config.services import LDIRECTORD_SERVICES
from sipbalancer.config.values import Reader


class Owner(Enum):
    """Which model takes the value."""

    CONFIG = "config"
    SERVICE = "service"
    CHECK = "check"


class Standing(Enum):
    """What a word does here."""

    WORKS = "works"
    NOTHING = "nothing"
    """Accepted so that ldirectord's file runs unchanged; there is nothing here for it to do."""


class Directive(NamedTuple):
    """One word in one place."""

    word: str
    owner: Owner
    read: Reader
    standing: Standing = Standing.WORKS
    meaning: str = ""
    """For NOTHING: what an operator has to know."""


_SCHEDULERS_ELSEWHERE: Mapping[str, Scheduler] = MappingProxyType(
    {"lblc": Scheduler.WLC, "lblcr": Scheduler.WLC, "twos": Scheduler.WLC, "mh": Scheduler.SH}
)
"""IPVS schedulers that have no twin here, and the nearest one."""


def _scheduler(cell: Cell) -> Scheduler | None:
    word = values.first_word(cell)
    if word is None:
        return None
    twin = _SCHEDULERS_ELSEWHERE.get(word)
    if twin is not None:
        cell.doubt(f"`{word}` is not built here; {twin.value} is used: write scheduler = {twin.value}")
        return twin
    return Scheduler(word) if values.one_of(cell, word, [member.value for member in Scheduler]) else None


def _check_type(cell: Cell) -> CheckType | int | None:
    """A check type, or N of the number form."""
    value = values.text(cell)
    if value is None:
        return None
    if any(char in "0123456789" for char in value):
        return values.count(0, 999_999)(cell)
    word = values.first_word(cell)
    known = [member.value for member in CheckType if member is not CheckType.MIXED]
    if word is None or word in known:
        return None if word is None else CheckType(word)
    values.one_of(cell, word, [*known, "a number N"])
    return None


def _service(cell: Cell) -> str | None:
    word = values.first_word(cell)
    return word if word is not None and values.one_of(cell, word, sorted(LDIRECTORD_SERVICES)) else None


def _protocol(cell: Cell) -> str | None:
    word = values.first_word(cell)
    if word is None or word == "udp":
        return word
    cell.wrong(f"`{shown(word)}` cannot be served; write protocol = udp")
    return None


def _http_method(cell: Cell) -> str | None:
    word = values.first_word(cell)
    return word.upper() if word is not None and values.one_of(cell, word.upper(), ("GET", "HEAD")) else None


def _login(cell: Cell) -> str | None:
    value = values.text(cell)
    if value is None:
        return None
    login = value.strip()
    if login and not any(char in login for char in '<>" \t'):
        return login
    cell.wrong(f'`{shown(value)}` does not fit into a SIP URI; write login = "user@host"')
    return None


def _max_expires(cell: Cell) -> int | None:
    """0, or a life that phones can keep: below a minute they would only refresh."""
    value = values.own_count(0)(cell)
    if value is None or value == 0 or value >= 60:
        return value
    cell.wrong(f"`{value}` is too short a life for a registration; write maxexpires = 60")
    return None


def _workers(cell: Cell) -> int | None:
    """A number of processes, or `auto`, which is 0."""
    return 0 if cell.text.strip() == "auto" else values.own_count(1, MOST_WORKERS)(cell)


_NOT_SIP = "is for checks of other services; a SIP check has no use for it"


def _works(owner: Owner, **readers: Reader) -> list[Directive]:
    return [Directive(word, owner, read) for word, read in readers.items()]


def _nothing(owner: Owner, meaning: str, **readers: Reader) -> list[Directive]:
    return [Directive(word, owner, read, Standing.NOTHING, meaning) for word, read in readers.items()]


_BOTH = [
    *_works(Owner.SERVICE, quiescent=values.yes_no),
    *_works(
        Owner.CHECK,
        checkinterval=values.seconds(1),
        negotiatetimeout=values.seconds(1),
        checktimeout=values.seconds(1),
        failurecount=values.count(1),
        risecount=values.own_count(1),
        checkcount=values.count(1, 1000),
    ),
    *_works(
        Owner.SERVICE,
        persistencekey=values.word_of(PersistenceKey),
        nat=values.word_of(Nat),
        outbound=values.yes_no,
        clientheader=values.header_name,
        calltimeout=values.own_count(1),
        deaddialogs=values.own_seconds,
        endcalls=values.yes_no,
        maxexpires=_max_expires,
        registerrate=values.own_seconds,
        rebalance=values.yes_no,
        slowstart=values.own_seconds,
        legport=values.own_count(1, 65535),
    ),
    *_works(
        Owner.SERVICE,
        fallbackcommand=values.text,
        emailalert=values.text,
        emailalertfreq=values.count(0),
        emailalertstatus=values.mail_states,
        smtp=values.first_word,
    ),
    *_nothing(Owner.SERVICE, "nothing is left in the kernel at exit, with yes or no: packets are proxied",
              cleanstop=values.yes_no),
]  # fmt: skip

_GLOBAL = [
    *_works(Owner.CONFIG, autoreload=values.yes_no, logfile=values.text),
    *_works(
        Owner.CONFIG,
        metrics=read_metrics,
        admin=values.socket_path,
        state=values.path,
        secret=values.path,
        registrations=values.own_count(1, 50_000_000),
        calls=values.own_count(1, 50_000_000),
        workers=_workers,
    ),
    *_works(
        Owner.CONFIG,
        callback=values.text,
        maintenancedir=values.text,
        readdquiescent=values.yes_no,
        emailalertfrom=values.free_text,
    ),
    *_nothing(Owner.CONFIG, "all services are checked at once by one process, with yes or no", fork=values.yes_no),
    *_nothing(Owner.CONFIG, "`sipbalancer run` always stays in the foreground; let systemd supervise it",
              supervised=values.yes_no),
    *_nothing(Owner.CONFIG, "no second instance is started; run `sipbalancer run FILE` for that file",
              execute=values.text),
]  # fmt: skip

_SECTION = [
    *_works(
        Owner.SERVICE,
        protocol=_protocol,
        service=_service,
        scheduler=_scheduler,
        persistent=values.count(0),
        netmask=values.netmask,
        advertise=read_advertise,
        servicename=values.free_text,
        comment=values.free_text,
    ),
    *_works(
        Owner.CHECK,
        checktype=_check_type,
        checkport=values.count(1, 65535),
        checkcommand=values.text,
        login=_login,
        receive=values.regular_expression,
    ),
    *_works(Owner.SERVICE, monitorfile=values.text),
    *_nothing(Owner.SERVICE, "one-packet scheduling would tear dialogs apart; here each stays on its server",
              ops=values.yes_no),
    *_nothing(Owner.SERVICE, "flags of IPVS schedulers; the schedulers here have none", schedflags=values.text),
    *_nothing(Owner.CHECK, "the SIP check asks without a password (ldirectord's too)", passwd=values.text),
    *_nothing(Owner.CHECK, "is RADIUS's password here; the balancer's own keys are the global `secret` (at column one)",
              secret=values.text),
    *_nothing(Owner.CHECK, _NOT_SIP, request=values.text, virtualhost=values.text, httpmethod=_http_method,
              database=values.text, load=values.text),
]  # fmt: skip

GLOBAL: Mapping[str, Directive] = MappingProxyType({row.word: row for row in (*_GLOBAL, *_BOTH)})
"""Words at column one. Those of SERVICE and CHECK are what sections fall back to."""

SECTION: Mapping[str, Directive] = MappingProxyType({row.word: row for row in (*_SECTION, *_BOTH)})
"""Words inside a section."""

SERVER_WORDS = ("real", "real6", "fallback", "fallback6", "source", "alias")
"""Words inside a section with a grammar of their own."""

GLOBAL_SERVER_WORDS = ("fallback", "fallback6")

RETIRED: Mapping[str, str] = MappingProxyType(
    {
        "timeout": "is an old name; write checktimeout (connect, ping, external) or negotiatetimeout (SIP)",
        "connecttimeout": "is an old name; write negotiatetimeout",
    }
)
