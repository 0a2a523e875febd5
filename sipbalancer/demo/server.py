"""An embedded SIP server without a socket: what an Asterisk does in front of phones, in small.

Registrar with digest and Path, echo extension, calls between registered phones (a back-to-back user agent). It knows
nothing of a balancer: a phone that came with a Path is called through that Path, and that is all.
Extensions: 600 answers and stays, 602 answers and hangs up after 5 s, a user rings that user's newest Contact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from random import Random

from . import digest
from .agent import UserAgent
from .call import Call, CallState, Dialog, Ending
from .message import Address, Datagram, Message, address_of, hostport, sent_from, uri_in, user_of
from .registrar import Binding, Contacts, is_star, listed, wanted_life
from .transaction import ServerTransaction

NONCE_LIFE = 32.0
ECHO = "600"
SHORT = "602"
EXTENSIONS = (ECHO, SHORT)


class EmbeddedServer(UserAgent):
    """One server. `users` maps a user to its password.

    `name` is its Server header. `contacts` may be shared with other servers. `rewrite_contact` and `drop_path` do what
    Asterisk's `rewrite_contact=yes` and its `PJSIP_DIAL_CONTACTS` do; `outbound_proxy` is its endpoint option of that
    name (a whole Route value). `shutting_down` is `core stop gracefully`; `hanging` is SIGSTOP.
    """

    def __init__(
        self,
        address: Address,
        users: Mapping[str, str],
        realm: str,
        random: Random,
        *,
        name: str = "sipbalancer-demo server",
        contacts: Contacts | None = None,
        rewrite_contact: bool = False,
        drop_path: bool = False,
        outbound_proxy: str = "",
        answer_after: float = 0.2,
    ) -> None:
        super().__init__(address, random)
        self.users, self.realm, self.product = dict(users), realm, name
        self.contacts = contacts if contacts is not None else Contacts()
        self.rewrite_contact, self.drop_path, self.outbound_proxy = rewrite_contact, drop_path, outbound_proxy
        self.answer_after = answer_after
        self.shutting_down = False
        self.hanging = False
        self.registrations = 0
        """REGISTERs answered 200."""
        self._secret = self.token().encode()

    # The verbs.

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Datagram]:
        return [] if self.hanging else super().receive_datagram(data, source, now)

    def due(self, now: float) -> list[Datagram]:
        return [] if self.hanging else super().due(now)

    def next_due(self) -> float | None:
        return None if self.hanging else super().next_due()

    def call_phone(self, user: str, now: float) -> list[Datagram]:
        """Call a registered phone of our own accord; the call is then in `calls`. Nothing when it has no Contact."""
        bindings = self.contacts.of(user, now)
        if bindings:
            self._dial(bindings[-1], user, "server", now)
        return self.outgoing()

    def ask_phone(self, method: str, user: str, now: float, *headers: tuple[str, str]) -> list[Datagram]:
        """Send OPTIONS (qualify), MESSAGE or NOTIFY to every Contact of a user; `finals` counts the answers."""
        for binding in self.contacts.of(user, now):
            request = self._to_binding(method, binding, user, "server")
            request.headers += [("Contact", self.contact()), *headers]
            self.ask(request, now, _heard)
        return self.outgoing()

    def hang_up(self, call: Call, now: float) -> list[Datagram]:
        """End one of our calls."""
        self.end_call(call, now)
        return self.outgoing()

    def live_calls(self) -> list[Call]:
        """Calls not ended; a call between two phones is two."""
        return [call for call in self.calls.values() if call.live]

    # Requests.

    def _receive(self, message: Message | None, source: Address, now: float) -> None:
        if message is not None and self.rewrite_contact:
            _rewrite(message, source)
        super()._receive(message, source, now)

    def other_request(self, transaction: ServerTransaction, now: float) -> None:
        method = transaction.request.method
        if method == "REGISTER":
            self._register(transaction, now)
        elif method == "OPTIONS":
            self._options(transaction, now)
        elif method in ("MESSAGE", "PUBLISH"):
            if self._authorized(transaction, now):
                self.respond(transaction, 503 if self.shutting_down else 202, now)
        elif method == "SUBSCRIBE":
            self._subscribe(transaction, now)
        else:
            super().other_request(transaction, now)

    def _options(self, transaction: ServerTransaction, now: float) -> None:
        """As Asterisk: 503 while it shuts down, 200 without a user, 404 for an unknown one; a phone is challenged."""
        request = transaction.request
        user = user_of(request.uri)
        if self.shutting_down:
            self.respond(transaction, 503, now)
        elif user_of(uri_in(request.get("From"))) in self.users and not self._authorized(transaction, now):
            return
        else:
            known = not user or user in EXTENSIONS or user in self.users
            self.respond(transaction, 200 if known else 404, now, ("Contact", self.contact()))

    def _subscribe(self, transaction: ServerTransaction, now: float) -> None:
        """Accept, then notify once in the dialog the subscription makes (RFC 6665 4.2)."""
        request = transaction.request
        if not self._authorized(transaction, now):
            return
        dialog = Dialog.of_callee(request, self.token())
        life = request.get("Expires") or "3600"
        response = self._response(request, 200, dialog.local_tag, (("Contact", self.contact()), ("Expires", life)))
        transaction.respond(response, now)
        notify = dialog.request("NOTIFY", self.via())
        state = "active" if life != "0" else "terminated"
        notify.headers += [("Event", request.get("Event")), ("Subscription-State", state), ("Contact", self.contact())]
        self.ask(notify, now, _heard)

    # Registration.

    def _register(self, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        user = user_of(uri_in(request.get("To")))
        if not self._authorized(transaction, now):
            return
        if user != self._username(request):
            self.respond(transaction, 403, now)
        elif request.all("Path") and not request.has_option("Supported", "path"):
            self.respond(transaction, 420, now, ("Unsupported", "path"))  # RFC 3327 5.3
        else:
            self._bind(user, transaction, now)
            self._registered(user, transaction, now)

    def _bind(self, user: str, transaction: ServerTransaction, now: float) -> None:
        request = transaction.request
        if is_star(request):
            for binding in self.contacts.of(user, now):
                self.contacts.forget(user, binding.contact)
            return
        for contact in request.all("Contact"):
            uri = uri_in(contact)
            life = wanted_life(request, contact)
            if life:
                path = tuple(request.all("Path"))
                self.contacts.keep(user, Binding(uri, path, now + life, request.call_id, request.cseq, self.product))
            else:
                self.contacts.forget(user, uri)

    def _registered(self, user: str, transaction: ServerTransaction, now: float) -> None:
        self.registrations += 1
        path = [("Path", value) for value in transaction.request.all("Path")]
        date = ("Expires", transaction.request.get("Expires") or "3600")
        self.respond(transaction, 200, now, *listed(self.contacts.of(user, now), now), *path, date)

    # Digest.

    def _authorized(self, transaction: ServerTransaction, now: float) -> bool:
        """True when the request proves its user; else it has been challenged."""
        request = transaction.request
        given = digest.parse(request.get("Authorization"))
        password = self.users.get(given.get("username", ""))
        proven = password is not None and digest.matches(given, password, request.method)
        fresh = self._nonce_lives(given.get("nonce", ""), transaction.source, now)
        if proven and fresh and given.get("realm") == self.realm:
            return True
        asked = digest.challenge(self.realm, self._nonce(int(now), transaction.source), proven and not fresh)
        self.respond(transaction, 401, now, ("WWW-Authenticate", asked))
        return False

    def _username(self, request: Message) -> str:
        return digest.parse(request.get("Authorization")).get("username", "")

    def _nonce(self, at: int, source: Address) -> str:
        """Time, and a hash of time, source address and this process, as Asterisk makes them."""
        text = f"{at}:{source[0]}:".encode() + self._secret
        return f"{at}/{hashlib.md5(text, usedforsecurity=False).hexdigest()}"

    def _nonce_lives(self, nonce: str, source: Address, now: float) -> bool:
        at = nonce.partition("/")[0]
        return at.isdecimal() and len(at) < 12 and now - int(at) <= NONCE_LIFE and nonce == self._nonce(int(at), source)

    # Calls.

    def invited(self, call: Call, now: float) -> None:
        transaction = call.invited
        if transaction is None:
            return
        if self.shutting_down:
            self.refuse(call, 503, now)
        elif not self._authorized(transaction, now):
            call.status = 401
            self._end(call, Ending.REFUSED, now)
        else:
            self.respond(transaction, 100, now)
            self._route(call, user_of(transaction.request.uri), now)

    def _route(self, call: Call, number: str, now: float) -> None:
        if number in EXTENSIONS:
            self.ring(call, now)
            self.agenda.at(now + self.answer_after, lambda at: self.answer(call, at))
        elif number in self.users:
            self._connect(call, number, now)
        else:
            self.refuse(call, 404, now)

    def _connect(self, call: Call, user: str, now: float) -> None:
        bindings = self.contacts.of(user, now)
        if not bindings:
            self.refuse(call, 480, now)
            return
        other = self._dial(bindings[-1], user, call.peer, now)
        call.bridged, other.bridged = other, call

    def _dial(self, binding: Binding, user: str, caller: str, now: float) -> Call:
        return self.place(self._to_binding("INVITE", binding, user, caller), user, now)

    def _to_binding(self, method: str, binding: Binding, user: str, caller: str) -> Message:
        """A request to a Contact: R-URI the Contact, Route the Path (RFC 3327 5.4), the outbound proxy before it."""
        message = Message(f"{method} {binding.contact} SIP/2.0", [("Via", self.via())])
        routes = [self.outbound_proxy] if self.outbound_proxy else []
        routes += [] if self.drop_path else binding.path
        message.headers += [("Route", route) for route in routes]
        message.headers += [("From", f"<sip:{caller}@{self.realm}>;tag={self.token()}")]
        message.headers += [("To", f"<sip:{user}@{hostport(address_of(binding.contact))}>"), ("Call-ID", self.token())]
        message.headers += [("CSeq", f"1 {method}"), ("Max-Forwards", "70")]
        return message

    def ringing(self, call: Call, now: float) -> None:
        if call.bridged is not None:
            self.ring(call.bridged, now)

    def talking(self, call: Call, now: float) -> None:
        if call.bridged is not None and call.outgoing:
            self.answer(call.bridged, now)
        elif call.bridged is None and call.invited is not None and user_of(call.invited.request.uri) == SHORT:
            self.agenda.at(now + 5.0, lambda at: self.end_call(call, at))

    def ended(self, call: Call, now: float) -> None:
        other = call.bridged
        if other is None or not other.live:
            return
        if call.outgoing and other.state is not CallState.TALKING and not other.status:
            self.refuse(other, call.status if call.status >= 400 else 480, now)
        else:
            self.end_call(other, now)


def _rewrite(message: Message, source: Address) -> None:
    """As Asterisk's `rewrite_contact`: where the message came from takes the place of the host that later requests
    would go to, in the first Record-Route, or in the Contact when there is none."""
    name = "Record-Route" if message.top("Record-Route") else "Contact"
    values = message.all(name)
    if values and uri_in(values[0]) != "*":
        message.replace(name, [sent_from(values[0], source), *values[1:]])


def _heard(response: Message | None, now: float) -> None:
    """`finals` has counted it."""
