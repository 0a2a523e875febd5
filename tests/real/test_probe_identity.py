"""The probes that the daemon sends, asked of a real Asterisk: as it works, hangs, drains and dies.

`test_probes` shows why an identity must be fresh; this shows that ours, as shipped, never goes astray.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipbalancer.daemon.probe_sip import Probe, Question
from sipbalancer.demo.asterisk import Instance, Tree, User
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from tests.real.phone import Phone
from tests.real.pool import VIRTUAL, Pool
from tests.real.programs import eventually

ADDRESS = "127.0.0.18"


async def ask(question: Question) -> ProbeOutcome:
    probe = Probe(question, secrets.token_bytes, time.perf_counter)
    try:
        return await probe.ask()
    finally:
        probe.close()


def probe(server: str, timeout: float = 5.0, login: str = "") -> ProbeOutcome:
    return asyncio.run(ask(Question((server, 5060), VIRTUAL, timeout, login)))


def test_a_thousand_probes_are_all_answered_to_their_own_sockets(pool: Pool) -> None:
    """Ten at a time, each alone in its burst: an answer that went to another's socket would be a probe without one."""
    question = Question((pool.servers[0].address, 5060), VIRTUAL, 10.0, wait=5.0)

    async def thousand() -> list[ProbeOutcome]:
        outcomes = []
        for _ in range(100):
            outcomes += await asyncio.gather(*(ask(question) for _ in range(10)))
        return outcomes

    said = Counter((outcome.result, outcome.text, outcome.probes) for outcome in asyncio.run(thousand()))
    assert said == {(ProbeResult.OK, "200 OK", 1): 1000}


def test_twenty_probes_of_one_socket_are_each_answered(pool: Pool) -> None:
    """A burst shares a port: fresh branches are enough, as `probe_sip` says."""

    async def burst() -> list[ProbeOutcome]:
        made = Probe(Question((pool.servers[0].address, 5060), VIRTUAL, 10.0), secrets.token_bytes, time.perf_counter)
        for _ in range(20):
            assert await made._send() is None
        outcomes: list[ProbeOutcome] = []
        while len(outcomes) < 20:
            outcome = await made._listen(5.0)
            assert outcome is not None, f"only {len(outcomes)} answers"
            outcomes.append(outcome)
        made.close()
        return outcomes

    assert {outcome[:2] for outcome in asyncio.run(burst())} == {(ProbeResult.OK, "200 OK")}


@pytest.mark.parametrize("login", ["1001@127.0.0.10", "nobody@127.0.0.10"], ids=["a phone it knows", "nobody"])
def test_a_challenge_and_a_404_are_life(pool: Pool, login: str) -> None:
    outcome = probe(pool.servers[0].address, login=login)
    assert outcome.result is ProbeResult.OK
    assert outcome.text in ("401 Unauthorized", "404 Not Found")


@pytest.fixture
def own(asterisk: Tree, folder: Path) -> Iterator[Instance]:
    """A server that nobody else minds losing; not started."""
    instance = Instance(asterisk, folder / "own", "own", ADDRESS, VIRTUAL, [User("1001", "secret1001")])
    instance.write()
    yield instance
    instance.kill()


def test_what_probes_see_of_a_server_from_before_its_start_to_its_end(own: Instance) -> None:
    assert probe(ADDRESS)[:2] == (ProbeResult.REFUSED, "port refused")
    own.start()
    own.wait()
    assert probe(ADDRESS)[:2] == (ProbeResult.OK, "200 OK")

    os.kill(own.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, own.pid, os.WSTOPPED | os.WNOWAIT)  # every thread stands still
    assert probe(ADDRESS)[:2] == (ProbeResult.TIMEOUT, "20 probes unanswered in 1.1 s")
    os.kill(own.pid, signal.SIGCONT)
    assert probe(ADDRESS)[:2] == (ProbeResult.OK, "200 OK")

    phone = Phone(own.users[0], (ADDRESS, 5060))
    call = phone.call("600")
    call.wait_answer()
    stopping = threading.Thread(target=own.cli, args=("core stop gracefully",))  # its console answers a minute later
    stopping.start()
    eventually("503 while it waits for its last call", lambda: probe(ADDRESS).result is ProbeResult.UNAVAILABLE)
    assert own.alive()

    own.kill()
    stopping.join()
    phone.close()
    assert probe(ADDRESS)[:2] == (ProbeResult.REFUSED, "port refused")
