"""Transactions in progress, and the memory of those that ended (RFC 3261 17, 16.11).

A request makes a record that lives until its final response: 32 s, an INVITE 200 s and 200 s more after each
provisional (Timer C). Then only the choice stays, for 32 s and a little, so that repeats, ACK and what comes late find
the same server (invariant 3). No clock here; every dict is bounded; expiry looks only at what is due.
"""

from __future__ import annotations

from collections import deque
from collections.abc import MutableMapping

from sipbalancer.compiled import mypyc_attr
from sipbalancer.director.ended import Ended
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.recent import RecentPins
from sipbalancer.director.service import VirtualService
from sipbalancer.sip.flow import Datagram, Flow

TIMER_F = 32.0
"""64*T1: how long a non-INVITE transaction waits for its final, and an ended one is remembered."""
AVERAGE = 2048
"""Octets of one record, times the limit: what all of them may hold. The bytes are kept as they came and as they left,
so that is a request of 1,000. A stranger may send 65,000 in each."""
LARGE = 8192
"""Octets of a request that is not kept once half of all that is taken: it passes, and only its sender repeats it."""
LONGEST_GIVEN_UP = 8192
"""Octets of the headers that are kept to end a given-up INVITE (ACK, CANCEL): 2 x 4,096 of them at most."""
SLACK = 1024
_SHORTEN = 64
"""Entries looked at in one go: 4 us, and not for each request."""
TIMER_C = 200.0
"""More than three minutes (16.6 step 11)."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Transaction:
    """One forwarded request without a final response.

    What most requests never set has its default on the class: a request costs what it uses (no `__slots__` for that).
    """

    cut: int = 0
    """Leading Routes of ours."""
    provisional: int = 0
    """The highest 1xx heard."""
    aor: bytes = b""
    """REGISTER: whose."""
    pin: int = 0
    """REGISTER: the AoR's pin key."""
    persistence: int = 0
    """`persistencekey` other than aor: the pin that its 2xx confirms."""
    provisional_pin: bool = False
    """REGISTER: it made one."""
    call_key: int = 0
    """The call pin's key, once it was needed (`State.key_of_call`)."""
    in_dialog: bool = False
    sealed: bool = False
    """In a dialog: its Route had our token, which only the ends of that dialog have seen."""
    sent: bytes = b""
    """The bytes as they left, for our own repeats on the server hop; b"" where only the client repeats."""
    stays: bool = False
    """`quiescent`: its pin waits for the server's return."""
    interval: float = 0.0
    """Seconds to the next repeat."""
    wake: float = 0.0
    """When it is looked at next."""
    missed_by: RealServer | None = None
    """The server that has been counted as leaving it unanswered."""
    tried: tuple[RealServer, ...] = ()
    """Servers it was taken from: what they still say must not reach the client."""
    by_us: bool = False
    """We answered it ourselves."""
    cancelled: bool = False
    """The client wants it no more: it goes nowhere else."""
    held: Datagram | None = None
    """A 503 that waits for a probe's word, ready for the client."""
    uri: bytes = b""
    """Outward: the Request-URI we put in place of the server's; b"" = as it came."""
    token: Flow | None = None
    """In a dialog: the client flow the token named, when the request came on another."""

    def __init__(
        self,
        key: bytes,
        method: bytes,
        service: VirtualService,
        server: RealServer,
        client: Flow,
        source: Flow,
        inward: bool,
        data: bytes,
        call_id: bytes,
        now: float,
    ) -> None:
        self.key = key
        self.method = method
        self.service = service
        self.server = server
        self.client = client
        """The client's flow, whichever side asked."""
        self.source = source
        """Where it came from."""
        self.inward = inward
        """From a client to the server; False the other way."""
        self.data = data
        """The bytes as they came: another try edits them anew."""
        self.call_id = call_id
        self.first = self.sent_at = now
        """`sent_at`: when it first went to its present server."""
        self.deadline = now + (TIMER_C if method == b"INVITE" else TIMER_F)


@mypyc_attr(allow_interpreted_subclasses=True)
class Transactions:
    """The records by key (the middle of the branch, `Keys.transaction`), and what is remembered after them."""

    def __init__(self, limit: int = 65536) -> None:
        self.pending: MutableMapping[bytes, Transaction] = {}
        self.held: MutableMapping[bytes, Transaction] = {}
        """Of these, the ones whose 503 waits for a probe's word."""
        self.answered: RecentPins[bytes] = RecentPins(16384, TIMER_F)
        """Key -> the answer we gave ourselves."""
        self.ended = Ended()
        """Key -> the number of the server it went to."""
        self.outward: RecentPins[tuple[Flow, bytes]] = RecentPins(65536, TIMER_F)
        """Key of a server's request that ended -> the client flow it went to, and its `uri`: the phone may have
        registered from another since."""
        self.given_up: RecentPins[Transaction] = RecentPins(4096, TIMER_F)
        """Key -> an ended transaction that was taken from a server which may still say something of it."""
        self.refused = 0
        self._limit = limit
        self._room = limit * AVERAGE
        self._held = 0
        """Octets of the requests in `pending`, as they came and as they left."""
        self._due: deque[tuple[float, bytes]] = deque()
        self._due_invites: deque[tuple[float, bytes]] = deque()

    def begin(self, transaction: Transaction) -> None:
        """Keep a new record; without room only the choice is remembered."""
        octets = len(transaction.data)
        held = self._held + 2 * octets
        if len(self.pending) >= self._limit or held > self._room or (octets > LARGE and 2 * held > self._room):
            self.refused += 1
            self._remember(transaction, transaction.first)
            return
        self.pending[transaction.key] = transaction
        self._held = held
        transaction.server.transactions += 1
        queue = self._due_invites if transaction.method == b"INVITE" else self._due
        queue.append((transaction.deadline, transaction.key))
        if len(queue) > 2 * len(self.pending) + SLACK:
            self._shorten(queue, transaction.first)

    def _shorten(self, queue: deque[tuple[float, bytes]], now: float) -> None:
        """What has ended leaves the queue as new ones come, so that it stays as long as `pending`, not 32 s of traffic;
        one that waits at its head goes to the end, at the price of being looked at later. One whose time is over stays
        at the head for `expire`: it would be sent to the end again and again."""
        pending = self.pending
        for _ in range(_SHORTEN):
            if queue[0][1] not in pending:
                queue.popleft()
            elif queue[0][0] <= now:
                break
            else:
                queue.append(queue.popleft())

    def end(self, transaction: Transaction, now: float) -> None:
        """Its final response passed, or its time is over: only the choice stays."""
        if self.pending.pop(transaction.key, None) is not None:
            transaction.server.transactions -= 1
            self._held -= 2 * len(transaction.data)
            if transaction.held is not None:
                self.held.pop(transaction.key, None)
                transaction.held = None
            if transaction.tried:
                self._give_up(transaction, now)
        self._remember(transaction, now)

    def _remember(self, transaction: Transaction, now: float) -> None:
        """The choice: the server, and for a server's request the client."""
        self.ended.put(transaction.key, transaction.server.number, now)
        if not transaction.inward:
            self.outward.put(transaction.key, (transaction.client, transaction.uri), now)

    def release(self, transaction: Transaction) -> None:
        """Know nothing of it any more: the client's next copy is a first one."""
        if self.pending.pop(transaction.key, None) is not None:
            transaction.server.transactions -= 1
            self._held -= 2 * len(transaction.data)

    def forget(self, transaction: Transaction, now: float) -> None:
        """We answered it ourselves: its repeats meet that answer, and what its tries still say is cleaned up."""
        transaction.by_us = True
        self.end(transaction, now)
        self.ended.drop(transaction.key)
        self._give_up(transaction, now)

    def _give_up(self, transaction: Transaction, now: float) -> None:
        """Keep what its ACK or CANCEL is made of, and nothing else of its bytes."""
        head = transaction.data.partition(b"\r\n\r\n")[0] if transaction.method == b"INVITE" else b""
        transaction.data = head + b"\r\n\r\n" if 0 < len(head) <= LONGEST_GIVEN_UP else b""
        transaction.sent = b""
        self.given_up.put(transaction.key, transaction, now)

    def expire(self, now: float, limit: int) -> list[Transaction]:
        """End the records whose time is over, at most `limit` of each kind; those that were still waiting."""
        over: list[Transaction] = []
        for queue in (self._due, self._due_invites):
            for _ in range(limit):
                if not queue or queue[0][0] > now:
                    break
                _, key = queue.popleft()
                transaction = self.pending.get(key)
                if transaction is None:
                    continue
                if transaction.deadline > now:
                    queue.append((transaction.deadline, key))
                else:
                    self.end(transaction, now)
                    over.append(transaction)
        self.answered.sweep(now)
        self.given_up.sweep(now)
        self.outward.sweep(now)
        return over
