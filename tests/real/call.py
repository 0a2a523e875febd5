"""One call of a test phone, either way: the dialog of RFC 3261 section 12 and the verbs a user has.

The next hop is always what the dialog says (first Route, else the other's Contact), as with a real phone: a balancer
that forgets its Record-Route is found out.
"""

from __future__ import annotations

import secrets
import threading
import time
from typing import TYPE_CHECKING

from tests.real.message import Message, branch, host_port, parameter, uri_of

if TYPE_CHECKING:
    from tests.real.phone import Address, Phone

ALLOW = ("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REFER, MESSAGE, UPDATE")
SDP_TYPE = ("Content-Type", "application/sdp")


class Call:
    """`number` is whom the phone calls; empty for a call that it receives."""

    def __init__(self, phone: Phone, number: str, invite: Message, media: int = 40000) -> None:
        self.phone = phone
        self.number = number
        self.invite = invite
        self.call_id = invite.get("Call-ID")
        self.local = invite.get("From")
        self.remote = invite.get("To")
        self.remote_target = invite.uri
        self.routes: list[str] = []
        self.answer_body = ""
        self.statuses: list[int] = []
        """Every answer to the INVITE that came, in order."""
        self.heard: list[Message] = []
        """Every request of the other side, in order."""
        self.ringing = threading.Event()
        self.answered = threading.Event()
        self.acknowledged = threading.Event()
        self.final = threading.Event()
        self.ended = threading.Event()
        """The other side hung up, or cancelled."""
        self.media = media
        self._cseq = 1
        self._via = ""
        self._sender: Address = phone.target
        self._failure: BaseException | None = None
        self._ack: tuple[bytes, Address] | None = None

    # -- the caller ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        threading.Thread(target=self._dial, name=f"call to {self.number}", daemon=True).start()

    def _dial(self) -> None:
        invite = self.invite._replace(headers=(*self.invite.headers, ALLOW, SDP_TYPE), body=self.sdp())
        try:
            final = self._try(invite)
            if final.status in (401, 407):
                self.phone.challenges += 1
                final = self._try(self.phone.with_credentials(invite, final))
        except TimeoutError as error:
            self._failure = error
        self.final.set()

    def _try(self, invite: Message) -> Message:
        self._via, self.invite = branch(), invite
        self._cseq = int(invite.get("CSeq").split()[0])
        with self.phone.transaction(invite, via=self._via) as answers:
            answer = answers(10)
            while answer.status < 200:
                answer = answers(100)
        return answer

    def response_heard(self, message: Message) -> None:
        """In the phone's reading thread: every answer to an INVITE of this call, repeats too."""
        self.statuses.append(message.status)
        if message.status in (180, 183):
            self.ringing.set()
        elif 200 <= message.status < 300:
            self._established(message)

    def _established(self, message: Message) -> None:
        self.remote = message.get("To")
        self.remote_target = uri_of(message.get("Contact"))
        if not self.answered.is_set():  # a re-INVITE changes the target, never the route (RFC 3261 12.2.1.2)
            self.routes = [
                route.strip() for route in reversed(",".join(message.all("Record-Route")).split(",")) if route
            ]
        self.answer_body = message.body
        number = message.get("CSeq").split()[0]
        wire, to = self._in_dialog("ACK", cseq=int(number))
        self.phone.send(self.phone._with_via(wire, branch()).encode(), to)
        self.answered.set()

    def cancel(self) -> Message:
        """The answer to the CANCEL (not to the INVITE)."""
        kept = tuple((k, v) for k, v in self.invite.headers if k in ("Route", "Max-Forwards", "From", "To", "Call-ID"))
        request = Message(f"CANCEL {self.invite.uri} SIP/2.0", (*kept, ("CSeq", f"{self._cseq} CANCEL")))
        with self.phone.transaction(request, via=self._via) as answers:
            return self.phone.await_final(answers, 8)

    # -- the called one ------------------------------------------------------------------------------------------

    @classmethod
    def incoming(cls, phone: Phone, invite: Message, sender: Address) -> Call:
        call = cls(phone, "", invite)
        call.local = f"{invite.get('To')};tag={secrets.token_hex(4)}"
        call.remote = invite.get("From")
        call.remote_target = uri_of(invite.get("Contact"))
        call.routes = [route.strip() for route in ",".join(invite.all("Record-Route")).split(",") if route]
        call._sender = sender
        call._cseq = 100
        return call

    def ring(self) -> None:
        self._reply(self.invite, 180, "Ringing")
        self.ringing.set()

    def answer(self) -> None:
        self._reply(self.invite, 200, "OK", body=self.sdp())
        self.answered.set()

    def reject(self, status: int, reason: str) -> None:
        self._reply(self.invite, status, reason)
        self.ended.set()

    def request_heard(self, request: Message, sender: Address) -> None:
        """In the phone's reading thread: a request inside this call."""
        self.heard.append(request)
        self._sender = sender
        match request.method:
            case "CANCEL":
                self._reply(request, 200, "OK")
                self._reply(self.invite, 487, "Request Terminated")
                self.ended.set()
            case "BYE":
                self._reply(request, 200, "OK")
                self.ended.set()
            case "INVITE":
                self._reply(request, 200, "OK", body=self.sdp())
            case _:
                if request.method == "NOTIFY":
                    self.phone.notifies.put(request)
                self._reply(request, 200, "OK")

    def _reply(self, request: Message, status: int, reason: str, body: str = "") -> None:
        extra = (("Contact", self.phone.contact), ALLOW, *((SDP_TYPE,) if body else ()))
        self.phone.answer(request, self._sender, status, reason, parameter(self.local, "tag"), extra, body)

    # -- both ----------------------------------------------------------------------------------------------------

    def wait_answer(self, seconds: float = 8.0) -> None:
        if not self.answered.wait(seconds):
            raise TimeoutError(
                f"{self.phone.user.number} -> {self.number}: not answered, heard {self.statuses} {self._failure or ''}"
            )

    def wait_ringing(self, seconds: float = 8.0) -> None:
        if not self.ringing.wait(seconds):
            raise TimeoutError(
                f"{self.phone.user.number} -> {self.number}: no ringing, heard {self.statuses} {self._failure or ''}"
            )

    def wait_final(self, seconds: float = 8.0) -> int:
        """The status that ended the INVITE."""
        if not self.final.wait(seconds):
            raise TimeoutError(f"{self.phone.user.number} -> {self.number}: no final answer, heard {self.statuses}")
        if self._failure:
            raise self._failure
        return self.statuses[-1]

    def wait_end(self, seconds: float = 8.0) -> None:
        """Until the other side hangs up."""
        if not self.ended.wait(seconds):
            raise TimeoutError(f"{self.phone.user.number}: the other side of {self.call_id} did not hang up")

    def wait_request(self, method: str, seconds: float = 8.0) -> Message:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for request in self.heard:
                if request.method == method:
                    return request
            time.sleep(0.02)
        raise TimeoutError(f"{self.phone.user.number}: no {method} in {self.call_id}")

    def request(self, method: str, extra: tuple[tuple[str, str], ...] = (), body: str = "") -> Message:
        """A request inside the dialog and its final answer, a challenge answered once."""
        message, to = self._in_dialog(method, extra=extra, body=body)
        final = self.phone.transact(message, to)
        self._cseq += 1  # the one that the answer to a challenge may have used
        return final

    def bye(self) -> Message:
        return self.request("BYE")

    def reinvite(self) -> Message:
        return self.request("INVITE", (("Contact", self.phone.contact), SDP_TYPE), self.sdp("sendonly"))

    def refer(self, number: str) -> Message:
        extra = (("Contact", self.phone.contact), ("Refer-To", f"<sip:{number}@{self.phone.domain}>"))
        return self.request("REFER", extra)

    def _in_dialog(
        self, method: str, cseq: int = 0, extra: tuple[tuple[str, str], ...] = (), body: str = ""
    ) -> tuple[Message, Address]:
        if not cseq:
            self._cseq += 1
        headers = (
            *(("Route", route) for route in self.routes),
            ("Max-Forwards", "70"),
            ("From", self.local),
            ("To", self.remote),
            ("Call-ID", self.call_id),
            ("CSeq", f"{cseq or self._cseq} {method}"),
            *extra,
        )
        hop = host_port(uri_of(self.routes[0]) if self.routes else self.remote_target)
        return Message(f"{method} {self.remote_target} SIP/2.0", headers, body), hop

    def sdp(self, direction: str = "sendrecv") -> str:
        host = self.phone.address[0]
        lines = ("v=0", f"o=- 1 {self._cseq} IN IP4 {host}", "s=test", f"c=IN IP4 {host}", "t=0 0")
        media = (f"m=audio {self.media} RTP/AVP 0", "a=rtpmap:0 PCMU/8000", f"a={direction}", "")
        return "\r\n".join(lines + media)
