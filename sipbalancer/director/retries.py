"""The server hop: our own repeats, and when a request moves to another server (design 5.3) and when it does not.

It moves only when its server's verdict became `down` (a refusal confirmed, or a silence proved), when nothing at all
was heard from that server since it was sent and the probe sent because of it is silent too, or for a 503 that speaks
for the whole server. Any 1xx above 100 ends that. At most two servers by silence. The client's bytes are edited anew
for each try; what a given-up try still says never reaches the client (`given_up`).

Everything here is the slow verb's: it looks at what the wheel hands out and appends to the outbox.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from math import inf
from zlib import crc32

from sipbalancer.director import learn
from sipbalancer.director.answers import answer_to, way_back
from sipbalancer.director.given_up import ack, cancel
from sipbalancer.director.lines import Held
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.repeats import final_key
from sipbalancer.director.service import VirtualService
from sipbalancer.director.state import State
from sipbalancer.director.to_server import edit
from sipbalancer.director.transactions import TIMER_F, Transaction
from sipbalancer.director.verdict import Verdict
from sipbalancer.sip.flow import Datagram
from sipbalancer.sip.grammar import METHODS
from sipbalancer.sip.scan import scan_request

LONGEST = 1.0
"""The longest pause between two of our repeats, while the server is quicker than that. T2 (4 s) is for any path; with
it this hop lost 6 requests of 54,280 at 30 % loss each way (`make bench-faults`)."""
QUIET = 0.2
"""Seconds a server must be silent to everything, four probes among it, before a request leaves it undecided."""
AT_ONCE = 512
"""Transactions looked at in one call of `due`: 10 ms. A dead server may leave 65,000, which would take a second."""
KEYS_AT_ONCE = 8192
"""Keys taken from a queue in one call, those of what has ended meanwhile among them: a millisecond."""
DEAD_DIALOG = 2.0
"""Seconds a request inside a dialog waits for a server that is down."""


class Retries:
    """Works on the transactions of `state`."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._ready: deque[bytes] = deque()
        """Keys whose time has come."""
        self._bereft: deque[bytes] = deque()
        """Keys of requests whose server went down."""
        self._unserved: deque[bytes] = deque()
        """Keys of requests whose server is overloaded."""
        self._answered: deque[bytes] = deque()
        """Keys of held 503s whose probe's word is in."""

    def watch(self, transaction: Transaction, out: bytes, now: float) -> None:
        """A request's first copy left for its server."""
        wait = transaction.server.health.evidence.wait + self._state.unread
        if not transaction.in_dialog or transaction.method == b"BYE":
            transaction.sent = out
        else:
            wait = DEAD_DIALOG
        transaction.interval = wait
        transaction.wake = when = now + wait
        self._state.wheel.set(transaction.key, when)

    def absorb(self, transaction: Transaction, method: bytes) -> bool:
        """Whether a client's copy is swallowed: we repeat ourselves until the server says something."""
        return bool(transaction.sent) and not transaction.provisional and method == transaction.method

    def due(self, now: float) -> None:
        """Look at what is due, at most `AT_ONCE` of each kind; the rest is the next call's."""
        self._ready.extend(self._state.wheel.due(now, KEYS_AT_ONCE - len(self._ready)))
        self._take(self._ready, now, self._woken)
        self._take(self._bereft, now, self._leave)
        self._take(self._unserved, now, self._leave_overloaded)
        self._take(self._answered, now, self.settle)

    def _wake(self, transaction: Transaction, when: float) -> None:
        """Look at it then, and not before: what was set earlier counts no more."""
        transaction.wake = when
        self._state.wheel.set(transaction.key, when)

    def _woken(self, transaction: Transaction, now: float) -> None:
        if transaction.wake <= now:
            transaction.wake = inf
            self._step(transaction, now)

    def _take(self, keys: deque[bytes], now: float, verb: Callable[[Transaction, float], None]) -> None:
        """At most `AT_ONCE`; keys of what has ended meanwhile cost little and are counted apart."""
        pending, left = self._state.transactions.pending, AT_ONCE
        for _ in range(min(len(keys), KEYS_AT_ONCE)):
            if not left:
                break
            transaction = pending.get(keys.popleft())
            if transaction is not None:
                left -= 1
                try:
                    verb(transaction, now)
                except Exception:  # a bug of ours must cost one transaction, not all of this tick
                    self._state.failed(transaction.service)

    def _step(self, transaction: Transaction, now: float) -> None:
        if transaction.held is not None:
            self.settle(transaction, now)
        elif transaction.in_dialog:
            self._step_in_dialog(transaction, now)
        elif transaction.cancelled:
            if transaction.server.health.evidence.heard < transaction.sent_at:
                self._missed(transaction, now)
        elif not (transaction.provisional and transaction.method == b"INVITE"):
            self._step_new(transaction, now)

    def _step_new(self, transaction: Transaction, now: float) -> None:
        evidence = transaction.server.health.evidence
        if evidence.heard_new < transaction.sent_at:
            self._missed(transaction, now)
        if (
            not transaction.tried
            and now - transaction.sent_at >= QUIET + self._state.unread
            and evidence.silent_since(transaction.sent_at, now)
            and self.move(transaction, now)
        ):
            return
        self._repeat(transaction, now)

    def _missed(self, transaction: Transaction, now: float) -> None:
        health = transaction.server.health
        first, transaction.missed_by = transaction.missed_by is not transaction.server, transaction.server
        if health.evidence.missed(now, first):
            self._state.suspects[health] = None

    def _repeat(self, transaction: Transaction, now: float) -> None:
        if now - transaction.first >= TIMER_F:
            return  # its client has given up too (timers B and F)
        self._state.outbox.append((transaction.sent, transaction.server.flow))
        transaction.service.chosen["repeat"] += 1
        wait = transaction.server.health.evidence.wait
        transaction.interval = min(2 * transaction.interval, max(LONGEST, wait))
        suspect = transaction.server.health.evidence.suspected and not transaction.tried
        pause = min(transaction.interval, QUIET) if suspect else transaction.interval
        self._wake(transaction, now + pause + self._state.unread)

    def _step_in_dialog(self, transaction: Transaction, now: float) -> None:
        """A `down` server still gets its dialogs' requests; the client learns 481 in time, never by a short outage."""
        server = transaction.server
        evidence = server.health.evidence
        if evidence.heard < transaction.sent_at:
            self._missed(transaction, now)
        if server.health.verdict is Verdict.DOWN and now - max(transaction.first, server.since) >= DEAD_DIALOG:
            patience = transaction.service.config.deaddialogs
            if transaction.method == b"BYE" or server.health.refused or now - server.silent_since >= patience:
                self.finish(transaction, 481, now)
                return
        if transaction.sent and not transaction.provisional:
            self._repeat(transaction, now)
        else:
            self._wake(transaction, now + 0.5)

    # Moving.

    def move(self, transaction: Transaction, now: float) -> bool:
        """Try another server; False when none is left for it or it must stay."""
        server = self._other(transaction)
        if server is None or transaction.cancelled or transaction.stays:
            return False
        state, service, old = self._state, transaction.service, transaction.server
        if transaction.method == b"REGISTER" and not self._admitted(server, service, now):
            state.waiting.put(transaction.key, transaction.first, now)
            held = Held(service, transaction.data, transaction.source, transaction.first)
            state.lines.join(server, transaction.key, held)
            state.transactions.release(transaction)
            return True
        transaction.tried += (old,)
        old.transactions -= 1
        server.transactions += 1
        transaction.server, transaction.sent_at, transaction.provisional = server, now, 0
        self._edit(transaction)
        service.chosen["failover"] += 1
        server.requests[transaction.method if transaction.method in METHODS else b"OTHER"] += 1
        if transaction.method == b"REGISTER":
            key = transaction.pin ^ hash(transaction.client[1])
            transaction.provisional_pin = state.provisional.put(key, server.number, now)
        else:
            state.recent_calls.put(state.key_of_call(transaction), server.number, now)
        state.outbox.append((transaction.sent, server.flow))
        transaction.interval = server.health.evidence.wait
        self._wake(transaction, now + transaction.interval + self._state.unread)
        return True

    def _admitted(self, server: RealServer, service: VirtualService, now: float) -> bool:
        """`registerrate` holds for what a dead server leaves behind, most of all: it waits like the others."""
        rate = service.config.registerrate
        return not rate or (not self._state.lines.before(server, b"") and server.bucket.take(rate, now, must=False))

    def _other(self, transaction: Transaction) -> RealServer | None:
        """Another server that takes work, spread by the transaction's key; else the fallback, or a draining one."""
        service = transaction.service
        tried = {transaction.server, *transaction.tried}
        others = [server for server in service.eligible if server not in tried]
        if not others and service.resort:
            others = [server for server in service.resort if server not in tried and _would(server, transaction)]
        if others:
            return others[crc32(transaction.key) % len(others)]
        return service.fallback if service.fallback not in tried else None

    def _edit(self, transaction: Transaction) -> None:
        facts = scan_request(transaction.data)
        _, at, received = way_back(transaction.service, facts, transaction.source)
        transaction.sent = edit(
            self._state,
            transaction.service,
            transaction.server,
            transaction.key,
            transaction.cut,
            facts,
            transaction.source,
            transaction.client,
            at,
            received,
        )

    # A server is down.

    def server_down(self, server: RealServer, now: float) -> None:
        """The verdict became `down`: its undecided requests move, what it had begun is ended."""
        pending = self._state.transactions.pending
        self._bereft.extend([key for key, transaction in pending.items() if transaction.server is server])
        self._take(self._bereft, now, self._leave)

    def _leave(self, transaction: Transaction, now: float) -> None:
        """Of a server that went down, a moment ago at most."""
        if transaction.server.verdict is not Verdict.DOWN or transaction.held is not None:
            return  # a held 503 is settled by the same outcome
        if not transaction.inward:
            self._orphan(transaction, now)
        elif not transaction.in_dialog and not transaction.stays:
            self._bereaved(transaction, now)

    def server_overloaded(self, server: RealServer, now: float) -> None:
        """The verdict became `overloaded`: what it has not said a word to moves, as far as anybody else is there.

        Its silence to new requests is as proved as a dead server's; only its dialogs are served.
        """
        pending = self._state.transactions.pending
        self._unserved.extend([key for key, transaction in pending.items() if transaction.server is server])
        self._take(self._unserved, now, self._leave_overloaded)

    def _leave_overloaded(self, transaction: Transaction, now: float) -> None:
        if (
            transaction.server.verdict is Verdict.OVERLOADED
            and transaction.inward
            and not (transaction.in_dialog or transaction.provisional or transaction.held is not None)
        ):
            self.move(transaction, now)

    def _bereaved(self, transaction: Transaction, now: float) -> None:
        if transaction.cancelled:
            self.finish(transaction, 487, now)
        elif transaction.provisional > 100 or not self.move(transaction, now):
            self.finish(transaction, 503, now)

    def _orphan(self, transaction: Transaction, now: float) -> None:
        """A phone that a dead server rings gets CANCEL; what it answers is taken care of by `given_up`."""
        if transaction.method == b"INVITE" and not transaction.in_dialog and not transaction.cancelled:
            transaction.cancelled = True
            if transaction.provisional:
                cancel(self._state, transaction, transaction.server, now)

    # Ending by our own answer.

    def finish(self, transaction: Transaction, status: int, now: float) -> None:
        """Answer the client ourselves, an INVITE until its ACK; repeats get the same answer for 32 s."""
        out = answer_to(
            self._state,
            transaction.service,
            scan_request(transaction.data),
            transaction.source,
            status,
            transaction.key,
            now,
            proven=True,
        )
        transaction.service.dropped[f"ended by us: {status}"] += 1
        if transaction.in_dialog and status == 481 and learn.is_party(self._state, transaction):
            learn.call_ends(self._state, transaction.service, transaction.server, b"", transaction, now)
        self._state.transactions.forget(transaction, now)
        if out is not None and transaction.method == b"INVITE":
            self._state.say(final_key(transaction.key), out, now)
        elif out is not None:
            self._state.outbox.append(out)

    def cancelled(self, transaction: Transaction, now: float) -> bool:
        """A CANCEL came: it goes nowhere else now. True when no living server holds the INVITE: it is ended by us."""
        if not transaction.cancelled:
            transaction.cancelled, transaction.sent_at = True, now
            self._wake(transaction, now + transaction.server.health.evidence.wait)
        if transaction.server.verdict is not Verdict.DOWN or transaction.provisional > 100:
            return False
        self.finish(transaction, 487, now)
        return True

    # 503.

    def unavailable(self, transaction: Transaction, held: Datagram, speaks_for_server: bool, now: float) -> bool:
        """A 503 came (design 5.3 d): True when it is kept from the client, for now or for good."""
        if transaction.in_dialog or transaction.cancelled or transaction.provisional > 100:
            return False
        if transaction.held is not None:
            return True
        if self._other(transaction) is None or transaction.stays:
            return False
        transaction.held = held
        if speaks_for_server or transaction.server.verdict is Verdict.DRAINING:
            self.settle(transaction, now, speaks_for_server=True)
            return True
        self._state.suspects[transaction.server.health] = None
        self._state.transactions.held[transaction.key] = transaction
        self._wake(transaction, now + transaction.server.health.evidence.wait)
        return True

    def settle(self, transaction: Transaction, now: float, *, speaks_for_server: bool = False) -> None:
        """A held 503: the probe's word is in (or late). It moves, or the 503 was this one request's result."""
        held, transaction.held = transaction.held, None
        self._state.transactions.held.pop(transaction.key, None)
        if held is None or self._state.transactions.pending.get(transaction.key) is not transaction:
            return  # something else ended it meanwhile
        old = transaction.server
        if speaks_for_server or old.verdict in (Verdict.DRAINING, Verdict.DOWN):
            if transaction.method == b"INVITE":
                self._state.outbox.append(ack(transaction, old, held[0]))
            if self.move(transaction, now):
                return
        self._state.outbox.append(held)
        self._state.transactions.end(transaction, now)

    def probed(self, servers: list[RealServer], now: float) -> None:
        """A probe's outcome is known: 503s that waited for it are decided."""
        self._answered.extend(
            [key for key, transaction in self._state.transactions.held.items() if transaction.server in servers]
        )
        self._take(self._answered, now, self.settle)


def _would(server: RealServer, transaction: Transaction) -> bool:
    """A server that says 503 itself (`core stop gracefully`) still answers a REGISTER."""
    return server.health.verdict is not Verdict.DRAINING or transaction.method == b"REGISTER"
