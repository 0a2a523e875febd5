"""A SIP endpoint without a socket: transactions, timers and an outbox. Phones and servers stand on it.

Every verb returns the datagrams it caused; whoever holds the socket (or plays the network in a test) sends them.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from .agenda import Agenda
from .message import MAGIC_COOKIE, Address, Datagram, Message, hostport, parameter, parse, sent_by, stamp
from .transaction import Answered, ClientTransaction, ServerTransaction


class Endpoint:
    """Receives datagrams and time, gives datagrams. Subclasses say what to do with new requests.

    `says` is what its Via and Contact name; a phone behind NAT says its private address.
    """

    product = "sipbalancer-demo"

    def __init__(self, address: Address, random: Random, says: Address | None = None) -> None:
        self.address = address
        self.says = says or address
        self.random = random
        self.agenda = Agenda()
        self.asked: Counter[str] = Counter()
        """Requests we made, by method; a retry with credentials is a request of its own."""
        self.heard: Counter[str] = Counter()
        """Requests that came in, by method, repetitions not counted."""
        self.finals: Counter[tuple[str, int]] = Counter()
        """Final responses to our requests by (method, status); status 0 is: nobody answered."""
        self.retransmissions = 0
        self.strays = 0
        """Responses that answer nothing of ours, and ACKs of nothing."""
        self.unreadable = 0
        self.longest_wait = 0.0
        """Seconds from a request (not INVITE: people may let it ring) to its final response, the longest."""
        self._clients: dict[tuple[str, str], ClientTransaction] = {}
        self._servers: dict[tuple[str, ...], ServerTransaction] = {}
        self._outbox: list[Datagram] = []

    # The verbs of whoever holds the socket.

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Datagram]:
        """Take one datagram; the answer is what to send now. Never raises on bad input."""
        if data.strip(b"\r\n\0"):
            self._receive(parse(data), source, now)
        return self.outgoing()

    def due(self, now: float) -> list[Datagram]:
        """Do what the time has come for."""
        self.agenda.run(now)
        return self.outgoing()

    def next_due(self) -> float | None:
        """When `due` wants to be called next, or None."""
        return self.agenda.next_due()

    def outgoing(self) -> list[Datagram]:
        """Take the outbox."""
        taken, self._outbox = self._outbox, []
        return taken

    # The wire of the transactions.

    def transmit(self, data: bytes, destination: Address, *, again: bool = False) -> None:
        self.retransmissions += again
        self._outbox.append((data, destination))

    def client_final(self, transaction: ClientTransaction, status: int, now: float) -> None:
        method = transaction.request.method
        self.finals[method, status] += 1
        if method != "INVITE":
            self.longest_wait = max(self.longest_wait, now - transaction.started)

    def client_ended(self, transaction: ClientTransaction) -> None:
        self._clients.pop(transaction.key, None)

    def server_ended(self, transaction: ServerTransaction) -> None:
        self._servers.pop(transaction.key, None)

    # For subclasses.

    def token(self) -> str:
        """Sixty-four random bits, as text."""
        return f"{self.random.getrandbits(64):016x}"

    def via(self) -> str:
        """A Via of ours with a fresh branch; rport is always asked for."""
        return f"SIP/2.0/UDP {hostport(self.says)};branch={MAGIC_COOKIE}{self.token()};rport"

    def send(self, request: Message, destination: Address, now: float, answered: Answered) -> ClientTransaction:
        """Start a client transaction; the request needs its Via already."""
        self.asked[request.method] += 1
        transaction = ClientTransaction(request, destination, self, answered, now)
        self._clients[transaction.key] = transaction
        return transaction

    def request_received(self, transaction: ServerTransaction, now: float) -> None:
        """A new request other than ACK."""
        raise NotImplementedError

    def ack_received(self, ack: Message, now: float) -> None:
        """The ACK of a 2xx (a transaction of its own, 17.1.1.3)."""
        raise NotImplementedError

    def invite_transaction(self, cancel: Message) -> ServerTransaction | None:
        """The INVITE that a CANCEL means (9.2)."""
        return self._servers.get(_server_key(cancel, "INVITE"))

    def _receive(self, message: Message | None, source: Address, now: float) -> None:
        if message is None:
            self.unreadable += 1
        elif message.status:
            self._receive_response(message, now)
        else:
            self._receive_request(message, source, now)

    def _receive_response(self, response: Message, now: float) -> None:
        transaction = self._clients.get((response.branch, response.method))
        if transaction is None or len(response.all("Via")) != 1:  # 8.1.3.3: not ours to take
            self.strays += 1
        else:
            transaction.receive(response, now)

    def _receive_request(self, request: Message, source: Address, now: float) -> None:
        stamp(request, source)
        if request.method == "ACK":
            self._receive_ack(request, now)
            return
        key = _server_key(request, request.method)
        known = self._servers.get(key)
        if known is not None:
            known.repeat()
            return
        self.heard[request.method] += 1
        transaction = self._servers[key] = ServerTransaction(request, source, key, self)
        self.request_received(transaction, now)

    def _receive_ack(self, ack: Message, now: float) -> None:
        transaction = self._servers.get(_server_key(ack, "INVITE"))
        if transaction is not None and transaction.final >= 300:
            transaction.acknowledge()
        else:
            self.ack_received(ack, now)


def _server_key(request: Message, method: str) -> tuple[str, ...]:
    """RFC 3261 17.2.3: branch, sent-by and method; without the magic cookie, what a retransmission has in common."""
    place = sent_by(request.top("Via")).lower()
    if request.branch.startswith(MAGIC_COOKIE):
        return request.branch, place, method
    return request.uri, parameter(request.get("From"), "tag"), request.call_id, str(request.cseq), place, method
