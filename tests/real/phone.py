"""A phone that a test can steer: it registers, calls, is called, and writes down all it hears.

One UDP socket, one thread that reads it and answers what comes by itself. `private` makes it a phone behind NAT:
Via and Contact then name an address that nobody can send to. `proxy` is a Route that it puts before each request
outside a dialog, as phones with an outbound proxy do; `domain` the host of its address of record.
"""

from __future__ import annotations

import queue
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from sipbalancer.demo.asterisk import User
from tests.real.call import Call
from tests.real.message import Message, authorization, branch, parse, response

Address = tuple[str, int]
PATIENCE = 8.0
"""Seconds a phone waits for a final answer; a loaded CI machine needs some of them."""


class OnCall(Enum):
    """What the phone does when it is called."""

    ANSWER = "answer"
    RING = "ring"
    BUSY = "busy"


class Phone:
    def __init__(
        self,
        user: User,
        target: Address,
        *,
        bind: str = "127.0.2.1",
        private: str = "",
        rport: bool = True,
        proxy: str = "",
        domain: str = "",
        on_call: OnCall = OnCall.ANSWER,
    ) -> None:
        self.user = user
        self.target = target
        self.domain = domain or target[0]
        self.on_call = on_call
        self.challenges = 0
        self.calls: queue.Queue[Call] = queue.Queue()
        self.messages: queue.Queue[Message] = queue.Queue()
        self.notifies: queue.Queue[Message] = queue.Queue()
        self.trace: list[str] = []
        self._bind = bind
        self._open_socket()
        self.claimed = f"{private}:5060" if private else f"{bind}:{self.address[1]}"
        self.contact = f"<sip:{user.number}@{self.claimed}>"
        self._rport = ";rport" if rport else ""
        self._proxy = (("Route", proxy),) if proxy else ()
        self._waiting: dict[str, queue.Queue[Message]] = {}
        self._sent: dict[str, tuple[Message, Address]] = {}
        self._answers: dict[tuple[str, str], bytes] = {}
        self._open: dict[str, Call] = {}
        self._registration = (secrets.token_hex(8), secrets.token_hex(4), 0)
        self._start_listening()

    # -- verbs ---------------------------------------------------------------------------------------------------

    @property
    def aor(self) -> str:
        return f"sip:{self.user.number}@{self.domain}"

    def register(self, expires: int = 300) -> Message:
        """The final answer to the REGISTER with credentials; a 401 to those is returned, not answered again."""
        return self.transact(self.registration(expires))

    def registration(self, expires: int = 300) -> Message:
        """The next REGISTER, without credentials."""
        call_id, tag, cseq = self._registration
        self._registration = (call_id, tag, cseq + 2)
        headers = (
            ("Max-Forwards", "70"),
            ("From", f"<{self.aor}>;tag={tag}"),
            ("To", f"<{self.aor}>"),
            ("Call-ID", call_id),
            ("CSeq", f"{cseq + 1} REGISTER"),
            ("Contact", self.contact),
            ("Expires", str(expires)),
        )
        return Message(f"REGISTER sip:{self.domain} SIP/2.0", self._proxy + headers)

    def unregister(self) -> Message:
        return self.register(0)

    def call(self, number: str, media: int = 40000) -> Call:
        """Start a call and return at once; `Call.wait_answer` and its kin follow it. `media`: the port in its SDP."""
        call = Call(self, number, self.out_of_dialog("INVITE", number, (("Contact", self.contact),)), media)
        self._open[call.call_id] = call
        call.start()
        return call

    def out_of_dialog(self, method: str, number: str, extra: tuple[tuple[str, str], ...], body: str = "") -> Message:
        uri = f"sip:{number}@{self.domain}"
        headers = (
            ("Max-Forwards", "70"),
            ("From", f"<{self.aor}>;tag={secrets.token_hex(4)}"),
            ("To", f"<{uri}>"),
            ("Call-ID", secrets.token_hex(8)),
            ("CSeq", f"1 {method}"),
        )
        return Message(f"{method} {uri} SIP/2.0", self._proxy + headers + extra, body)

    def send_message(self, number: str, text: str) -> Message:
        return self.transact(self.out_of_dialog("MESSAGE", number, (("Content-Type", "text/plain"),), text))

    def subscribe(self, number: str, event: str, accept: str) -> Message:
        extra = (("Contact", self.contact), ("Event", event), ("Accept", accept), ("Expires", "120"))
        return self.transact(self.out_of_dialog("SUBSCRIBE", number, extra))

    def move(self) -> None:
        """Its NAT gives it another port; what it says of itself (`private`) stays as it is."""
        self.close()
        self._open_socket()
        self._start_listening()

    def close(self) -> None:
        """An empty datagram to itself wakes the reader, which then ends."""
        self._socket.sendto(b"", self.address)
        self._thread.join(2)
        self._socket.close()

    def _open_socket(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self._bind, 0))
        self.address: Address = self._socket.getsockname()

    def _start_listening(self) -> None:
        self._thread = threading.Thread(target=self._listen, name=f"phone {self.user.number}", daemon=True)
        self._thread.start()

    # -- client transactions -------------------------------------------------------------------------------------

    def transact(self, request: Message, to: Address | None = None, patience: float = PATIENCE) -> Message:
        """Send, repeat, answer one challenge; the final answer. Raises TimeoutError."""
        final = self.once(request, to, patience)
        if final.status not in (401, 407):
            return final
        self.challenges += 1
        return self.once(self.with_credentials(request, final), to, patience)

    def with_credentials(self, request: Message, challenge: Message) -> Message:
        number, method = request.get("CSeq").split()
        again = request.replace("CSeq", f"{int(number) + 1} {method}")
        credentials = authorization(challenge, method, request.uri, self.user.number, self.user.secret)
        return again._replace(headers=(*again.headers, credentials))

    def once(self, request: Message, to: Address | None = None, patience: float = PATIENCE) -> Message:
        """As `transact`, but a challenge is the final answer."""
        with self.transaction(request, to) as answers:
            return self.await_final(answers, patience)

    @contextmanager
    def transaction(
        self, request: Message, to: Address | None = None, via: str = ""
    ) -> Iterator[Callable[[float], Message]]:
        """Send it under a new branch (or `via`); gives a verb that waits for the next answer, repeating the request."""
        key = via or branch()
        wire = self._with_via(request, key).encode()
        destination = to or self.target
        inbox: queue.Queue[Message] = queue.Queue()
        self._waiting[key + request.method] = inbox
        self._sent[key] = (request, destination)
        self.send(wire, destination)

        def next_answer(patience: float) -> Message:
            end, pause = time.monotonic() + patience, 0.5
            while (left := end - time.monotonic()) > 0:
                try:
                    return inbox.get(timeout=min(pause, left))
                except queue.Empty:
                    pause *= 2
                    self.send(wire, destination)
            raise TimeoutError(f"{self.user.number}: no answer to {request.start}")

        yield next_answer

    def await_final(self, answers: Callable[[float], Message], patience: float) -> Message:
        while (answer := answers(patience)).status < 200:
            pass
        return answer

    def _with_via(self, request: Message, key: str) -> Message:
        via = ("Via", f"SIP/2.0/UDP {self.claimed}{self._rport};branch={key}")
        return request._replace(headers=(via, *request.headers))

    # -- the wire ------------------------------------------------------------------------------------------------

    def send(self, wire: bytes, to: Address) -> None:
        self._note(">", to, wire)
        self._socket.sendto(wire, to)

    def _note(self, direction: str, peer: Address, wire: bytes) -> None:
        stamp = f"{time.time():.3f} {direction} {peer[0]}:{peer[1]}"
        self.trace.append(f"{stamp}\n{wire.decode(errors='replace')}\n")

    def write_trace(self, folder: Path) -> None:
        (folder / f"phone-{self.user.number}-{self.address[1]}.txt").write_text("".join(self.trace))

    def _listen(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(65535)
            if not data:
                return
            self._note("<", sender, data)
            try:
                message = parse(data)
            except ValueError:
                continue
            if message.status:
                self._response(message)
            else:
                self._request(message, sender)

    def _response(self, message: Message) -> None:
        if message.method == "INVITE" and message.status >= 300 and message.branch in self._sent:
            self._acknowledge_refusal(message)
        if message.method == "INVITE" and (call := self._open.get(message.get("Call-ID"))):
            call.response_heard(message)
        if (inbox := self._waiting.get(message.branch + message.method)) is not None:
            inbox.put(message)  # last: who waits for it finds all of the above done

    def _acknowledge_refusal(self, message: Message) -> None:
        """Same branch, same hop, same Route as the INVITE (RFC 3261 17.1.1.3)."""
        invite, to = self._sent[message.branch]
        kept = tuple(pair for pair in invite.headers if pair[0] in ("Route", "Max-Forwards", "From", "Call-ID"))
        cseq = message.get("CSeq").split()[0]
        ack = Message(f"ACK {invite.uri} SIP/2.0", (*kept, ("To", message.get("To")), ("CSeq", f"{cseq} ACK")))
        self.send(self._with_via(ack, message.branch).encode(), to)

    def _request(self, request: Message, sender: Address) -> None:
        key = (request.branch, request.method)
        if key in self._answers:
            self.send(self._answers[key], sender)
            return
        call = self._open.get(request.get("Call-ID"))
        if request.method == "ACK":
            if call:
                call.acknowledged.set()
        elif call:
            call.request_heard(request, sender)
        else:
            self._stranger(request, sender)

    def _stranger(self, request: Message, sender: Address) -> None:
        """A request outside every call."""
        if request.method == "INVITE":
            self._called(request, sender)
            return
        if request.method == "MESSAGE":
            self.messages.put(request)
        if request.method == "NOTIFY":
            self.notifies.put(request)
        known = request.method in ("MESSAGE", "NOTIFY", "OPTIONS")
        self.answer(request, sender, 200 if known else 481, "OK" if known else "No such call")

    def _called(self, request: Message, sender: Address) -> None:
        call = Call.incoming(self, request, sender)
        self._open[call.call_id] = call
        if self.on_call is OnCall.BUSY:
            call.reject(486, "Busy Here")
        else:
            call.ring()
        if self.on_call is OnCall.ANSWER:
            call.answer()
        self.calls.put(call)

    def answer(
        self,
        request: Message,
        to: Address,
        status: int,
        reason: str,
        tag: str = "",
        extra: tuple[tuple[str, str], ...] = (),
        body: str = "",
    ) -> None:
        """Answer and remember the answer for repeats of the request."""
        wire = response(request, status, reason, extra, tag or "t" + self.user.number)._replace(body=body).encode()
        self._answers[(request.branch, request.method)] = wire
        self.send(wire, to)
