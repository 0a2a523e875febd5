from __future__ import annotations

from typing import Any

import pytest

from sipbalancer.config.model import RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon.alerts import RELOADING, RUNNING, STARTING, Alerts, ServerView, ServiceView
from sipbalancer.director.verdict import Verdict

UP, DOWN, DRAINING, RISING = Verdict.UP, Verdict.DOWN, Verdict.DRAINING, Verdict.STARTING
VIRTUAL = "192.0.2.10:5060"


def view(*verdicts: Verdict, standby: bool = False, **words: Any) -> ServiceView:
    fallback = RealServerConfig(host="192.0.2.99")
    config = VirtualServiceConfig.model_validate(
        {"host": "192.0.2.10", "emailalert": "a@x", "smtp": "mx", "fallback": fallback, **words}
    )
    servers = (ServerView(f"s{number}", f"s{number}", each, "why") for number, each in enumerate(verdicts, 1))
    return ServiceView(config, standby, tuple(servers))


def subjects(alerts: Alerts, *views: ServiceView, state: str = RUNNING, now: float = 0.0) -> list[str]:
    """Look at these in turn; the subjects of the letters after that."""
    for each in views:
        alerts.look([each], state, now)
    return [letter.subject for letter in alerts.letters("", state)]


def started(**words: Any) -> Alerts:
    alerts = Alerts()
    assert subjects(alerts, view(UP, UP, **words), state=STARTING) != []
    return alerts


def test_a_letter_when_a_server_goes_and_one_when_it_is_back() -> None:
    alerts = started()
    assert subjects(alerts, view(DOWN, UP)) == [f"real server down: s1 ({VIRTUAL}): why"]
    assert subjects(alerts, view(DOWN, UP)) == []
    assert subjects(alerts, view(RISING, UP)) == [], "not yet back"
    assert subjects(alerts, view(UP, UP)) == [f"real server up: s1 ({VIRTUAL}): why"]
    assert subjects(alerts, view(DRAINING, UP)) == [f"real server draining: s1 ({VIRTUAL}): why"]


def test_what_happens_between_two_letters_is_in_one() -> None:
    alerts = started()
    alerts.look([view(DOWN, UP)], RUNNING, 0.0)
    alerts.look([view(UP, DOWN)], RUNNING, 0.0)
    (letter,) = alerts.letters("me@x", RUNNING)
    assert letter.subject == f"real servers up: s1; down: s2 ({VIRTUAL})", "what it came to, each server once"
    lines = [line for line in letter.text.splitlines() if line.startswith("real server ")]
    assert [line[:20] for line in lines] == ["real server down: s1", "real server up: s1 (", "real server down: s2"]
    assert letter.text.count("real server ") == 3 and "Daemon-Status: running\n" in letter.text
    assert (letter.to, letter.sender, letter.smtp) == ("a@x", "me@x", "mx")


def test_a_server_that_fell_and_came_back_before_the_letter_is_back_in_its_subject() -> None:
    alerts = started()
    assert subjects(alerts, view(DOWN, UP), view(UP, UP)) == [f"real server up: s1 ({VIRTUAL}): why"]


def test_a_crowd_is_counted_in_the_subject_and_named_in_the_text() -> None:
    alerts = Alerts()
    alerts.look([view(*[DOWN] * 9, servicename="Office", comment="Ring Bob")], RUNNING, 0.0)
    (letter,) = alerts.letters("", RUNNING)
    assert letter.subject == f"[Office] real servers down: s1, s2, s3 and 6 more ({VIRTUAL})"
    assert all(f"down: s{number} " in letter.text for number in range(1, 10))
    assert "0 of 9 real servers" in letter.text and "the fallback 192.0.2.99:5060 takes the work" in letter.text
    assert "Service name: Office\nComment: Ring Bob\n" in letter.text


def test_again_while_it_stays_down() -> None:
    alerts = started(emailalertfreq=60)
    gone = view(DOWN, UP, emailalertfreq=60)
    assert len(subjects(alerts, gone, now=0.0)) == 1
    assert subjects(alerts, gone, now=59.0) == []
    assert subjects(alerts, gone, now=60.0) == [f"real server still down: s1 ({VIRTUAL}): why"]
    assert subjects(alerts, gone, now=100.0) == []
    assert len(subjects(alerts, gone, now=121.0)) == 1
    assert len(subjects(alerts, view(UP, UP, emailalertfreq=60), now=122.0)) == 1
    assert subjects(alerts, view(UP, UP, emailalertfreq=60), now=999.0) == []


def test_a_drained_server_is_not_told_again() -> None:
    alerts = started(emailalertfreq=60)
    assert len(subjects(alerts, view(DRAINING, UP, emailalertfreq=60))) == 1
    assert subjects(alerts, view(DRAINING, UP, emailalertfreq=60), now=600.0) == []


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ("all", [True, True, True, True]),
        ("none", [False] * 4),
        ("running", [False, True, False, False]),
        ("starting,reloading", [True, False, True, False]),
        ("stopping", [False, False, False, True]),
    ],
)
def test_the_states_of_the_daemon_in_which_letters_are_written(states: str, told: list[bool]) -> None:
    words: dict[str, Any] = {"emailalertstatus": states}
    alerts = Alerts()
    found = [
        bool(subjects(alerts, view(UP, **words), state=STARTING)),
        bool(subjects(alerts, view(DOWN, **words), state=RUNNING)),
        bool(subjects(alerts, view(UP, **words), state=RELOADING)),
    ]
    alerts.stop([view(UP, **words)])
    assert [*found, bool(alerts.letters("", "stopping"))] == told


def test_a_server_that_left_the_file() -> None:
    alerts = started()
    assert subjects(alerts, view(UP), state=RELOADING) == [
        f"real server removed: s2 ({VIRTUAL}): no longer in the file"
    ]
    alerts.look([], RELOADING, 0.0)
    assert [letter.subject for letter in alerts.letters("", RELOADING)] == [
        f"real server removed: s1 ({VIRTUAL}): no longer in the file"
    ]


def test_a_standby_writes_nothing_and_tells_no_old_news_when_it_is_live() -> None:
    alerts = Alerts()
    assert subjects(alerts, view(UP, UP, standby=True), view(DOWN, UP, standby=True)) == []
    assert subjects(alerts, view(DOWN, UP)) == []
    assert len(subjects(alerts, view(UP, UP))) == 1


def test_nobody_to_write_to() -> None:
    alerts = started(emailalert="a@x")
    assert subjects(alerts, view(DOWN, UP, emailalert="")) == []
