"""`endcalls`: what is needed to end the phone's leg of a call whose server is dead, and nothing more.

Learned from the 2xx to each INVITE, of either side, only where the word is on; let go with the call. After a restart
nothing of earlier calls is known here. Bounded: what finds no room is counted in `refused` and not ended.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping

from sipbalancer.compiled import mypyc_attr
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.service import VirtualService
from sipbalancer.director.transactions import Transaction
from sipbalancer.sip.compose import cseq_number
from sipbalancer.sip.flow import Flow
from sipbalancer.sip.headers import Message, read_message
from sipbalancer.sip.uri import addr_spec, read_uri, split_values

_LIMIT = 65536
LONGEST = 2048
"""Octets of one dialog."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Dialog:
    """A confirmed call as its server would go on with it (RFC 3261 12)."""

    __slots__ = ("call_id", "client", "local", "remote", "routes", "seq", "server", "target")

    def __init__(self, server: RealServer, client: Flow, call_id: bytes) -> None:
        self.server = server
        self.client = client
        """The phone's flow, as the dialog's token names it or the last INVITE showed it."""
        self.call_id = call_id
        self.local = b""
        """The server's From value, tag and all."""
        self.remote = b""
        """The phone's."""
        self.target = b""
        """The phone's Contact."""
        self.routes: tuple[bytes, ...] = ()
        """Proxies between us and the phone."""
        self.seq = 0
        """The server's last CSeq number."""

    @property
    def octets(self) -> int:
        """What is kept of the network's bytes."""
        return sum(map(len, (self.call_id, self.local, self.remote, self.target, *self.routes)))


@mypyc_attr(allow_interpreted_subclasses=True)
class Dialogs:
    """By the call pin's key."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self.refused = 0
        self.held: MutableMapping[int, Dialog] = {}
        self._limit = limit
        self._sweeping: list[int] = []

    def learn(self, key: int, transaction: Transaction, answer: bytes) -> None:
        """A 2xx to an INVITE. MalformedMessage for one that makes no dialog."""
        if key not in self.held and len(self.held) >= self._limit:
            self.refused += 1
            return
        asked, said = read_message(transaction.data), read_message(answer)
        ours, phones = (said, asked) if transaction.inward else (asked, said)
        dialog = Dialog(transaction.server, transaction.client, transaction.call_id)
        dialog.local = ours.first(b"to" if transaction.inward else b"from") or b""
        dialog.remote = phones.first(b"from" if transaction.inward else b"to") or b""
        dialog.target = addr_spec(phones.first(b"contact") or b"")
        dialog.routes = _routes(asked) if transaction.inward else _beyond_us(said, transaction.service)
        before = self.held.get(key)
        dialog.seq = before.seq if before is not None else 0
        if not transaction.inward:
            dialog.seq = max(dialog.seq, cseq_number(asked))
        if dialog.octets > LONGEST:
            self.refused += 1
        elif dialog.local and dialog.remote and dialog.target:
            self.held[key] = dialog

    def seen(self, key: int, data: bytes) -> None:
        """The server sent a request inside the call: its CSeq goes on from there."""
        dialog = self.held.get(key)
        if dialog is not None:
            dialog.seq = max(dialog.seq, cseq_number(read_message(data)))

    def drop(self, key: int) -> None:
        """The call is over."""
        self.held.pop(key, None)

    def sweep(self, is_pinned: Callable[[int], bool], steps: int) -> None:
        """Look at the next `steps` calls and let go of those whose pin has expired."""
        if not self._sweeping:
            self._sweeping = list(self.held)
        for _ in range(min(steps, len(self._sweeping))):
            key = self._sweeping.pop()
            if not is_pinned(key):
                self.drop(key)

    def of(self, server: RealServer) -> list[int]:
        """The calls of this server."""
        return [key for key, dialog in self.held.items() if dialog.server is server]


def _routes(message: Message) -> tuple[bytes, ...]:
    """Record-Route values, in order (12.1.1)."""
    lines = message.all(b"record-route")
    return tuple(line[start:end] for line in lines for start, end in split_values(line))


def _beyond_us(answer: Message, service: VirtualService) -> tuple[bytes, ...]:
    """The route set of a phone's 2xx from us on: what stands above our own Record-Route, turned round (12.1.2)."""
    above: list[bytes] = []
    for value in _routes(answer):
        if service.was_ours(read_uri(addr_spec(value)).place):
            break
        above.insert(0, value)
    return tuple(above)
