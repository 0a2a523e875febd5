"""What the demo shows."""

from __future__ import annotations

from collections import Counter

from rich.console import Console, RenderableType

from sipbalancer.demo import view
from sipbalancer.demo.ledger import Tally, count

EMPTY = count([], [], finished=True)
SERVER = {"server": "127.0.0.11:5060", "verdict": "down", "reason": "port refused", "latency": 0.0015}
STATUS = {"services": [{"servers": [SERVER | {"calls": 3, "registrations": 10, "requests_per_second": 1.25}]}]}


def text_of(shown: RenderableType) -> str:
    console = Console(width=160, no_color=True)
    with console.capture() as capture:
        console.print(shown)
    return capture.get()


def frame(status: dict[str, object] | None, tally: Tally = EMPTY) -> view.Frame:
    return view.Frame(12.0, 45.0, "title", ["server1"], status, tally, 4, [f"event {n}" for n in range(20)])


def test_live_shows_servers_numbers_and_the_newest_events() -> None:
    shown = text_of(view.live(frame(dict(STATUS))))
    assert "server1 127.0.0.11:5060" in shown
    assert "port refused" in shown
    assert "1.5 ms" in shown
    assert "4 talking" in shown
    assert "event 19" in shown
    assert "event 3" not in shown


def test_a_line_says_the_same_and_does_without_a_status() -> None:
    assert "server1 down 10 reg 3 calls" in view.line(frame(dict(STATUS)))
    assert "no status" in view.line(frame(None))


def test_summary_names_every_loss() -> None:
    tally = EMPTY._replace(calls=5, calls_lost=2, refusals=Counter({"503 refused": 2}), strangers=1, doubles=1)
    shown = text_of(view.summary(tally, 45.0))
    assert "lost: 2 calls: 503 refused" in shown
    assert "1 phones were not registered" in shown
    assert "answered by two servers" in shown
    assert "SOMETHING WAS LOST" in shown
    assert "nothing was lost" in text_of(view.summary(EMPTY, 45.0))
