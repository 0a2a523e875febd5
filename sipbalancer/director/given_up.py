"""What a try that was given up still says: it never reaches the client, and nothing of it is left over (design 5.3).

1xx -> CANCEL, 3xx-6xx -> ACK, 2xx to INVITE -> ACK and BYE, a late 2xx to another request -> dropped. The same for a
phone that a dead server had rung.
"""

from __future__ import annotations

from sipbalancer.director.service import RealServer
from sipbalancer.director.state import State
from sipbalancer.director.transactions import Transaction
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.compose import end_dialog, follow_up, to_line_of
from sipbalancer.sip.flow import Datagram, Flow


def via(transaction: Transaction, server: RealServer, suffix: bytes = b"") -> bytes:
    """Our Via line of the try at `server`; a suffix makes a branch of its own."""
    return b"%b%b%b%b\r\n" % (transaction.service.via, transaction.key, server.tag, suffix)


def _other_side(transaction: Transaction, server: RealServer) -> Flow:
    return server.flow if transaction.inward else transaction.client


def cancel(transaction: Transaction, server: RealServer) -> Datagram:
    """The CANCEL for the try at `server` (or, outward, for the phone it rings)."""
    return follow_up(transaction.data, b"CANCEL", via(transaction, server)), _other_side(transaction, server)


def ack(transaction: Transaction, server: RealServer, answer: bytes) -> Datagram:
    """The ACK for its final above 299."""
    line = to_line_of(answer)
    return follow_up(transaction.data, b"ACK", via(transaction, server), line), _other_side(transaction, server)


def clean_up(
    state: State, transaction: Transaction, server: RealServer, method: bytes, status: int, data: bytes
) -> None:
    """Take an answer of a given-up try; `method` as the answer's CSeq says."""
    transaction.service.dropped["given-up try"] += 1
    if method != b"INVITE":
        return
    if status < 200:
        state.outbox.append(cancel(transaction, server))
    elif status >= 300:
        state.outbox.append(ack(transaction, server, data))
    else:
        _hang_up(state, transaction, server, data)


def _hang_up(state: State, transaction: Transaction, server: RealServer, data: bytes) -> None:
    flow = _other_side(transaction, server)
    try:
        both = end_dialog(data, via(transaction, server, b"a"), via(transaction, server, b"b"))
    except MalformedMessage:
        transaction.service.dropped["given-up try without Contact"] += 1
        return
    state.outbox.extend((each, flow) for each in both)
