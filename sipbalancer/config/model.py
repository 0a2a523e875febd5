"""What an operator can say, as frozen values; every default lives here.

Field names are the file's own words (ldirectord's, then ours). A field that may stand both at the top of
the file and in a `virtual` section is already resolved: the section's word wins, then the global one, then
the default. `lines` maps a field name to the line it came from; a name that is absent has its default.
Durations are seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

LEGPORT_ABOVE = 10_000
MOST_WORKERS = 16
"""As many as a pin's slot can tell apart as writers (`director.shared_pins`)."""


class Scheduler(StrEnum):
    RR = "rr"
    WRR = "wrr"
    LC = "lc"
    WLC = "wlc"
    SED = "sed"
    NQ = "nq"
    SH = "sh"
    DH = "dh"
    HASH = "hash"


class Forwarding(StrEnum):
    GATE = "gate"
    MASQ = "masq"
    IPIP = "ipip"


class CheckType(StrEnum):
    NEGOTIATE = "negotiate"
    CONNECT = "connect"
    PING = "ping"
    EXTERNAL = "external"
    EXTERNAL_PERL = "external-perl"
    ON = "on"
    OFF = "off"
    MIXED = "mixed"
    """The number form N: one negotiate after every N connects (`mixed_connects`)."""


class PersistenceKey(StrEnum):
    AOR = "aor"
    SOURCE = "source"
    DOMAIN = "domain"
    CALLID = "callid"


class Nat(StrEnum):
    AUTO = "auto"
    FORCE = "force"
    NO = "no"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    lines: Mapping[str, int] = Field(default_factory=lambda: MappingProxyType({}), repr=False)

    def __eq__(self, other: object) -> bool:
        """Same kind, same values; a moved line changes nothing (a reload compares, health is keyed by its check)."""
        return type(self) is type(other) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return self

    def _values(self) -> tuple[object, ...]:
        return tuple(value for name, value in self.__dict__.items() if name != "lines")


class RealServerConfig(Frozen):
    """One `real=` or `fallback=`: a host (address literal or name), port and how to treat it.

    An SRV name (`_sip._udp.example.com`) stands in `host` with port 0 until it is resolved.
    """

    host: str
    port: int = 5060
    family: int = 4
    """6 for `real6` and `fallback6`: which addresses a host name is asked for."""
    forwarding: Forwarding = Forwarding.GATE
    weight: int = 1
    request: str = ""
    receive: str = ""
    upper: int = 0
    """`u:`: connections at which the server takes nothing new; 0 = no limit."""
    lower: int = 0
    """`l:`: connections below which it takes new work again."""
    source: tuple[str, ...] = ()
    """Further addresses this server sends from (`source = addr, ...`)."""
    name: str = ""
    """What the operator wrote (a host name keeps it here once resolved); empty = the host."""
    priority: int = 0
    """SRV priority group; a group works only when no lower number does."""

    @property
    def is_srv(self) -> bool:
        """An SRV name still to be resolved: it stands for several servers, and brings their ports."""
        return self.host.startswith("_")

    @property
    def key(self) -> str:
        """`address:port`, `[address]:port` for IPv6: the identity of a server."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


class CheckConfig(Frozen):
    """How a server's health is asked for (section words, per service)."""

    checktype: CheckType = CheckType.NEGOTIATE
    mixed_connects: int = 0
    checkinterval: float = 10.0
    """A true period, not a pause between rounds; fractions allowed."""
    negotiatetimeout: float = 30.0
    checktimeout: float = 5.0
    checkcount: int = 1
    failurecount: int = 1
    risecount: int = 1
    """Ours: answers in a row before a server that was down takes work again."""
    checkport: int | None = None
    checkcommand: str = "/bin/true"
    login: str = ""
    """`user@host`: Request-URI, To and From of the probe; empty = `sip:host:port`, no user."""
    passwd: str = ""
    request: str = ""
    receive: str = ""
    """A regular expression on the whole answer; narrows what counts as up. Empty = any fit final."""
    virtualhost: str = ""
    httpmethod: str = "GET"
    database: str = ""
    secret: str = ""
    """ldirectord's RADIUS secret; the sealing keys are the global `secret` of `Config`."""
    load: str = ""


PASSWORDS = frozenset(("passwd", "secret"))
"""Fields of CheckConfig that are never shown."""


class VirtualServiceConfig(Frozen):
    """One `virtual=` section with everything global already resolved into it."""

    host: str
    """Address literal, or the host name of `virtual=` until it is resolved (it is also an `alias` then)."""
    port: int = 5060
    family: int = 4
    """6 for `virtual6`."""
    protocol: str = "udp"
    service: str = "sip"
    real: tuple[RealServerConfig, ...] = ()
    fallback: RealServerConfig | None = None
    fallbackcommand: str = ""
    scheduler: Scheduler = Scheduler.RR
    persistent: int = 360
    """Shortest life of a binding pin; the registration's own expiry wins when longer."""
    netmask: str = ""
    quiescent: bool = False
    check: CheckConfig = Field(default_factory=CheckConfig)
    emailalert: str = ""
    emailalertfreq: int = 0
    emailalertstatus: str = "all"
    smtp: str = ""
    monitorfile: str = ""
    cleanstop: bool = True
    servicename: str = ""
    comment: str = ""
    ops: bool = False
    schedflags: str = ""
    # ours
    alias: tuple[str, ...] = ()
    advertise: str = ""
    persistencekey: PersistenceKey = PersistenceKey.AOR
    nat: Nat = Nat.AUTO
    outbound: bool = False
    clientheader: str = ""
    calltimeout: int = 43200
    slowstart: float = 0.0
    maxexpires: int = 0
    """Longest life that the 2xx to a REGISTER grants a phone, at least 60; 0 = as the server granted."""
    registerrate: float = 0.0
    """REGISTERs per second that one server gets at most; 0 = no limit."""
    rebalance: bool = True
    """Registrations go home to a server that has returned, each at its refresh."""
    endcalls: bool = False
    """The phones' legs of calls on a server that is dead (`deaddialogs`) are ended by a BYE."""
    deaddialogs: float = 10.0
    """A server must be down so long before requests inside its dialogs (BYE sooner) are answered 481."""
    legport: int = 0
    """`workers`: the first of the ports servers are asked from; 0 = LEGPORT_ABOVE more than the service's own."""

    @property
    def key(self) -> str:
        """`address:port`, `[address]:port` for IPv6: the identity of a service."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def leg_ports(self, workers: int) -> range:
        """The port that each worker asks servers from; empty for one, which needs none but the service's own."""
        first = self.legport or self.port + LEGPORT_ABOVE
        return range(first, first + workers) if workers > 1 else range(0)


class Config(Frozen):
    """A whole file."""

    path: str = ""
    virtual: tuple[VirtualServiceConfig, ...] = ()
    autoreload: bool = False
    callback: str = ""
    readdquiescent: bool = False
    maintenancedir: str = ""
    logfile: str = ""
    supervised: bool = False
    fork: bool = False
    execute: tuple[str, ...] = ()
    emailalertfrom: str = ""
    # ours
    metrics: str = "127.0.0.1:9436"
    """`host:port` of /metrics and /healthz; `no` = none."""
    admin: str = "/run/sipbalancer/admin.sock"
    state: str = "/var/lib/sipbalancer"
    secret: str = ""
    """File with the sealing key(s), one per line, newest first; empty = `secret` in the state folder."""
    registrations: int = 1_000_000
    """Room in the pin table."""
    calls: int = 100_000
    workers: int = 1
    """Processes that forward; 0 = `auto`, as many as CPUs may be used."""
