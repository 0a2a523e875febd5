"""What the director remembers from one datagram to the next; the parts of the forwarder share it, nobody else does."""

from __future__ import annotations

from traceback import format_exc
from typing import Any

from sipbalancer.compiled import mypyc_attr
from sipbalancer.config.model import RealServerConfig
from sipbalancer.director.acks import Acks
from sipbalancer.director.bindings import Bindings
from sipbalancer.director.crossing import Crossings
from sipbalancer.director.dialogs import Dialogs
from sipbalancer.director.health import Health
from sipbalancer.director.keys import Keys
from sipbalancer.director.lines import Lines
from sipbalancer.director.pins import PinTable
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.recent import RecentPins
from sipbalancer.director.repeats import Repeats
from sipbalancer.director.service import VirtualService
from sipbalancer.director.transactions import TIMER_F, Transaction, Transactions
from sipbalancer.director.wheel import Wheel
from sipbalancer.sip.aor import tag
from sipbalancer.sip.flow import PACKED_V4, Datagram, pack_address, unpack_address
from sipbalancer.sip.flow_token import TokenSealer, token_head

MOVED_LIFE = 43200.0
_RETIRED = 1024
_EVENTS = 256


@mypyc_attr(allow_interpreted_subclasses=True)
class State:
    """Keys, pins, transactions, bindings and the small caches. Every part is bounded."""

    crossings: Crossings | None = None
    """One of several workers: what others wait for."""
    provisional_elsewhere = 0
    """The control process: unconfirmed pins of all workers."""

    def __init__(self, keys: tuple[bytes, ...], pins: PinTable, now: float) -> None:
        self.keys = Keys(keys[0])
        self.sealer = TokenSealer(keys)
        self.pins = pins
        self.transactions = Transactions()
        self.services: dict[int, VirtualService] = {}
        """By leg."""
        self.by_leg: dict[int, VirtualService] = {}
        """The same, by every leg of each."""
        self.bindings: dict[int, Bindings] = {}
        """By leg."""
        self.servers: list[RealServer] = []
        """By number; only grows, and only by reloads and retired servers."""
        self.provisional: RecentPins[int] = RecentPins(65536, TIMER_F)
        """The AoR's pin key ^ hash of the client address -> server number, from a REGISTER's first copy to its final
        answer. Both are keyed hashes of 64 bits, the second one Python's own: an AoR may have 254 octets."""
        self.recent_calls: RecentPins[int] = RecentPins(262144, TIMER_F)
        """Call pin key -> server number, until a 2xx confirms."""
        self.waiting: RecentPins[float] = RecentPins(262144, 2 * TIMER_F)
        """Key of a REGISTER that `registerrate` holds off -> when its first copy came."""
        self.lines = Lines()
        """`registerrate`: whose turn it is."""
        self.challenged: RecentPins[int] = RecentPins(65536, TIMER_F)
        """`registerrate`: `call_key` of a REGISTER that was challenged -> by the server of this number."""
        self.unproved: RecentPins[int] = RecentPins(65536, TIMER_F)
        """`persistencekey` other than aor: pin key -> server number, until a 2xx confirms it."""
        self.moved: RecentPins[bytes] = RecentPins(65536, MOVED_LIFE)
        """Call-ID and the client address a token names -> the packed address the phone has now."""
        self.outbox: list[Datagram] = []
        """What a datagram or the clock caused beyond the one answer; the edge empties it after each batch."""
        self.wheel = Wheel(now)
        self.dialogs = Dialogs()
        """`endcalls`: the confirmed calls."""
        self.repeats = Repeats(now)
        """What we said ourselves and nobody has taken yet."""
        self.acks = Acks()
        """ACKs of 2xx that came again."""
        self.recent: tuple[RecentPins[Any], ...] = (
            *(self.provisional, self.recent_calls, self.waiting, self.challenged, self.unproved),
            *(self.moved, self.acks.unheard),
        )
        """All that must be swept."""
        self.unread = 0.0
        """Seconds that what comes now waits in our own receive queues; the daemon says so. That much silence is ours:
        a copy sent because of it makes one more answer to read, and the queue longer."""
        self.suspects: dict[Health, None] = {}
        """Servers that want a probe at once; the daemon takes them after each `due`."""
        self.first_start = False
        """The pins began in an empty state folder, not after a loss."""
        self.probed: frozenset[Health] = frozenset()
        """Whose verdicts are kept up to date."""
        self.internal_errors = 0
        self.last_error = ""
        self._events: dict[str, None] = {}
        self._told: set[str] = set()

    # Servers.

    def number(self) -> int:
        """The number the next server gets."""
        return len(self.servers)

    def server_at(self, service: VirtualService, packed: bytes) -> RealServer | None:
        """The server with that address; one known only under our seal or by a pin becomes a retired one. Bounded."""
        server = service.by_packed.get(packed)
        if server is None and len(service.by_packed) < _RETIRED:
            host, port = unpack_address(packed)
            config = RealServerConfig(host=host, port=port, weight=0)
            server = RealServer(config, service, Health(config.key, service.config.check, 0.0), self.number())
            self.servers.append(server)
            service.adopt(server)
        return server

    def server_of_pin(self, service: VirtualService, serial: int) -> RealServer | None:
        """The server a pin names, also one that is no longer in the file."""
        server = service.by_serial.get(serial)
        if server is not None or serial < 0:
            return server
        salt, _, key = self.pins.server_name(serial).partition("/")
        host, _, port = key.rpartition(":")
        if salt != service.salt.hex() or not port.isdigit():
            return None
        return self.server_at(service, pack_address(host, int(port)))

    # Lines of ours.

    def route_line(self, name: bytes, service: VirtualService, server: RealServer, client: bytes) -> bytes:
        """`Record-Route: <sip:TOKEN@us;lr>` (or Path) for this pair.

        Sealed each time: 0.5 us, which a look-up also costs where so many are kept that the memory is cold.
        """
        head = server.token_head if len(client) == PACKED_V4 else token_head(server.packed, len(client))
        return b"%b: <sip:%b%b>\r\n" % (name, self.sealer.seal_client(head, client), service.route_end)

    def may_be_known(self, key: bytes, now: float) -> bool:
        """Whether a Contact nobody knows here may be on its way from another worker: so for a request's first copy, and
        the second comes half a second later (RFC 3261 17.1.2.2)."""
        if self.crossings is None or self.crossings.unsure.get(key, now):
            return False
        return self.crossings.unsure.put(key, True, now)

    # Pin keys.

    def call_key(self, service: VirtualService, call_id: bytes) -> int:
        return self.keys.pin(b"c" + service.salt + call_id)

    def ack_key(self, service: VirtualService, inward: bool, call_id: bytes, cseq: int, to_value: bytes) -> int:
        """Of a 2xx to INVITE and its ACK; `inward`: the server gave the answer, else the client."""
        leg = (b"S" if inward else b"C") + service.salt
        return self.keys.pin(b"%b%d %b %b" % (leg, cseq, tag(to_value), call_id))

    def key_of_call(self, transaction: Transaction) -> int:
        """The same of a transaction, hashed once."""
        key = transaction.call_key
        if not key:
            key = transaction.call_key = self.call_key(transaction.service, transaction.call_id)
        return key

    def moved_key(self, call_id: bytes, client: bytes) -> int:
        """Of `moved`: a dialog, and the client address its token names. A hash, as a Call-ID may have 60,000 octets."""
        return self.keys.pin(b"m" + client + b"\0" + call_id)

    def binding_key(self, service: VirtualService, aor: bytes) -> int:
        return self.keys.pin(b"b" + service.salt + aor)

    # What we say of our own accord.

    def say(self, key: bytes, datagram: Datagram, now: float) -> None:
        """Send it now, and again until it is taken (`repeats`)."""
        if self.repeats.begin(key, datagram, now):
            self.outbox.append(datagram)

    # Faults of our own.

    def failed(self, service: VirtualService | None = None) -> None:
        """In an `except`: count it and keep what happened, to be shown. `service`: whose datagram or timer it was."""
        self.internal_errors += 1
        self.last_error = format_exc()
        if service is not None:
            service.dropped["internal error"] += 1

    # Rare things an operator should read once.

    def tell(self, text: str) -> bool:
        """One log line, once per text; bounded. Whether it was new."""
        if text in self._told or len(self._told) >= _EVENTS:
            return False
        self._told.add(text)
        self._events[text] = None
        return True

    def told(self) -> tuple[str, ...]:
        """What was told since the last call."""
        events, self._events = tuple(self._events), {}
        return events
