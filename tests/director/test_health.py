"""Two vectors per row, as glb-director tests its dampener: outcomes in, verdicts out. Then bursts, with traffic."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from sipbalancer.config.model import CheckConfig, CheckType, RealServerConfig
from sipbalancer.director.evidence import Evidence
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
    "T": ProbeOutcome(ProbeResult.TIMEOUT, "", 0.0, 20, 0.9),
    "R": ProbeOutcome(ProbeResult.REFUSED, "port refused", 0.0, 2, 0.05),
}
"""Small: one packet (a ping). T: a whole silent burst, R: a confirmed refusal."""
VERDICTS = {Verdict.STARTING: "s", Verdict.UP: "U", Verdict.DRAINING: "D", Verdict.DOWN: "-", Verdict.OVERLOADED: "O"}


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
        (1, 1, "oTo", "U-U"),
        (1, 1, "oRo", "U-U"),
        (3, 1, "oTToTTT", "UUUUUU-"),
        (3, 1, "oTRuTTT", "UUUDDD-"),
        (1, 3, "oTooRooo", "U-ss-ssU"),
        (2, 2, "oTTTooTT", "UU--sUU-"),
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


# Bursts, and what traffic says meanwhile. Every burst begins at 1000 and ends at 1001.1.

BEGUN, ENDED = 1000.0, 1001.1
SILENT = LETTERS["T"]._replace(duration=1.1)
REFUSAL = LETTERS["R"]
TRAFFIC: dict[str, Callable[[Evidence, float], object]] = {
    "n": lambda evidence, now: evidence.answered(False, now),  # answers a request outside dialogs
    "d": lambda evidence, now: evidence.answered(True, now),  # answers inside a dialog
    "m": lambda evidence, now: evidence.missed(now),  # a request of ours is unanswered
    "w": lambda evidence, now: setattr(evidence, "own", now),  # a request of its own
}


def burst(traffic: str, subject: Health | None = None, outcome: ProbeOutcome = SILENT, before: str = "") -> Health:
    """Up, then one burst with this traffic `before` it and during it."""
    made = subject or health()
    if subject is None:
        made.probe_result(LETTERS["o"], BEGUN - 10)
    for each in before:
        TRAFFIC[each](made.evidence, BEGUN - 0.5)
    made.evidence.probe_silent(BEGUN)
    for number, each in enumerate(traffic):
        TRAFFIC[each](made.evidence, BEGUN + 0.2 + number * 0.001)
    made.probe_result(outcome, ENDED)
    return made


@pytest.mark.parametrize(
    ("before", "traffic", "verdict"),
    [
        ("", "", "-"),
        ("", "mmmm", "-"),  # one client or many: only what probes say decides
        ("n", "", "-"),  # what it did before is past
        ("", "n", "U"),  # it serves: something eats the probes
        ("mm", "mmn", "U"),
        ("", "dd", "O"),
        ("m", "mdmd", "O"),
        ("", "dn", "U"),
        ("dddd", "", "-"),  # dialogs that were served before the silence
        ("", "d", "U"),  # alive, and too little to say how: asked again at once
        ("", "w", "-"),  # its own requests are no service
        ("w", "", "-"),
    ],
)
def test_a_silent_burst_is_weighed_against_traffic(before: str, traffic: str, verdict: str) -> None:
    assert VERDICTS[burst(traffic, before=before).verdict] == verdict


def test_silence_with_one_answer_inside_a_dialog_is_asked_again_and_the_answers_add_up() -> None:
    subject = burst("d")
    assert (subject.undecided, subject.failures) == (True, 0)
    TRAFFIC["d"](subject.evidence, ENDED + 0.5)
    subject.probe_result(SILENT, ENDED + 1.2)
    assert (subject.verdict, subject.undecided) == (Verdict.OVERLOADED, False)
    dead = burst("d")
    dead.probe_result(SILENT, ENDED + 1.2)
    assert (dead.verdict, dead.undecided) == (Verdict.DOWN, False)


@pytest.mark.parametrize(("outcome", "verdict"), [("o", "U"), ("u", "D"), ("T", "-"), ("R", "-")])
def test_overloaded_ends_by_an_answer_or_by_death(outcome: str, verdict: str) -> None:
    subject = burst("dd")
    assert subject.verdict is Verdict.OVERLOADED
    subject.probe_result(LETTERS[outcome], ENDED + 2)
    assert VERDICTS[subject.verdict] == verdict


def test_overloaded_lasts_while_dialogs_are_served() -> None:
    subject = burst("dd")
    for at in (ENDED + 2, ENDED + 4):
        subject.evidence.probe_silent(at - 1.1)
        for _ in range(2):
            TRAFFIC["d"](subject.evidence, at - 0.5)
        assert subject.probe_result(SILENT, at) is None
    assert (subject.verdict, subject.since) == (Verdict.OVERLOADED, ENDED)


def test_a_refusal_is_believed_whatever_traffic_said() -> None:
    subject = burst("nd", outcome=REFUSAL)
    assert (subject.verdict, subject.refused) == (Verdict.DOWN, True)


def test_a_port_that_refused_has_done_so_though_later_probes_are_only_silent() -> None:
    """Linux sends one port unreachable a second to one host, and requests want theirs too."""
    subject = burst("", outcome=REFUSAL)
    subject.probe_result(SILENT, ENDED + 2)
    assert (subject.verdict, subject.refused) == (Verdict.DOWN, True)


@pytest.mark.parametrize("between", ["o", "b", "u"])
def test_an_answer_ends_what_the_refusal_proved(between: str) -> None:
    subject = burst("", outcome=REFUSAL)
    subject.probe_result(LETTERS[between], ENDED + 2)
    subject.evidence.probe_silent(ENDED + 20)
    subject.probe_result(SILENT, ENDED + 22)
    assert (subject.verdict, subject.refused) == (Verdict.DOWN, False)


def test_a_late_answer_is_life() -> None:
    """A burst ended silent; three seconds later an answer comes."""
    subject = burst("")
    told = subject.probe_result(LETTERS["o"]._replace(latency=3.2), ENDED + 2.2)
    assert told is not None and told.new is Verdict.UP


@pytest.mark.parametrize(
    ("traffic", "letter", "note", "reason"),
    [
        ("", "T", "", "20 probes unanswered in 1.1 s"),
        ("m" * 41, "T", "", "20 probes and 41 requests unanswered in 1.1 s"),
        ("dd", "T", "", "20 probes unanswered, its dialogs are served"),
        ("n", "T", "", "200 OK"),
        (
            "mw",
            "T",
            "",
            "20 probes and 1 requests unanswered in 1.1 s, but its own requests arrive: "
            "firewall or fail2ban on the server?",
        ),
        (
            "",
            "T",
            "cannot be reached: No route to host",
            "20 probes unanswered in 1.1 s: cannot be reached: No route to host",
        ),
        ("", "R", "", "port refused"),
    ],
)
def test_the_reason_says_what_was_unanswered(traffic: str, letter: str, note: str, reason: str) -> None:
    subject = health()
    subject.probe_result(LETTERS["o"], BEGUN - 10)
    subject.evidence.probe_silent(BEGUN)
    for each in traffic:
        TRAFFIC[each](subject.evidence, BEGUN + 0.2)
    subject.probe_result({"T": SILENT, "R": REFUSAL}[letter]._replace(note=note), ENDED)
    assert subject.reason == reason


def test_the_reason_grows_while_it_stays_silent() -> None:
    subject = burst("mm")
    for at in (3.1, 5.1, 7.1):
        subject.evidence.probe_silent(BEGUN + at - 1.1)
        subject.probe_result(SILENT, BEGUN + at)
    assert subject.reason == "80 probes and 2 requests unanswered in 7.1 s"


def test_two_bursts_where_two_failures_are_wanted() -> None:
    subject = health(fall=2)
    subject.probe_result(LETTERS["o"], BEGUN - 10)
    for at in (1.1, 2.4):
        TRAFFIC["m"](subject.evidence, BEGUN + at - 1.2)
        subject.probe_result(SILENT, BEGUN + at)
    assert (subject.verdict, subject.reason) == (Verdict.DOWN, "40 probes and 2 requests unanswered in 2.5 s")


def test_who_refuses_us_and_calls_itself_is_not_gone() -> None:
    """fail2ban refuses by ICMP: the calls on such a server must not be hung up as those of a dead one."""
    subject = burst("", outcome=REFUSAL)
    assert subject.refused
    TRAFFIC["w"](subject.evidence, ENDED + 1)
    subject.probe_result(REFUSAL, ENDED + 2)
    assert not subject.refused
    assert subject.reason == "port refused, but its own requests arrive: firewall or fail2ban on the server?"


def fell(subject: Health, at: float) -> float:
    """Fall at `at`, answer every 0.1 s from then on; how long it was kept from work."""
    subject.probe_result(REFUSAL, at)
    for tick in range(2000):
        if subject.verdict is Verdict.UP:
            return tick / 10
        subject.probe_result(LETTERS["o"], at + (tick + 1) / 10)
    raise AssertionError("for ever")


def test_who_flaps_is_held_back_longer_each_time_and_says_so() -> None:
    subject = health()
    subject.probe_result(LETTERS["o"], BEGUN)
    assert [fell(subject, BEGUN + 20 * number) for number in range(5)] == pytest.approx([0.1, 0.1, 4.0, 8.0, 16.0])
    subject.probe_result(REFUSAL, BEGUN + 100)
    subject.probe_result(LETTERS["o"], BEGUN + 102)
    assert (subject.verdict, subject.reason) == (Verdict.STARTING, "held back 30 s more: down 6 times in 300 s")


def test_the_longest_hold_is_two_minutes() -> None:
    subject = health()
    held = [fell(subject, BEGUN + 130 * number) for number in range(4)]
    assert held[-1] < 120
    for number in range(12):
        subject.probe_result(REFUSAL, BEGUN + 600 + number)
        subject._rising = False
    subject.probe_result(REFUSAL, BEGUN + 700)
    assert subject._held_until - (BEGUN + 700) == 120.0


def test_falls_are_forgotten_after_300_s() -> None:
    subject = health()
    subject.probe_result(LETTERS["o"], BEGUN)
    assert [fell(subject, BEGUN + 20 * number) for number in range(4)][-1] == pytest.approx(8.0)
    assert fell(subject, BEGUN + 60 + 300) == pytest.approx(0.1)


def test_a_row_of_probes_while_down_is_one_fall() -> None:
    subject = health()
    subject.probe_result(LETTERS["o"], BEGUN)
    for number in range(50):
        subject.probe_result(REFUSAL, BEGUN + number)
    subject.probe_result(LETTERS["o"], BEGUN + 60)
    assert subject.verdict is Verdict.UP
