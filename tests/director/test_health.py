"""Two vectors per row, as glb-director tests its dampener: outcomes in, verdicts out."""

from __future__ import annotations

import re

import pytest

from sipbalancer.config.model import CheckConfig, CheckType, RealServerConfig
from sipbalancer.director.health import Health, check_of, first_group, judge
from sipbalancer.director.snapshot import PROBE_BUCKETS
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult, Transition, Verdict

LETTERS = {
    "o": ProbeOutcome(ProbeResult.OK, "200 OK", 0.002),
    "u": ProbeOutcome(ProbeResult.UNAVAILABLE, "503 Service Unavailable, Retry-After 300", 0.002),
    "b": ProbeOutcome(ProbeResult.BAD, "500 Server Internal Error", 0.002),
    "t": ProbeOutcome(ProbeResult.TIMEOUT, "no answer within 2 s"),
    "r": ProbeOutcome(ProbeResult.REFUSED, "port refused"),
    "e": ProbeOutcome(ProbeResult.ERROR, "no file descriptor left"),
}
VERDICTS = {Verdict.STARTING: "s", Verdict.UP: "U", Verdict.DRAINING: "D", Verdict.DOWN: "-"}


def health(fall: int = 1, rise: int = 1, checktype: CheckType = CheckType.NEGOTIATE) -> Health:
    return Health("192.0.2.1:5060", CheckConfig(failurecount=fall, risecount=rise, checktype=checktype), 100.0)


def run(subject: Health, outcomes: str) -> str:
    verdicts = ""
    for at, letter in enumerate(outcomes, 101):
        subject.probe_result(LETTERS[letter], float(at))
        verdicts += VERDICTS[subject.verdict]
    return verdicts


@pytest.mark.parametrize(
    ("fall", "rise", "outcomes", "verdicts"),
    [
        (1, 1, "ototo", "U-U-U"),
        (1, 1, "trb", "---"),
        (3, 1, "ottottto", "UUUUUU-U"),  # one good answer forgives all failures before it
        (3, 1, "otrbo", "UUU-U"),  # silence, refusal and a bad answer count alike
        (3, 1, "tto", "ssU"),  # not yet judged stays so until the fall is complete
        (3, 1, "ttt", "ss-"),
        (1, 3, "otooo", "U-ssU"),  # starting again while it rises
        (1, 3, "otootooo", "U-ss-ssU"),  # one failure while rising: down at once
        (3, 3, "otttootooo", "UUU-ss-ssU"),
        (3, 3, "ooo", "UUU"),  # the rise count is for those that fell
        (1, 3, "to", "-s"),
        (1, 1, "ouuo", "UDDU"),  # 503: draining at once, back at once
        (1, 1, "u", "D"),
        (2, 1, "outto", "UDD-U"),  # a draining server that dies
        (2, 1, "tutt", "sDD-"),  # a 503 is an answer: it forgives silence
        (1, 2, "touoo", "-sDsU"),  # but is no good answer: the rise begins anew
        (1, 1, "oeee", "UUUU"),  # what went wrong with us is not the server's failure
        (1, 1, "eet", "ss-"),
        (2, 1, "otet", "UUU-"),
    ],
)
def test_rise_and_fall(fall: int, rise: int, outcomes: str, verdicts: str) -> None:
    assert run(health(fall, rise), outcomes) == verdicts


@pytest.mark.parametrize(
    ("fall", "outcomes", "reason"),
    [
        (1, "", "not yet probed"),
        (1, "o", "200 OK"),
        (1, "u", "503 Service Unavailable, Retry-After 300"),
        (1, "ot", "no answer within 2 s"),
        (2, "ott", "2 probes unanswered"),
        (2, "ottt", "3 probes unanswered"),  # kept fresh while it is down
        (2, "otr", "2 probes failed, the last: port refused"),
        (2, "ort", "2 probes failed, the last: no answer within 2 s"),
        (1, "or", "port refused"),
        (1, "ob", "500 Server Internal Error"),
        (3, "ott", "200 OK"),  # still up: the reason is that of the verdict
        (3, "tt", "2 probes unanswered"),
        (1, "e", "no file descriptor left"),
        (1, "oe", "200 OK"),
    ],
)
def test_reason_is_for_the_operator(fall: int, outcomes: str, reason: str) -> None:
    subject = health(fall)
    run(subject, outcomes)
    assert subject.reason == reason


def test_rising_says_how_far() -> None:
    subject = health(rise=3)
    run(subject, "too")
    assert subject.reason == "2 of 3 good answers after down"


def test_a_transition_is_told_once_with_its_time() -> None:
    subject = health()
    told = [subject.probe_result(LETTERS[letter], at) for at, letter in enumerate("oottt", 101)]
    up = Transition("192.0.2.1:5060", Verdict.STARTING, Verdict.UP, "200 OK", 101)
    down = Transition("192.0.2.1:5060", Verdict.UP, Verdict.DOWN, "no answer within 2 s", 103)
    assert told == [up, None, down, None, None]
    assert subject.since == 103


@pytest.mark.parametrize(
    ("checktype", "verdict", "reason"),
    [(CheckType.ON, Verdict.UP, "checktype = on"), (CheckType.OFF, Verdict.DOWN, "checktype = off")],
)
def test_unprobed_checktypes_have_their_verdict_from_the_start(
    checktype: CheckType, verdict: Verdict, reason: str
) -> None:
    subject = health(checktype=checktype)
    assert (subject.verdict, subject.reason, subject.since) == (verdict, reason, 100.0)


def test_counts_every_outcome_and_times_only_answers() -> None:
    subject = health()
    for letter, latency in (("o", 0.001), ("o", 0.0011), ("u", 7.0), ("b", 0.0), ("t", 0.0), ("r", 0.0), ("e", 0.0)):
        subject.probe_result(LETTERS[letter]._replace(latency=latency), 101.0)
    expected = {"ok": 2, "unavailable": 1, "bad": 1, "timeout": 1, "refused": 1, "error": 1}
    assert subject.probes == expected
    assert subject.probe_buckets == [2, 1] + [0] * (len(PROBE_BUCKETS) - 2) + [1]
    assert subject.probe_sum == pytest.approx(7.0021)
    assert subject.latency == 0.0  # the BAD one was the last answered


def test_all_outcomes_are_there_before_the_first() -> None:
    assert set(health().probes) == set(ProbeResult)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (100, None),
        (199, None),
        (200, ProbeResult.OK),
        (202, ProbeResult.OK),
        (302, ProbeResult.OK),
        (401, ProbeResult.OK),
        (404, ProbeResult.OK),
        (405, ProbeResult.OK),
        (408, ProbeResult.BAD),
        (416, ProbeResult.OK),
        (486, ProbeResult.OK),
        (500, ProbeResult.BAD),
        (501, ProbeResult.OK),
        (502, ProbeResult.BAD),
        (503, ProbeResult.UNAVAILABLE),
        (504, ProbeResult.BAD),
        (505, ProbeResult.OK),
        (603, ProbeResult.OK),
    ],
)
def test_judge(status: int, expected: ProbeResult | None) -> None:
    verdict = judge(status, "Phrase", None, b"", None)
    assert verdict == (None if expected is None else (expected, f"{status} Phrase"))


def test_judge_tells_retry_after() -> None:
    said = judge(503, "Service Unavailable", 300, b"", None)
    assert said == (ProbeResult.UNAVAILABLE, "503 Service Unavailable, Retry-After 300")


def test_receive_narrows_what_is_up_and_nothing_else() -> None:
    pattern = re.compile(b"Asterisk")
    assert judge(200, "OK", None, b"Server: Asterisk", pattern) == (ProbeResult.OK, "200 OK")
    assert judge(200, "OK", None, b"Server: Other", pattern) == (ProbeResult.BAD, "200 OK, not matched by receive")
    assert judge(503, "Gone", None, b"Server: Other", pattern) == (ProbeResult.UNAVAILABLE, "503 Gone")
    assert judge(180, "Ringing", None, b"Server: Other", pattern) is None


def test_a_servers_own_receive_wins() -> None:
    check = CheckConfig(receive="all", request="all")
    assert check_of(check, RealServerConfig(host="192.0.2.1")) is check
    own = check_of(check, RealServerConfig(host="192.0.2.1", receive="mine"))
    assert (own.receive, own.request) == ("mine", "all")


@pytest.mark.parametrize(
    ("servers", "working", "expected"),
    [
        ("a1 b1 c2", "abc", "a1 b1"),
        ("a1 b1 c2", "bc", "b1"),
        ("a1 b1 c2", "c", "c2"),
        ("c2 a1 b1", "ab", "a1 b1"),
        ("a1", "", ""),
        ("", "a", ""),
    ],
)
def test_first_group(servers: str, working: str, expected: str) -> None:
    items = tuple(servers.split())
    chosen = first_group(items, lambda item: int(item[1:]), lambda item: item[0] in working)
    assert " ".join(chosen) == expected


def test_checks_are_equal_wherever_they_are_written() -> None:
    """Health is keyed by (server, check): a line inserted above must not restart it."""
    here, there = CheckConfig(lines={"checkinterval": 3}), CheckConfig(lines={"checkinterval": 9})
    assert here == there
    assert hash(here) == hash(there)
    assert here != CheckConfig(checkinterval=1.0)
