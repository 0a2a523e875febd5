"""A network in memory and in virtual time: datagrams between nodes, with loss where a test wants it.

Anything with the three verbs of an endpoint is a node, a balancer's forwarder behind a few lines too. Nothing sleeps:
`run` jumps from one event to the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple, Protocol

from .message import Address, Datagram

DELAY = 0.001
"""Seconds a datagram travels."""


class Node(Protocol):
    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Datagram]: ...
    def due(self, now: float) -> list[Datagram]: ...
    def next_due(self) -> float | None: ...


class Packet(NamedTuple):
    """One datagram under way or arrived; `sent` in virtual seconds."""

    sent: float
    source: Address
    destination: Address
    data: bytes

    @property
    def line(self) -> str:
        """The start line: `INVITE sip:600@... SIP/2.0`."""
        return self.data.partition(b"\r\n")[0].decode("utf-8", "replace")


class Lab:
    """Nodes by address, the datagrams between them, and the clock (`now`, seconds)."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now
        self.nodes: dict[Address, Node] = {}
        self.log: list[Packet] = []
        """Every datagram sent, lost ones included, in order."""
        self.lose: Callable[[Packet], bool] = lambda packet: False
        """Says which datagrams the network loses."""
        self.refused: Callable[[Packet, float], None] = lambda packet, now: None
        """Called for a datagram to an address where nobody listens (ICMP port unreachable)."""
        self._underway: list[tuple[float, int, Packet]] = []

    def add(self, address: Address, node: Node) -> None:
        self.nodes[address] = node

    def remove(self, address: Address) -> None:
        """Kill the node there: what arrives later is refused."""
        self.nodes.pop(address, None)

    def send(self, source: Address, datagrams: list[Datagram]) -> None:
        """Put datagrams on their way; what a verb of the node at `source` returned goes here."""
        for data, destination in datagrams:
            packet = Packet(self.now, source, destination, data)
            self.log.append(packet)
            if not self.lose(packet):
                heapq.heappush(self._underway, (self.now + DELAY, len(self.log), packet))

    def run(self, seconds: float) -> None:
        """Let that much virtual time pass."""
        end = self.now + seconds
        while (when := self._next()) <= end:
            self.now = max(self.now, when)
            self._deliver()
            for address, node in list(self.nodes.items()):
                self.send(address, node.due(self.now))
        self.now = end

    def lines(self, since: int = 0) -> list[str]:
        """Start lines of the log, for a test to compare."""
        return [packet.line for packet in self.log[since:]]

    def _next(self) -> float:
        times = [when for node in self.nodes.values() if (when := node.next_due()) is not None]
        return min([*times, *(entry[0] for entry in self._underway[:1])], default=float("inf"))

    def _deliver(self) -> None:
        while self._underway and self._underway[0][0] <= self.now:
            packet = heapq.heappop(self._underway)[2]
            node = self.nodes.get(packet.destination)
            if node is None:
                self.refused(packet, self.now)
            else:
                self.send(packet.destination, node.receive_datagram(packet.data, packet.source, self.now))
