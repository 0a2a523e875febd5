"""One call as one of its two ends sees it, and the dialog that carries its requests (RFC 3261 12)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

from .message import Message, parameter, uri_in
from .transaction import ClientTransaction, ServerTransaction


class CallState(StrEnum):
    TRYING = "trying"
    RINGING = "ringing"
    TALKING = "talking"
    ENDED = "ended"


class Ending(StrEnum):
    """Why a call ended."""

    NOT_YET = ""
    REFUSED = "refused"
    UNANSWERED = "nobody answered the INVITE"
    CANCELLED = "cancelled"
    HUNG_UP = "hung up"
    PEER_HUNG_UP = "peer hung up"
    NO_ACK = "no ACK came"
    ABANDONED = "abandoned"


@dataclass(slots=True)
class Dialog:
    """What both ends agreed on; `local` and `remote` are whole From and To values, tags included."""

    call_id: str
    local: str
    remote: str
    target: str
    routes: tuple[str, ...]
    local_seq: int

    @classmethod
    def of_caller(cls, request: Message, response: Message) -> Self:
        """12.1.2: the route set is the Record-Route of the response, reversed."""
        routes = tuple(reversed(response.all("Record-Route")))
        target = uri_in(response.top("Contact")) or uri_in(request.get("To"))
        return cls(request.call_id, request.get("From"), response.get("To"), target, routes, request.cseq)

    @classmethod
    def of_callee(cls, request: Message, local_tag: str) -> Self:
        """12.1.1: the route set is the Record-Route of the request, in order."""
        local = request.get("To")
        if not parameter(local, "tag"):
            local = f"{local};tag={local_tag}"
        target = uri_in(request.top("Contact")) or uri_in(request.get("From"))
        return cls(request.call_id, local, request.get("From"), target, tuple(request.all("Record-Route")), 0)

    @property
    def local_tag(self) -> str:
        return parameter(self.local, "tag")

    @property
    def remote_tag(self) -> str:
        return parameter(self.remote, "tag")

    def request(self, method: str, via: str, seq: int | None = None) -> Message:
        """12.2.1.1: the next request of this dialog (`seq` for an ACK, which has its INVITE's)."""
        if seq is None:
            self.local_seq += 1
        message = Message(f"{method} {self.target} SIP/2.0", [("Via", via)])
        message.headers += [("Route", route) for route in self.routes]
        message.headers += [("From", self.local), ("To", self.remote), ("Call-ID", self.call_id)]
        message.headers += [("CSeq", f"{seq or self.local_seq} {method}"), ("Max-Forwards", "70")]
        return message


@dataclass(slots=True, eq=False)
class Asking:
    """One thing asked of the other side, over as many transactions as challenges make of it."""

    transaction: ClientTransaction
    challenges: int = 0


@dataclass(slots=True, eq=False)
class Call:
    """A call, from the first INVITE until it ended; times in seconds, 0.0 is not yet."""

    outgoing: bool
    peer: str
    """The number called, or the user who calls."""
    call_id: str
    local_tag: str
    placed: float
    state: CallState = CallState.TRYING
    ending: Ending = Ending.NOT_YET
    status: int = 0
    """The final response to the INVITE; 0 when there was none."""
    answered: float = 0.0
    ended: float = 0.0
    server: str = ""
    """What the other side calls itself (Server or User-Agent)."""
    heard: int = 0
    """The highest response heard to the INVITE, provisional ones included."""
    rang: float = 0.0
    """When the first response above 100 that was no challenge came."""
    bye: int | None = None
    """None: we sent no BYE; 0: it has no answer (yet); else its final response."""
    dialog: Dialog | None = None
    bridged: Call | None = None
    """The other leg, in a server that connects two phones."""
    reinvites: int = 0
    """re-INVITEs answered 2xx, of either side."""
    asking: Asking | None = None
    """Our INVITE, of an outgoing call."""
    invited: ServerTransaction | None = None
    """The last INVITE that came in."""
    cancelling: bool = False
    acks: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """The ACK of each 2xx, by To tag and CSeq, to say again when the 2xx comes again."""

    @property
    def key(self) -> tuple[str, str]:
        return self.call_id, self.local_tag

    @property
    def live(self) -> bool:
        return self.state is not CallState.ENDED

    def __repr__(self) -> str:
        way = "to" if self.outgoing else "from"
        return f"<Call {way} {self.peer}: {self.state}, {self.status} {self.ending}>"
