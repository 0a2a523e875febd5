"""Servers, the balancer, phones: the stage of every ladder. What must be so after each of them is in `checks`."""

from __future__ import annotations

from random import Random
from typing import ClassVar

from sipbalancer.demo.agent import UserAgent
from sipbalancer.demo.call import Call
from sipbalancer.demo.lab import Lab
from sipbalancer.demo.message import Address, Datagram
from sipbalancer.demo.phone import Phone
from tests.flows.balancer import VIP, Balancer, config_of
from tests.flows.server import LabServer

USERS = {str(number): f"secret{number}" for number in range(1001, 1061)}
SERVERS: list[Address] = [("10.0.0.11", 5060), ("10.0.0.12", 5060), ("10.0.0.13", 5060)]


class Pool:
    """`options` go to every server, `words` are the service's own words in the file."""

    made: ClassVar[list[Pool]] = []
    """Pools of the present test, for `checks`."""

    def __init__(
        self, servers: int = 3, options: dict[str, object] | None = None, interval: float = 10.0, **words: object
    ) -> None:
        self.made.append(self)
        self.lab = Lab()
        self.words = words
        self.options = options or {}
        self.servers: dict[str, LabServer] = {}
        self.phones: list[Phone] = []
        self.known: set[Address] = set(SERVERS)
        """Where the balancer may send to."""
        self.restarts = 0
        for address in SERVERS[:servers]:
            self.servers[f"{address[0]}:{address[1]}"] = self.server(address, **self.options)
        self.balancer = Balancer(self.lab, config_of(SERVERS[:servers], None, **words), interval)
        self.balancer.judge(*self.servers)

    @property
    def now(self) -> float:
        return self.lab.now

    def server(self, address: Address, **options: object) -> LabServer:
        server = LabServer(address, USERS, f"realm{address[0]}", Random(address[0]), **options)
        self.lab.add(address, server)
        return server

    def phone(self, user: str, address: Address | None = None, says: Address | None = None, **words: object) -> Phone:
        """A phone at an address of its own, or behind NAT (`says` is what it believes its address is)."""
        address = address or (f"10.1.0.{len(self.phones) + 1}", 5060)
        random = Random(f"{user} {len(self.phones)}")
        phone = Phone(user, USERS[user], address, VIP, "10.0.0.1", random, says=says, **words)  # type: ignore[arg-type]
        self.lab.add(address, phone)
        self.phones.append(phone)
        self.known.add(address)
        return phone

    def registered(self, user: str, **words: object) -> Phone:
        phone = self.phone(user, **words)  # type: ignore[arg-type]
        self.send(phone, phone.register(self.now))
        self.run(0.5)
        assert phone.registered
        return phone

    def move(self, phone: Phone, address: Address) -> None:
        """Its NAT gives the phone another address from now on."""
        self.lab.nodes.pop(phone.address)
        phone.address = address
        self.lab.add(address, phone)
        self.known.add(address)

    # What happens.

    def send(self, agent: UserAgent, datagrams: list[Datagram]) -> None:
        self.lab.send(agent.address, datagrams)

    def run(self, seconds: float) -> None:
        self.lab.run(seconds)

    def calls(self, phone: Phone, target: str, wait: float = 2.0) -> Call:
        """The phone calls; what became of it `wait` seconds later."""
        self.send(phone, phone.call(target, self.now))
        self.run(wait)
        call = phone.last_call
        assert call is not None
        return call

    def hang_up(self, phone: Phone, wait: float = 2.0) -> None:
        self.send(phone, phone.hang_up(self.now))
        self.run(wait)

    def kill(self, server: LabServer) -> None:
        """kill -9: its port refuses."""
        self.lab.remove(server.address)

    def revive(self, server: LabServer) -> LabServer:
        """The same address, started anew: its calls are gone, its contacts (a database) are not."""
        again = self.server(server.address, **{**self.options, "contacts": server.contacts})
        self.servers[key_of(server)] = again
        return again

    def restart(self, *, keep_contacts: bool = True) -> None:
        """The balancer, killed and started again."""
        self.restarts += 1
        self.balancer.restart(keep_contacts)

    def reload(self, servers: list[Address] | None = None, weights: dict[Address, int] | None = None) -> None:
        """SIGHUP with another list of servers or other weights."""
        addresses = servers if servers is not None else [server.address for server in self.servers.values()]
        self.balancer.reload(config_of(addresses, weights, **self.words))

    # What is to be seen.

    def home(self, user: str) -> LabServer:
        """The server the balancer holds this AoR at."""
        return self.servers[self.balancer.table.where(user, self.now)[0].server]

    def verdict(self, server: LabServer) -> str:
        rows = self.balancer.table.snapshot(self.now).services[0].servers
        return next(str(row.verdict) for row in rows if row.key == key_of(server))

    def verdicts(self) -> list[tuple[str, str]]:
        """What probes changed: (address, new verdict)."""
        return [(each.server, str(each.new)) for each in self.balancer.transitions]


def key_of(server: LabServer) -> str:
    return f"{server.address[0]}:{server.address[1]}"
