"""Why each probe has a fresh identity, shown on a real Asterisk.

ldirectord asks every server with one and the same branch. A server keeps a finished transaction for half a minute
and matches on the branch alone: the next OPTIONS under it is a repeat of the first, and its answer goes to the port
that asked first. ldirectord's next process waits in vain and takes a healthy server out.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sipbalancer.sip.probe import IDENTITY_BYTES, ProbeIdentity, compose_options, identity_of, read_answer
from tests.real.pool import Pool

HERE = "127.0.2.3"


@pytest.fixture
def two_sockets() -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2)]
        for made in sockets:
            made.bind((HERE, 0))
            made.settimeout(2)
        yield sockets


def ask(asking: socket.socket, server: str, identity: ProbeIdentity) -> None:
    here: tuple[str, int] = asking.getsockname()
    asking.sendto(compose_options((server, 5060), here, identity), (server, 5060))


def test_one_branch_for_all_probes_sends_answers_to_the_wrong_port(
    pool: Pool, two_sockets: list[socket.socket]
) -> None:
    first, second = two_sockets
    server = pool.servers[0].address
    identity = identity_of(os.urandom(IDENTITY_BYTES))
    ask(first, server, identity)
    assert first.recv(4096).startswith(b"SIP/2.0 200")
    ask(second, server, identity)
    assert first.recv(4096).startswith(b"SIP/2.0 200")
    second.settimeout(0.5)
    with pytest.raises(TimeoutError):
        second.recv(4096)


def test_a_thousand_probes_are_each_answered_where_they_were_asked(
    pool: Pool, two_sockets: list[socket.socket]
) -> None:
    server = pool.servers[0].address
    for number in range(1000):
        asking = two_sockets[number % 2]
        identity = identity_of(os.urandom(IDENTITY_BYTES))
        ask(asking, server, identity)
        answer = read_answer(asking.recv(4096))
        assert answer is not None
        assert answer.answers(identity)
