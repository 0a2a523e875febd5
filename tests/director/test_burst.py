"""Bursts in virtual time: a network that loses, delays and refuses, and what twenty probes make of it."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from heapq import heappop, heappush

import pytest

from sipbalancer.director.burst import EVERY, PROBES, Burst
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult
from sipbalancer.sip.probe import IDENTITY_BYTES, ProbeIdentity, identity_of

BEGIN = 1000.0
REFUSED = b"ICMP"
UNREACHABLE = b"EHOSTUNREACH"
Network = Callable[[int], tuple[float, bytes | int] | None]
"""Number of a probe (from 0) -> seconds until something comes back and what (a status, or an error); None: lost."""


def answer(identity: ProbeIdentity, status: int = 200, phrase: str = "OK", extra: str = "") -> bytes:
    return (
        f"SIP/2.0 {status} {phrase}\r\nVia: SIP/2.0/UDP 192.0.2.9;branch={identity.branch}\r\n"
        f"Call-ID: {identity.call_id}\r\nCSeq: {identity.cseq} OPTIONS\r\n{extra}\r\n"
    ).encode()


class Run:
    """One burst from its first probe to its outcome."""

    def __init__(self, burst: Burst, network: Network, seed: int = 1) -> None:
        self.sent: list[float] = []
        self.identities: list[ProbeIdentity] = []
        self.silent: list[float] = []
        self.burst = burst
        self.now = BEGIN
        self._network = network
        self._random = random.Random(seed)
        self._under_way: list[tuple[float, int, bytes]] = []
        self.outcome = self._run()

    def _run(self) -> ProbeOutcome:
        while True:
            if self._under_way and self._under_way[0][0] < self.burst.next_at:
                self.now, _, data = heappop(self._under_way)
                outcome = self._arrive(data)
            else:
                self.now = max(self.now, self.burst.next_at)
                self._look()
                outcome = self.burst.silence(self.now)
                if outcome is None:
                    self._send()
            if outcome is not None:
                return outcome

    def _look(self) -> None:
        sent = self.burst.first_silent(self.now)
        if sent is not None:
            self.silent.append(sent)

    def _send(self) -> None:
        identity = identity_of(self._random.randbytes(IDENTITY_BYTES))
        self.burst.sent(identity, self.now)
        number = len(self.sent)
        self.sent.append(self.now - BEGIN)
        self.identities.append(identity)
        back = self._network(number)
        if back is not None:
            what = answer(identity, back[1]) if isinstance(back[1], int) else back[1]
            heappush(self._under_way, (self.now + back[0], number, what))

    def _arrive(self, data: bytes) -> ProbeOutcome | None:
        if data == REFUSED:
            return self.burst.refused("port refused", self.now)
        if data == UNREACHABLE:
            self.burst.unreachable("cannot be reached: No route to host")
            return None
        return self.burst.answer(data, self.now)


def silence(number: int) -> None:
    return None


def only(*numbers: int, after: float = 0.002, what: bytes | int = 200) -> Network:
    return lambda number: (after, what) if number in numbers else None


def run(network: Network, wait: float = 0.1, timeout: float = 30.0, judged: bool = True) -> Run:
    return Run(Burst(wait, timeout, judged=judged), network)


def test_one_probe_is_enough_while_all_is_well() -> None:
    made = run(only(0))
    assert made.outcome.result is ProbeResult.OK
    assert (made.outcome.text, made.outcome.probes) == ("200 OK", 1)
    assert made.outcome.latency == pytest.approx(0.002)
    assert made.silent == []


def test_silence_is_twenty_fresh_probes_and_the_wait_after_the_last() -> None:
    made = run(silence)
    assert made.sent == pytest.approx([0.0, *(0.1 + EVERY * number for number in range(19))])
    assert len({getattr(each, name) for each in made.identities for name in ("branch", "call_id", "tag")}) == 60
    assert len({each.cseq for each in made.identities}) == PROBES
    outcome = made.outcome
    assert (outcome.result, outcome.text, outcome.probes) == (
        ProbeResult.TIMEOUT,
        "20 probes unanswered in 1.1 s",
        PROBES,
    )
    assert outcome.duration == pytest.approx(1.1)


def test_the_first_silent_probe_is_told_once_and_at_its_time() -> None:
    made = run(silence)
    assert made.silent == [BEGIN]
    burst = Burst(0.1, 30.0)
    assert burst.first_silent(BEGIN) is None
    burst.sent(made.identities[0], BEGIN)
    assert burst.first_silent(BEGIN + 0.09) is None
    assert burst.first_silent(BEGIN + 0.101) == BEGIN


def test_a_slow_server_is_given_its_time() -> None:
    made = run(silence, wait=2.4)
    assert made.sent[:3] == pytest.approx([0.0, 2.4, 2.45])
    assert made.outcome.duration == pytest.approx(2.4 + 18 * EVERY + 2.4)
    assert run(only(0, after=0.8), wait=0.1).outcome.latency == pytest.approx(0.8)


@pytest.mark.parametrize("number", range(PROBES))
def test_one_answer_to_any_of_them_is_an_answer(number: int) -> None:
    made = run(only(number))
    assert made.outcome.result is ProbeResult.OK
    assert made.outcome.probes == number + 1
    assert made.outcome.latency == pytest.approx(0.002), "of the probe that was answered"


def test_the_answer_to_the_first_may_come_after_the_last_was_sent() -> None:
    outcome = run(only(0, after=1.05)).outcome
    assert (outcome.result, outcome.probes) == (ProbeResult.OK, PROBES)
    assert outcome.latency == pytest.approx(1.05)


def test_what_comes_after_silence_is_still_read() -> None:
    made = run(silence)
    late = made.burst.answer(answer(made.identities[3]), BEGIN + 4.0)
    assert late is not None and late.result is ProbeResult.OK
    assert late.latency == pytest.approx(4.0 - made.sent[3])


@pytest.mark.parametrize(
    ("status", "result"), [(503, ProbeResult.UNAVAILABLE), (500, ProbeResult.BAD), (404, ProbeResult.OK)]
)
def test_any_final_answer_ends_it_with_what_it_says(status: int, result: ProbeResult) -> None:
    assert run(only(2, what=status)).outcome.result is result
    assert run(only(2, what=status), judged=False).outcome.result is ProbeResult.OK


def test_receive_narrows() -> None:
    burst = Burst(0.1, 30.0, re.compile(b"pbx"))
    assert Run(burst, only(0)).outcome.text == "200 OK, not matched by receive"


def test_provisional_and_foreign_answers_are_nothing() -> None:
    made = run(silence)
    identity, other = made.identities[:2]
    for stray in (
        answer(identity, 100),
        answer(identity._replace(branch="z9hG4bKother")),
        answer(identity._replace(call_id=other.call_id)),
        answer(identity._replace(cseq=other.cseq)),
        answer(identity).replace(b"OPTIONS", b"INVITE"),
        b"",
        b"\x00\xff" * 100,
    ):
        assert made.burst.answer(stray, BEGIN + 1) is None


# Refusals.


def test_a_refusal_is_confirmed_by_the_next_probe() -> None:
    made = run(lambda number: (0.0, REFUSED))
    assert made.sent == pytest.approx([0.0, EVERY])
    assert made.outcome[:2] == (ProbeResult.REFUSED, "port refused")
    assert made.outcome.probes == 2
    assert made.outcome.duration == pytest.approx(EVERY)
    assert made.silent == []


def test_a_refusal_and_then_an_answer_is_an_answer() -> None:
    made = run(lambda number: (0.0, REFUSED) if number == 0 else (0.002, 200))
    assert (made.outcome.result, made.outcome.probes) == (ProbeResult.OK, 2)


def test_a_refusal_and_then_silence_is_silence() -> None:
    made = run(only(0, what=REFUSED))
    assert made.sent[1] == pytest.approx(EVERY)
    assert (made.outcome.result, made.outcome.probes) == (ProbeResult.TIMEOUT, PROBES)
    assert made.silent == [BEGIN]


def test_refusals_of_which_some_are_lost_are_refusals() -> None:
    """Kernels send few ICMP messages per second: traffic may have used them up."""
    made = run(only(0, 7, what=REFUSED))
    assert (made.outcome.result, made.outcome.probes) == (ProbeResult.REFUSED, 8)


def test_no_route_is_silence_with_its_reason() -> None:
    outcome = run(lambda number: (0.0, UNREACHABLE)).outcome
    assert (outcome.result, outcome.probes) == (ProbeResult.TIMEOUT, PROBES)
    assert outcome.note == "cannot be reached: No route to host"
    assert run(lambda number: (0.0, UNREACHABLE) if number < 10 else (0.0, 200)).outcome.result is ProbeResult.OK


# Bounds.


def test_a_smaller_timeout_ends_it_sooner() -> None:
    outcome = run(silence, timeout=0.32).outcome
    assert (outcome.probes, outcome.text) == (6, "6 probes unanswered in 0.3 s")
    assert outcome.duration == pytest.approx(0.32)


def test_a_timeout_below_the_wait_leaves_one_probe() -> None:
    outcome = run(silence, timeout=0.05).outcome
    assert (outcome.probes, outcome.text) == (1, "no answer within 0.05 s")


@pytest.mark.parametrize("timeout", [30.0, 0.5])
def test_when_we_stood_still_ourselves_it_is_no_silence_yet(timeout: float) -> None:
    """A stopped process, a frozen virtual machine: what was answered meanwhile lies unread."""
    made = run(silence, timeout=timeout)
    burst = Burst(0.1, timeout)
    for identity, sent in zip(made.identities, made.sent, strict=True):
        burst.sent(identity, BEGIN + sent)
    awake = burst.next_at + 3.0
    assert burst.silence(awake) is None
    assert burst.next_at > awake
    later = burst.answer(answer(made.identities[-1]), awake + 0.001)
    assert later is not None and later.result is ProbeResult.OK
    end = Run(burst, silence).outcome  # and then looks in time, hears nothing and says so
    assert end.result is ProbeResult.TIMEOUT


def test_standing_still_again_and_again_is_no_excuse() -> None:
    burst = Burst(0.1, 30.0)
    for number in range(PROBES):
        burst.sent(identity_of(bytes([number]) * IDENTITY_BYTES), BEGIN)
    said = [burst.silence(burst.next_at + 60.0) for _ in range(2)]
    assert said[0] is None and said[1] is not None


# Loss.

LOSS = 0.3
SILENT = 1.0 - (1.0 - LOSS) ** 2
"""The probability that a probe stays unanswered with that loss each way: 0.51."""


def lossy(chance: random.Random, loss: float = LOSS) -> Network:
    return lambda number: (0.002, 200) if chance.random() >= loss and chance.random() >= loss else None


def test_thirty_percent_loss_each_way_kills_no_server() -> None:
    """Three packets in a row would be wrong 13 times in 100, twenty are 1.4 times in a million."""
    assert pytest.approx(1.42e-6, rel=0.01) == SILENT**PROBES
    assert pytest.approx(0.133, rel=0.01) == SILENT**3
    chance = random.Random(3261)
    bursts = [Run(Burst(0.1, 30.0), lossy(chance), seed) for seed in range(10_000)]
    assert {made.outcome.result for made in bursts} == {ProbeResult.OK}
    longest = max(made.outcome.probes for made in bursts)
    assert 8 < longest < PROBES, "the loss was really there"
    mean = sum(made.outcome.probes for made in bursts) / len(bursts)
    assert mean == pytest.approx(1 / (1 - SILENT), rel=0.05)


def test_a_dead_server_is_told_from_a_lossy_one_every_time() -> None:
    for seed in range(20):
        made = Run(Burst(0.1, 30.0), lossy(random.Random(seed), 1.0), seed)
        assert made.outcome.result is ProbeResult.TIMEOUT
        assert made.outcome.duration == pytest.approx(1.1)
