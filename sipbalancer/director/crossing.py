"""What comes to one worker and is waited for at another.

A server's requests all come to one worker, and a phone's answer to them to any: the phone's address decides. The
answer's way needs no memory (invariant 4), and what it teaches is learned where it came, as the Via proves by the keyed
hash in our branch that this server did ask it. What is left is the other worker's transaction, its repeats, and the
address of a phone whose NAT gave it another in a dialog: those are told to all workers, 20 times a second.

The list is bounded, as strangers could fill it: what finds no room is counted and not told, and costs a timer.
"""

from __future__ import annotations

from typing import NamedTuple

from sipbalancer.compiled import mypyc_attr
from sipbalancer.director.keys import Keys
from sipbalancer.director.recent import RecentPins
from sipbalancer.director.service import VirtualService
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.grammar import MAGIC_COOKIE
from sipbalancer.sip.headers import read_message
from sipbalancer.sip.scan import read_via
from sipbalancer.sip.uri import parameter

LIMIT = 4096
"""Of each kind, between two ticks."""


class Answered(NamedTuple):
    """A phone's answer to a server's request came here."""

    key: bytes
    """Of the transaction."""
    status: int
    data: bytes
    """The answer, where more than its status may matter: a final to an INVITE; else b""."""


class Moved(NamedTuple):
    """A dialog's phone has another address than its token says."""

    key: int
    """`State.moved_key`."""
    client: bytes
    """Packed address."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Crossings:
    """What has come since the last `take`."""

    def __init__(self) -> None:
        self.refused = 0
        self.answered: list[Answered] = []
        self.taken: list[bytes] = []
        """Keys of what we say again, and an answer to it came here (`repeats.request_key`)."""
        self.moved: list[Moved] = []
        self.unsure: RecentPins[bool] = RecentPins(LIMIT)
        """Transactions of servers' requests for a Contact that another worker may know by now."""

    def note_answer(self, key: bytes, status: int, data: bytes) -> None:
        if len(self.answered) < LIMIT:
            self.answered.append(Answered(key, status, data))
        else:
            self.refused += 1

    def note_taken(self, key: bytes) -> None:
        if len(self.taken) < LIMIT and len(key) < 64:
            self.taken.append(key)
        else:
            self.refused += 1

    def note_moved(self, key: int, client: bytes) -> None:
        if len(self.moved) < LIMIT:
            self.moved.append(Moved(key, client))
        else:
            self.refused += 1

    def take(self) -> tuple[list[Answered], list[bytes], list[Moved]]:
        """Everything, once."""
        out = self.answered, self.taken, self.moved
        self.answered, self.taken, self.moved = [], [], []
        return out


def was_asked(keys: Keys, service: VirtualService, key: bytes, data: bytes, via: bytes, address: bytes) -> bool:
    """Whether a request of the server at this packed IP address went out under `key`: `via` is the one below ours in
    its answer. Only we can make the key; who knows it was sent the request."""
    try:
        sent_by, params = read_via(via)
        message = read_message(data)
    except MalformedMessage:
        return False
    branch = parameter(params, b"branch") or b""
    call_id, cseq = message.first(b"call-id") or b"", (message.first(b"cseq") or b"").split()
    if not branch.startswith(MAGIC_COOKIE) or len(cseq) != 2:
        return False
    return keys.transaction(sent_by, branch, call_id, cseq[0], service.salt + address) == key
