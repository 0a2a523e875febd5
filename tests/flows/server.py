"""An embedded server with the troubles a real one has: stopped with its mail kept, overloaded, refusing one number."""

from __future__ import annotations

from sipbalancer.demo.call import Call
from sipbalancer.demo.message import Address, Datagram, parameter, parse
from sipbalancer.demo.server import EmbeddedServer
from sipbalancer.demo.transaction import ServerTransaction


class LabServer(EmbeddedServer):
    """`hanging` is SIGSTOP: what arrives waits in the socket's buffer for `wake`."""

    overloaded = False
    """Only what belongs to its dialogs is answered."""
    silent_after = 0
    """It falls silent for good after the first answer of this status (or above) to an INVITE; 0 = never."""
    trusting = False
    """It asks nobody for a password."""
    quick_reply: tuple[str, int] = ("", 0)
    """A number, and what a call to it is answered at once."""
    progress = False
    """It says 183 before that."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]
        self._inbox: list[tuple[bytes, Address]] = []

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Datagram]:
        if self.hanging:
            self._inbox.append((data, source))
            return []
        if self.overloaded and not _in_dialog(data):
            return []
        return self._until_silent(super().receive_datagram(data, source, now))

    def due(self, now: float) -> list[Datagram]:
        return self._until_silent(super().due(now))

    def wake(self, now: float) -> list[Datagram]:
        """SIGCONT."""
        self.hanging = False
        inbox, self._inbox = self._inbox, []
        return [out for data, source in inbox for out in self.receive_datagram(data, source, now)]

    def _until_silent(self, datagrams: list[Datagram]) -> list[Datagram]:
        if not self.silent_after:
            return datagrams
        sent = []
        for data, destination in datagrams:
            sent.append((data, destination))
            message = parse(data)
            answers = message is not None and message.method == "INVITE" and message.status > 0
            if message is not None and answers and message.status >= self.silent_after and message.status != 401:
                self.hanging, self.silent_after = True, 0
                break
        return sent

    def _authorized(self, transaction: ServerTransaction, now: float) -> bool:
        return self.trusting or super()._authorized(transaction, now)

    def _route(self, call: Call, number: str, now: float) -> None:
        if self.quick_reply[0] == number:
            if self.progress:
                self.ring(call, now)
            self.refuse(call, self.quick_reply[1], now)
        else:
            super()._route(call, number, now)


def _in_dialog(data: bytes) -> bool:
    message = parse(data)
    return message is not None and (bool(message.status) or bool(parameter(message.get("To"), "tag")))
