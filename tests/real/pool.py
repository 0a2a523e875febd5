"""The pool that the tests share: Asterisks made from the samples, who may register, and what their logs say."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from sipbalancer.demo.asterisk import Instance, Release, Tree, User
from tests.real.message import Message
from tests.real.namespace import SOFT_PHONES
from tests.real.phone import Phone
from tests.real.programs import Address, Baresip, Missing, program

DIRECT = bool(os.environ.get("SIPBALANCER_DIRECT"))
"""No balancer, one Asterisk: the scenarios prove themselves."""
VIRTUAL = "127.0.0.10"
TRUNK = "127.0.0.7"
DOMAIN = "pbx.example.com"
NO_PROXY = "outbound_proxy="
REWRITE = "rewrite_contact=yes"
PATIENT = "qualify_timeout=30"
"""Seconds. On a busy machine a balancer that restarts is away for more than the sample's 3, and the server would call a
phone unreachable that it had just asked."""


class Kind(NamedTuple):
    """Numbers whose endpoints are configured alike."""

    first: int
    last: int
    endpoint: tuple[str, ...] = ()
    aor: tuple[str, ...] = ()

    def users(self) -> list[User]:
        return [
            User(str(n), f"secret{n}", self.endpoint, (*self.aor, PATIENT)) for n in range(self.first, self.last + 1)
        ]


AS_SAMPLE = Kind(1001, 1599, (NO_PROXY,) if DIRECT else ())
REWRITTEN = Kind(1601, 1630, (REWRITE,))
NO_PROXY_KIND = Kind(1631, 1660, (NO_PROXY,))
REWRITTEN_NO_PROXY = Kind(1661, 1690, (REWRITE, NO_PROXY))
NO_PATH = ("support_path=no",)
PATHLESS = Kind(1701, 1730, (), NO_PATH)
REWRITTEN_PATHLESS = Kind(1731, 1760, (REWRITE,), NO_PATH)
REWRITTEN_PATHLESS_NO_PROXY = Kind(1761, 1790, (REWRITE, NO_PROXY), NO_PATH)
SHORT = Kind(1691, 1699, AS_SAMPLE.endpoint, ("minimum_expiration=1",))
"""May register for seconds, so that a test sees a phone refresh by itself."""
KINDS = {
    "as the sample": AS_SAMPLE,
    "rewrite_contact": REWRITTEN,
    "no outbound_proxy": NO_PROXY_KIND,
    "rewrite_contact, no outbound_proxy": REWRITTEN_NO_PROXY,
    "no Path": PATHLESS,
    "no Path, rewrite_contact": REWRITTEN_PATHLESS,
    "no Path, rewrite_contact, no outbound_proxy": REWRITTEN_PATHLESS_NO_PROXY,
}


class Directory:
    """Hands out numbers that no test has used before: no test sees the registration of another."""

    def __init__(self) -> None:
        self._left: dict[Kind, Iterator[User]] = {kind: iter(kind.users()) for kind in (*KINDS.values(), SHORT)}

    def take(self, count: int = 1, kind: Kind = AS_SAMPLE) -> list[User]:
        return [next(self._left[kind]) for _ in range(count)]


class Pool:
    """`target` is where phones send to: the virtual address, or the only server when the tests prove themselves."""

    def __init__(self, servers: Sequence[Instance], target: Address) -> None:
        self.servers = servers
        self.target = target

    def server(self, name: str) -> Instance:
        return next(server for server in self.servers if server.name == name)

    def heard(self, pattern: str) -> Counter[str]:
        """Lines of the servers' logs that match, per server."""
        found = re.compile(pattern)
        return Counter({s.name: sum(1 for line in lines_of(s.log) if found.search(line)) for s in self.servers})

    def challenges(self, number: str) -> int:
        return self.heard(rf'SecurityEvent="ChallengeSent".*AccountID="{number}"').total()

    def logged_in(self, number: str) -> Counter[str]:
        """How often that user's credentials were right, per server; servers without are absent."""
        return +self.heard(rf'SecurityEvent="SuccessfulAuth".*AccountID="{number}"')


class Phones:
    """Makes phones of one pool for one test and closes them after it."""

    def __init__(self, directory: Directory, target: Address, folder: Path) -> None:
        self.directory = directory
        self.target = target
        self._folder = folder
        self._open: list[Phone] = []

    def phone(self, user: User | None = None, **options: object) -> Phone:
        phone = Phone(user or self.directory.take()[0], self.target, **options)  # type: ignore[arg-type]
        self._open.append(phone)
        return phone

    def registered(self, kind: Kind = AS_SAMPLE, **options: object) -> Phone:
        phone = self.phone(self.directory.take(1, kind)[0], **options)
        registered(phone)
        return phone

    def together(self, count: int, kind: Kind = AS_SAMPLE, **options: object) -> list[Phone]:
        """Registered phones that share one server: as many are registered as that takes."""
        homes: dict[str, list[Phone]] = {}
        for _ in range(count * 8):
            phone = self.phone(self.directory.take(1, kind)[0], **options)
            home = homes.setdefault(registered(phone), [])
            home.append(phone)
            if len(home) == count:
                return home
        raise AssertionError(f"no {count} of {count * 8} phones on one server")

    def close(self) -> None:
        for phone in self._open:
            phone.write_trace(self._folder)
            phone.close()


class SoftPhones:
    """baresip as phones of one pool, for one test."""

    def __init__(self, pool: Pool, directory: Directory, folder: Path) -> None:
        self.pool = pool
        self._directory = directory
        self._folder = folder
        self._open: list[Baresip] = []

    def registered(self, kind: Kind = AS_SAMPLE, every: int = 60) -> Baresip:
        (user,) = self._directory.take(1, kind)
        phone = Baresip(self._folder, SOFT_PHONES[len(self._open)], user, self.pool.target, every)
        self._open.append(phone)
        phone.wait_registered()
        return phone

    def pair(self) -> tuple[Baresip, Baresip]:
        """Two that share one server."""
        homes: dict[str, Baresip] = {}
        for _ in SOFT_PHONES:
            phone = self.registered()
            (name,) = self.pool.logged_in(phone.user.number)
            if name in homes:
                return homes[name], phone
            homes[name] = phone
        raise AssertionError(f"{len(SOFT_PHONES)} phones, no two on one server")

    def close(self) -> None:
        for phone in self._open:
            phone.close()


def registered(phone: Phone, expires: int = 300) -> str:
    """Register it; the name of the server that said 200."""
    answer = phone.register(expires)
    assert answer.status == 200, f"{phone.user.number}: {answer.start}"
    return home(answer)


def home(answer: Message) -> str:
    """The server that an answer comes from: the sample's user_agent is its name."""
    return answer.get("Server")


def lines_of(log: Path) -> Iterator[str]:
    if log.exists():
        with log.open(errors="replace") as lines:
            yield from lines


def instances(
    tree: Tree, folder: Path, names: Sequence[str], addresses: Sequence[str], virtual: str, shared: Path | None = None
) -> list[Instance]:
    """Written, started and booted, all at once. SDP shows 127.0.1.N, the outside address of the sample."""
    users = [user for kind in (*KINDS.values(), SHORT) for user in kind.users()]
    if tree.release is Release.CHAN_SIP:
        users = users[:50]
    made = [
        Instance(tree, folder / name, name, address, virtual, users, trunk=TRUNK, media=outside(address), shared=shared)
        for name, address in zip(names, addresses, strict=True)
    ]
    try:
        for instance in made:
            instance.write()
            instance.start()
        for instance in made:
            instance.wait()
    except BaseException:
        stop_all(made)
        raise
    return made


def outside(address: str) -> str:
    return address.replace("127.0.0.", "127.0.1.")


def stop_all(servers: Sequence[Instance]) -> None:
    """Nothing of theirs is kept: no need to be polite."""
    for server in servers:
        server.kill()


def available(name: str) -> None:
    """Skip when that program is not here."""
    try:
        program(name)
    except Missing as missing:
        pytest.skip(str(missing))
