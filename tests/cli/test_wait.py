"""`drain --wait` in a time of its own, against scripted answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sipbalancer.cli import wait as module
from sipbalancer.cli.wait import wait
from sipbalancer.errors import EnvironmentFault

LEFT: dict[str, Any] = {
    "servers": ["192.0.2.1:5060"],
    "leaving": True,
    "safe": False,
    "calls": 2,
    "silent_calls": 0,
    "registrations": 0,
    "transactions": 0,
    "withheld": "",
    "known_at": 0.0,
}
SAFE = {**LEFT, "calls": 0, "safe": True}


class Time:
    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def waited(monkeypatch: pytest.MonkeyPatch, timeout: float | None, *answers: dict[str, Any]) -> tuple[bool, float]:
    """The verdict and how long it took; the last answer is repeated."""
    asked: list[dict[str, object]] = []

    def ask(path: Path, **request: object) -> dict[str, Any]:
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    monkeypatch.setattr(module, "ask", ask)
    time = Time()
    done = wait(Path("x"), "ast1", timeout, time.clock, time.sleep)
    assert asked[0] == {"command": "left", "server": "ast1"}
    return done, time.now


def test_it_returns_when_it_is_safe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert waited(monkeypatch, None, LEFT, LEFT, SAFE) == (True, 1.0)
    assert capsys.readouterr().out == "192.0.2.1:5060: left: 2 calls\n192.0.2.1:5060: safe to stop\n"


def test_it_gives_up_at_the_timeout_and_says_what_is_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert waited(monkeypatch, 3.0, LEFT) == (False, 3.0)
    assert capsys.readouterr().out.endswith("192.0.2.1:5060: left: 2 calls: not safe to stop after 3 s\n")


def test_a_timeout_of_nothing_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert waited(monkeypatch, 0.0, SAFE) == (True, 0.0)
    assert waited(monkeypatch, 0.0, LEFT) == (False, 0.0)


def test_somebody_enables_it_meanwhile(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert waited(monkeypatch, None, LEFT, {**LEFT, "leaving": False}) == (False, 0.5)
    assert capsys.readouterr().out.endswith("it is not drained any more\n")


def test_what_changes_all_the_time_is_not_said_all_the_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = [{**LEFT, "calls": 100 - number} for number in range(60)]
    assert waited(monkeypatch, None, *answers, SAFE) == (True, 30.0)
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_a_balancer_that_goes_away_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(path: Path, **request: object) -> dict[str, Any]:
        raise EnvironmentFault("no balancer answers")

    monkeypatch.setattr(module, "ask", ask)
    with pytest.raises(EnvironmentFault):
        wait(Path("x"), "ast1", None)
