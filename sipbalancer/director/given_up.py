"""What a try that was given up still says: it never reaches the client, and nothing of it is left over (design 5.3).

1xx -> CANCEL, 3xx-6xx -> ACK, 2xx to INVITE -> ACK and BYE, a late 2xx to another request -> dropped. The same for a
phone that a dead server had rung.
"""

from __future__ import annotations

from sipbalancer.director.real_server import RealServer
from sipbalancer.director.repeats import request_key
from sipbalancer.director.state import State
from sipbalancer.director.transactions import Transaction
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.compose import end_dialog, follow_up, to_line_of
from sipbalancer.sip.flow import Datagram, Flow
from sipbalancer.sip.grammar import MAGIC_COOKIE


def via(transaction: Transaction, server: RealServer, suffix: bytes = b"") -> bytes:
    """Our Via line of the try at `server`; a suffix makes a branch of its own."""
    service = transaction.service
    line = service.server_via if transaction.inward else service.via
    return b"%b%b%b%b\r\n" % (line, transaction.key, server.tag, suffix)


def _other_side(transaction: Transaction, server: RealServer) -> Flow:
    return server.flow if transaction.inward else transaction.client


def branch(transaction: Transaction, server: RealServer, suffix: bytes = b"") -> bytes:
    """What that Via line says."""
    return b"%b%b%b%b" % (MAGIC_COOKIE, transaction.key, server.tag, suffix)


def cancel(state: State, transaction: Transaction, server: RealServer, now: float) -> None:
    """The CANCEL for the try at `server` (or, outward, for the phone it rings), until it is answered."""
    out = follow_up(transaction.data, b"CANCEL", via(transaction, server)), _other_side(transaction, server)
    state.say(request_key(b"CANCEL", branch(transaction, server)), out, now)


def ack(transaction: Transaction, server: RealServer, answer: bytes) -> Datagram:
    """The ACK for its final above 299."""
    line = to_line_of(answer)
    return follow_up(transaction.data, b"ACK", via(transaction, server), line), _other_side(transaction, server)


def clean_up(
    state: State, transaction: Transaction, server: RealServer, method: bytes, status: int, data: bytes, now: float
) -> None:
    """Take an answer of a given-up try; `method` as the answer's CSeq says."""
    transaction.service.dropped["given-up try"] += 1
    if method != b"INVITE" or not transaction.data:
        return  # `data` is b"" where it was too long to be kept: its server ends it by its own timers
    if status < 200:
        cancel(state, transaction, server, now)
    elif status >= 300:
        state.outbox.append(ack(transaction, server, data))
    else:
        _hang_up(state, transaction, server, data, now)


def _hang_up(state: State, transaction: Transaction, server: RealServer, data: bytes, now: float) -> None:
    flow = _other_side(transaction, server)
    try:
        acknowledged, bye = end_dialog(data, via(transaction, server, b"a"), via(transaction, server, b"b"))
    except MalformedMessage:
        transaction.service.dropped["given-up try without Contact"] += 1
        return
    state.outbox.append((acknowledged, flow))
    state.say(request_key(b"BYE", branch(transaction, server, b"b")), (bye, flow), now)
