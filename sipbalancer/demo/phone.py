"""A phone without a socket: registers with digest, calls, answers, refreshes, hangs up, as RFC 3261 asks of phones.

It knows its proxy's address and its domain, and nothing of what stands behind them.
"""

from __future__ import annotations

import ipaddress
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from . import digest
from .agenda import Appointment
from .agent import UserAgent
from .call import Asking, Call, Dialog
from .message import Address, Datagram, Message, address_of, hostport, number, parameter, uri_in, user_of
from .transaction import Answered, ServerTransaction

CHALLENGES_ALLOWED = 2  # the first, and one stale nonce
RETRY = 2.0


@dataclass(slots=True)
class Registration:
    """What the phone knows of its registration; times in seconds."""

    registered: bool = False
    until: float = 0.0
    server: str = ""
    """Server (or User-Agent) header of the last answer to REGISTER."""
    realm: str = ""
    """Realm of the last challenge."""
    asked: int = 0
    """Refreshes begun, the first included; however many challenges each met."""
    began: float = 0.0
    """When the newest was first sent."""
    succeeded: int = 0
    failures: list[tuple[float, int]] = field(default_factory=list)
    """Of each failure, when it was first asked and the status; 0 is: nobody answered."""
    challenges: list[int] = field(default_factory=list)
    """Of each success, how many 401 came before it."""
    last_status: int = 0
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    """Seconds from asking to success, of each."""


class Phone(UserAgent):
    """One account on one device.

    `proxy` is where it sends; `domain` (host, or host:port) what it calls the service. `answer_after` seconds it rings
    before it answers, None rings for ever. `refresh` seconds between refreshes (default: 0.8 of the life granted).
    `route` is an outbound proxy as many phones write it (`<sip:pbx.example.com;lr>`). `says` is the private address a
    phone behind NAT puts into Via and Contact. `keep` tries again after a failed registration.
    """

    product = "sipbalancer-demo phone"

    def __init__(
        self,
        user: str,
        password: str,
        address: Address,
        proxy: Address,
        domain: str,
        random: Random,
        *,
        answer_after: float | None = 0.5,
        expires: int = 3600,
        refresh: float | None = None,
        route: str = "",
        says: Address | None = None,
        keep: bool = True,
    ) -> None:
        super().__init__(address, random, says)
        self.user, self.password = user, password
        self.proxy, self.domain, self.route = proxy, domain, route
        self.answer_after, self.expires, self.refresh, self.keep = answer_after, expires, refresh, keep
        self.registration = Registration()
        self.history: deque[Call] = deque(maxlen=1000)
        """Calls of both directions, oldest first."""
        self._call_id = self.token()
        self._tag = self.token()
        self._seq = 0
        self._next_refresh: Appointment | None = None
        self._challenge: dict[str, str] = {}
        self._count = 0

    @property
    def registered(self) -> bool:
        return self.registration.registered

    @property
    def last_call(self) -> Call | None:
        """The newest call, live or not."""
        return self.history[-1] if self.history else None

    @property
    def live_calls(self) -> list[Call]:
        return [call for call in self.history if call.live]

    # What its user does. Each verb returns the datagrams to send.

    def register(self, now: float) -> list[Datagram]:
        """Register, or refresh at once."""
        self._register(now, self.expires)
        return self.outgoing()

    def unregister(self, now: float) -> list[Datagram]:
        """Take this phone's Contact back."""
        self._register(now, 0)
        return self.outgoing()

    def call(self, target: str, now: float) -> list[Datagram]:
        """Call a number (or a whole SIP URI)."""
        uri = target if target.startswith("sip:") else f"sip:{target}@{self.domain}"
        invite = self._request("INVITE", uri, f"<{uri}>", self.token(), 1, self.token())
        self.history.append(self.place(invite, target, now))
        return self.outgoing()

    def cancel(self, now: float) -> list[Datagram]:
        """Give the newest outgoing call up before it is answered."""
        return self._to_last(lambda call: self.end_call(call, now), outgoing=True)

    def answer_now(self, now: float) -> list[Datagram]:
        """Answer the newest incoming call."""
        return self._to_last(lambda call: self.answer(call, now), outgoing=False)

    def reject(self, now: float, status: int = 486) -> list[Datagram]:
        """Refuse the newest incoming call."""
        return self._to_last(lambda call: self.refuse(call, status, now), outgoing=False)

    def hang_up(self, now: float) -> list[Datagram]:
        """End the newest live call, however that is done in its state."""
        return self._to_last(lambda call: self.end_call(call, now))

    def reinvite(self, now: float) -> list[Datagram]:
        """Offer the session of the newest live call anew."""
        return self.say("INVITE", now)

    def say(self, method: str, now: float, *headers: tuple[str, str]) -> list[Datagram]:
        """Any request inside the newest live call (INFO, REFER with its Refer-To ...)."""
        return self._to_last(lambda call: self.in_dialog(call, method, now, *headers))

    def ask_out(self, method: str, target: str, now: float, *headers: tuple[str, str]) -> list[Datagram]:
        """Any request outside a call (SUBSCRIBE, MESSAGE, OPTIONS); `finals` counts its answer."""
        uri = f"sip:{target}@{self.domain}" if target else f"sip:{self.domain}"
        request = self._request(method, uri, f"<{uri}>", self.token(), 1, self.token())
        request.headers += [("Contact", self.contact()), *headers]
        self.ask(request, now, _heard)
        return self.outgoing()

    def drop_calls(self, now: float) -> list[Datagram]:
        """Hang up everything."""
        for call in self.live_calls:
            self.end_call(call, now)
        return self.outgoing()

    # Hooks.

    def contact(self) -> str:
        return f"<sip:{self.user}@{hostport(self.says)}>"

    def next_hop(self, request: Message) -> Address:
        """The first Route or the Request-URI when that is an address other than our domain; else the proxy."""
        route = request.top("Route")
        address = address_of(uri_in(route) if route else request.uri)
        known = address_of(f"sip:{self.domain}")
        return self.proxy if address == known or not _is_literal(address[0]) else address

    def invited(self, call: Call, now: float) -> None:
        self.history.append(call)
        self.ring(call, now)
        if self.answer_after is not None:
            self.agenda.at(now + self.answer_after, lambda at: self.answer(call, at))

    def other_request(self, transaction: ServerTransaction, now: float) -> None:
        self.respond(transaction, 200, now)

    def ask(self, request: Message, now: float, answered: Answered, dialog: Dialog | None = None) -> Asking:
        """Send a request, and once more with credentials when it is challenged (22.2)."""
        if self._challenge and request.method == "REGISTER":
            self._authorize(request, "Authorization")
        asking: Asking | None = None

        def heard(response: Message | None, at: float) -> None:
            if asking is None or response is None or not self._challenged(asking, response):
                answered(response, at)
                return
            retry = self._again(asking.transaction.request, response, dialog)
            asking.transaction = self.send(retry, self.next_hop(retry), at, heard)

        asking = Asking(self.send(request, self.next_hop(request), now, heard))
        return asking

    # Digest.

    def _challenged(self, asking: Asking, response: Message) -> bool:
        """Whether to answer this challenge: the first, or a second that only says our nonce was old."""
        if response.status not in (401, 407) or asking.transaction.request.method in ("ACK", "CANCEL"):
            return False
        asked = digest.parse(response.get("WWW-Authenticate") or response.get("Proxy-Authenticate"))
        asking.challenges += 1
        stale = asked.get("stale", "").lower() == "true"
        fresh = not (
            asking.transaction.request.get("Authorization") + asking.transaction.request.get("Proxy-Authorization")
        )
        if not (fresh or stale) or asking.challenges > CHALLENGES_ALLOWED:
            return False
        self._challenge, self._count = asked, 0
        self.registration.realm = asked.get("realm", "")
        return True

    def _again(self, request: Message, response: Message, dialog: Dialog | None) -> Message:
        """The same request with credentials: a new branch, the next CSeq (22.2)."""
        retry = request.copy()
        seq = request.cseq + 1
        if dialog is not None:
            seq = dialog.local_seq = max(dialog.local_seq + 1, seq)
        elif request.method == "REGISTER":
            seq = self._seq = self._seq + 1
        retry.replace("Via", [self.via()])
        retry.replace("CSeq", [f"{seq} {request.method}"])
        self._authorize(retry, "Authorization" if response.status == 401 else "Proxy-Authorization")
        return retry

    def _authorize(self, request: Message, header: str) -> None:
        self._count += 1
        value = digest.credentials(
            self._challenge, self.user, self.password, request.method, request.uri, self._count, self.token()
        )
        request.remove(header)
        request.add(header, value)

    # Registration.

    def _register(self, now: float, expires: int) -> None:
        if self._next_refresh is not None:
            self._next_refresh.cancel()
        self._seq += 1
        address = f"<sip:{self.user}@{self.domain}>"
        request = self._request("REGISTER", f"sip:{self.domain}", address, self._tag, self._seq, self._call_id)
        request.headers += [("Contact", self.contact()), ("Expires", str(expires)), ("User-Agent", self.product)]
        self.registration.asked += 1
        self.registration.began = now
        asking = self.ask(request, now, lambda response, at: self._registered(response, at, now, expires, asking))

    def _registered(self, response: Message | None, now: float, began: float, expires: int, asking: Asking) -> None:
        state = self.registration
        status = state.last_status = response.status if response is not None else 0
        if response is None or status >= 300:
            self._not_registered(response, now, began, expires)
        elif status >= 200:
            state.succeeded += 1
            state.waits.append(now - began)
            state.challenges.append(asking.challenges)
            state.server = response.get("Server") or response.get("User-Agent")
            self._granted(response, now, expires)

    def _granted(self, response: Message, now: float, expires: int) -> None:
        state = self.registration
        life = self._life(response, expires)
        state.registered, state.until = life > 0 and expires > 0, now + life
        if state.registered:
            wait = min(self.refresh or 0.8 * life, 0.8 * life)
            self._next_refresh = self.agenda.at(now + wait, lambda at: self._register(at, self.expires))

    def _life(self, response: Message, expires: int) -> int:
        """Seconds granted to our own Contact."""
        listed = self._mine(response.all("Contact"))
        return number(parameter(listed, "expires"), number(response.get("Expires"), expires)) if listed else 0

    def _mine(self, contacts: list[str]) -> str:
        """Our Contact among those listed; a server that rewrites Contacts leaves us at least the user."""
        same = [item for item in contacts if uri_in(item) == uri_in(self.contact())]
        alike = [item for item in contacts if user_of(uri_in(item)) == self.user]
        return next(iter(same + alike), "")

    def _not_registered(self, response: Message | None, now: float, began: float, expires: int) -> None:
        state = self.registration
        state.failures.append((began, state.last_status))
        state.registered = state.registered and now < state.until
        if self.keep and expires:
            asked = number(response.get("Retry-After").partition(";")[0].strip()) if response is not None else 0
            self._next_refresh = self.agenda.at(
                now + max(float(asked), RETRY), lambda at: self._register(at, self.expires)
            )

    # Small parts.

    def _request(self, method: str, uri: str, to: str, tag: str, seq: int, call_id: str) -> Message:
        message = Message(f"{method} {uri} SIP/2.0", [("Via", self.via())])
        if self.route:
            message.add("Route", self.route)
        message.headers += [("From", f"<sip:{self.user}@{self.domain}>;tag={tag}"), ("To", to), ("Call-ID", call_id)]
        message.headers += [("CSeq", f"{seq} {method}"), ("Max-Forwards", "70")]
        return message

    def _to_last(self, action: Callable[[Call], None], outgoing: bool | None = None) -> list[Datagram]:
        """Do something to the newest live call of that direction, if there is one."""
        for call in reversed(self.live_calls):
            if outgoing is None or call.outgoing is outgoing:
                action(call)
                break
        return self.outgoing()


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _heard(response: Message | None, now: float) -> None:
    """`finals` has counted it."""
