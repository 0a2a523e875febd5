"""Three servers, the balancer, phones: the stage of every ladder."""

from __future__ import annotations

from random import Random

from sipbalancer.demo.lab import Lab
from sipbalancer.demo.message import Address
from sipbalancer.demo.phone import Phone
from sipbalancer.demo.server import EmbeddedServer
from tests.flows.balancer import VIP, Balancer, config_of

USERS = {str(number): f"secret{number}" for number in range(1001, 1061)}
SERVERS: list[Address] = [("10.0.0.11", 5060), ("10.0.0.12", 5060), ("10.0.0.13", 5060)]


class Pool:
    """`words` are the service's own words in the file."""

    def __init__(self, servers: int = 3, **words: object) -> None:
        self.lab = Lab()
        self.servers: dict[str, EmbeddedServer] = {}
        for address in SERVERS[:servers]:
            self.servers[f"{address[0]}:{address[1]}"] = self.server(address)
        self.balancer = Balancer(self.lab, config_of(SERVERS[:servers], **words))
        self.balancer.judge(*self.servers)
        self._phones = 0

    def server(self, address: Address, **options: object) -> EmbeddedServer:
        server = EmbeddedServer(address, USERS, f"realm{address[0]}", Random(address[0]), **options)  # type: ignore[arg-type]
        self.lab.add(address, server)
        return server

    def phone(self, user: str, address: Address | None = None, says: Address | None = None, **words: object) -> Phone:
        """A phone at an address of its own, or behind NAT (`says` is what it believes its address is)."""
        self._phones += 1
        address = address or (f"10.1.0.{self._phones}", 5060)
        phone = Phone(user, USERS[user], address, VIP, "10.0.0.1", Random(user), says=says, **words)  # type: ignore[arg-type]
        self.lab.add(address, phone)
        return phone

    def registered(self, user: str, **words: object) -> Phone:
        phone = self.phone(user, **words)  # type: ignore[arg-type]
        self.lab.send(phone.address, phone.register(self.lab.now))
        self.lab.run(0.5)
        assert phone.registered
        return phone

    def home(self, user: str) -> EmbeddedServer:
        """The server the balancer holds this AoR at."""
        return self.servers[self.balancer.table.where(user, self.lab.now)[0].server]
