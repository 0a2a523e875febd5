"""Running state of one real server in one virtual service: its place in the pool, its verdict, its counters."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from sipbalancer.compiled import mypyc_attr
from sipbalancer.config.model import RealServerConfig
from sipbalancer.director.health import Health
from sipbalancer.director.pace import Bucket
from sipbalancer.director.pins import PinKind
from sipbalancer.director.verdict import Verdict
from sipbalancer.sip.flow import PACKED_V4, Flow, flow_of, pack_address
from sipbalancer.sip.flow_token import token_head

if TYPE_CHECKING:
    from sipbalancer.director.service import VirtualService


@mypyc_attr(allow_interpreted_subclasses=True)
class RealServer:
    """One server of one service: its place in the pool, its counters. `health` is shared with other services."""

    __slots__ = (
        "bucket",
        "config",
        "drained",
        "elsewhere",
        "fallback",
        "fell",
        "flow",
        "full",
        "health",
        "key",
        "maintenance",
        "number",
        "packed",
        "pins",
        "recovered",
        "refusals",
        "requests",
        "responses",
        "retired",
        "seed",
        "sent",
        "serial",
        "since",
        "tag",
        "token_head",
        "transactions",
        "was_up",
        "weight",
    )

    def __init__(
        self,
        config: RealServerConfig,
        service: VirtualService,
        health: Health,
        number: int,
        fallback: bool = False,
    ) -> None:
        keys, pins = service.keys, service.pins
        self.configure(config, health)
        self.key = config.key
        self.packed = pack_address(config.host, config.port)
        self.flow: Flow = flow_of(service.server_leg, self.packed)
        self.tag = keys.server_tag(self.packed)
        self.token_head = token_head(self.packed, PACKED_V4)
        self.seed = keys.pin(b"server\0" + self.packed)
        self.pins = pins
        self.serial = pins.server_id(service.pin_name(self.key))
        """As pins name it, the same after a restart; -1 when the table has no identity left."""
        self.number = number
        """As the memory of one run names it: its place in `State.servers`."""
        self.since = health.since
        """When the verdict became what it is."""
        self.fallback = fallback
        self.drained = False
        self.retired = False
        """No longer in the file: honoured as draining while pins or dialogs live."""
        self.transactions = 0
        self.elsewhere = 0
        """Those of the other workers, a moment ago."""
        self.requests: defaultdict[bytes, int] = defaultdict(int)
        """Method -> forwarded to it."""
        self.sent: defaultdict[bytes, int] = defaultdict(int)
        """Method -> forwarded from it."""
        self.responses = [0] * 7
        """By class, 0 unused: answers of it and to it."""
        self.refusals = 0
        self.bucket = Bucket()
        """`registerrate`."""
        self.fell = False
        """It has been down or draining since it last took work."""
        self.maintenance = ""
        """The file of `maintenancedir` that drains it."""
        self.full = False
        """At `u:` connections and not yet below `l:` again: the scheduler passes it over."""
        self.was_up = health.verdict is Verdict.UP
        """It has been up since it is in the file (or since the start)."""
        self.recovered = 0.0
        """When it took work again after it had been down or drained; 0.0 = it always did."""

    def configure(self, config: RealServerConfig, health: Health) -> None:
        """Take what a (new) file says of this address."""
        self.config = config
        self.health = health
        self.weight = config.weight

    @property
    def name(self) -> str:
        """What the operator wrote, with the address where that was a host name."""
        return f"{self.config.name} ({self.key})" if self.config.name else self.key

    @property
    def names(self) -> frozenset[str]:
        """All an operator may call it by."""
        named = (self.config.name, f"{self.config.name}:{self.config.port}") if self.config.name else ()
        return frozenset((self.key, self.config.host, *named))

    @property
    def verdict(self) -> Verdict:
        """The health's verdict, or draining where the operator wants nothing new on a living server."""
        verdict = self.health.verdict
        if self.retired or (verdict is not Verdict.DOWN and (self.drained or self.maintenance or self.weight == 0)):
            return Verdict.DRAINING
        return verdict

    @property
    def silent_since(self) -> float:
        """Since when it is down without a sign of life, when it is down: what its calls need to be called dead."""
        return max(self.since, self.health.evidence.sign)

    @property
    def reason(self) -> str:
        """Why the verdict is what it is, for people."""
        if self.retired:
            return "no longer in the file"
        if self.verdict is Verdict.DRAINING and self.drained:
            return "drained by the operator"
        if self.verdict is Verdict.DRAINING and self.maintenance:
            return f"maintenancedir file {self.maintenance}"
        if self.verdict is Verdict.DRAINING and self.weight == 0:
            return "weight 0"
        if self.full and self.verdict is Verdict.UP:
            return f"at its upper threshold u:{self.config.upper}"
        return self.health.reason

    @property
    def calls(self) -> int:
        return self.pins.count(PinKind.CALL, self.serial) + self.pins.count(PinKind.TIMED, self.serial)

    @property
    def registrations(self) -> int:
        return self.pins.count(PinKind.BINDING, self.serial)

    @property
    def connections(self) -> int:
        """What IPVS's connection schedulers count: calls and registrations, and what is under way to become one.

        Without the latter a burst of INVITEs would all meet the server that had the fewest before it.
        """
        return self.calls + self.registrations + self.transactions + self.elsewhere

    def measure(self) -> bool:
        """Look at the thresholds: whether `full` is another now. Without `l:` it is three quarters of `u:` (IPVS)."""
        upper, lower = self.config.upper, self.config.lower
        held = self.full
        if not upper:
            self.full = False
        elif not held:
            self.full = self.connections >= upper
        else:
            self.full = self.connections >= min(lower or max(1, upper * 3 // 4), upper)
        return self.full is not held
