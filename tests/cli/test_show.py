from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from sipbalancer.cli.show import change_text, clock, left_text, plain, span, status_view, where_view

SERVER: dict[str, Any] = {
    "name": "ast1 (192.0.2.1:5060)",
    "server": "192.0.2.1:5060",
    "verdict": "draining",
    "reason": "503 Service Unavailable",
    "since": 940.0,
    "latency": 0.0123,
    "weight": 2,
    "fallback": False,
    "drained": True,
    "calls": 3,
    "registrations": 41,
    "requests_per_second": 12.34,
}
DOCUMENT: dict[str, Any] = {
    "version": "1.2.3",
    "runs": "compiled",
    "file": "/etc/sipbalancer.cf",
    "now": 1000.0,
    "started": 0.0,
    "reloads": {"ok": 1, "failed": 0},
    "notes": ["running on memory alone"],
    "services": [
        {
            "virtual": "192.0.2.10:5060",
            "scheduler": "wrr",
            "notes": ["192.0.2.10:5060 IS NOT ON THIS HOST"],
            "pins": {"call": 3, "ended": 0, "binding": 41},
            "servers": [SERVER],
        }
    ],
}


def shown(view: Any, width: int = 160) -> str:
    console = Console(width=width, no_color=True, record=True, file=StringIO(), highlight=False)
    console.print(view)
    return console.export_text()


def test_a_row_has_all_that_is_asked_at_three_in_the_morning() -> None:
    rows = [line for line in shown(status_view(DOCUMENT)).splitlines() if "192.0.2.1:5060" in line]
    cells = [cell.strip() for cell in rows[0].split("│")[1:-1]]
    assert cells == [
        "ast1 (192.0.2.1:5060) drained",
        "draining",
        "503 Service Unavailable",
        "00:15:40Z 1m 0s",
        "12.3 ms",
        "2",
        "3",
        "41",
        "12.3",
    ]


def test_the_title_names_the_pins_there_are() -> None:
    assert "192.0.2.10:5060  wrr  pins: call 3, binding 41\n" in "".join(
        f"{line.strip()}\n" for line in shown(status_view(DOCUMENT)).splitlines()
    )


def test_notes_come_first() -> None:
    lines = shown(status_view(DOCUMENT)).splitlines()
    assert [line.strip() for line in lines[:2]] == [
        "! running on memory alone",
        "! 192.0.2.10:5060 IS NOT ON THIS HOST",
    ]


def test_failed_reloads_are_said() -> None:
    assert "failed" not in shown(status_view(DOCUMENT))
    assert "2 reloads failed: see the log" in shown(status_view({**DOCUMENT, "reloads": {"failed": 2}}))


def test_a_server_named_by_its_address_and_one_never_probed() -> None:
    server = {**SERVER, "name": SERVER["server"], "latency": 0.0, "fallback": True, "drained": False}
    service = {**DOCUMENT["services"][0], "servers": [server]}
    text = shown(status_view({**DOCUMENT, "services": [service]}))
    assert "│ 192.0.2.1:5060 fallback │" in text
    assert "│       - │" in text


def test_what_the_network_says_does_not_reach_the_terminal() -> None:
    server = {**SERVER, "reason": "200 \x1b[2J[red]OK[/red]\u202e"}
    text = shown(status_view({**DOCUMENT, "services": [{**DOCUMENT["services"][0], "servers": [server]}]}))
    assert "200 \\x1b[2J[red]OK[/red]\\x202e" in text
    assert plain("a\nb\udcff") == "a\\x0ab\\xdcff"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-5, "0s"), (8.9, "8s"), (60, "1m 0s"), (3725, "1h 2m"), (3600, "1h 0m"), (90061, "1d 1h")],
)
def test_span(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_where() -> None:
    contacts = [
        {"uri": "sip:100@198.51.100.7:5062", "client": "198.51.100.7:5062", "expires": 61.0},
        {"uri": "sip:100@198.51.100.8", "client": "198.51.100.8:5060", "expires": 5.0},
    ]
    entry = {"virtual": "v", "server": "192.0.2.1:5060", "expires": 300.0, "contacts": contacts}
    text = shown(where_view("100@pbx", [entry]))
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "sip:100" in line]
    assert rows == [
        ["v", "192.0.2.1:5060", "sip:100@198.51.100.7:5062", "198.51.100.7:5062", "1m 1s"],
        ["v", "192.0.2.1:5060", "sip:100@198.51.100.8", "198.51.100.8:5060", "5s"],
    ]


def test_where_with_a_pin_alone_and_with_nothing() -> None:
    entry: dict[str, Any] = {"virtual": "v", "server": "192.0.2.1:5060", "expires": 300.0, "contacts": []}
    assert "5m 0s" in shown(where_view("100", [entry]))
    assert "100: no registration is known" in shown(where_view("100", []))


def test_what_a_drain_did() -> None:
    result = {
        "transitions": [{"server": "s1", "old": "up", "new": "draining", "reason": "drained by the operator"}],
        "drained": [{"server": "s1", "calls": 3, "registrations": 41}],
    }
    assert change_text(result).splitlines() == [
        "s1: up -> draining (drained by the operator)",
        "s1 is drained: 3 calls and 41 registrations on it",
        "registrations leave with their next refresh; status says when it is safe to stop (drain --wait)",
    ]
    assert change_text({"transitions": [], "drained": []}) == "no verdict changed"


LEFT: dict[str, Any] = {
    "safe": False,
    "calls": 0,
    "registrations": 0,
    "transactions": 0,
    "silent_calls": 0,
    "withheld": "",
    "known_at": 0.0,
}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"safe": True}, "safe to stop"),
        ({"calls": 1, "registrations": 2}, "left: 1 call, 2 registrations"),
        ({"calls": 3, "silent_calls": 1}, "left: 3 calls; 1 call silent for over an hour"),
        ({"calls": 3, "silent_calls": None}, "left: 3 calls"),
        ({"transactions": 1}, "left: 1 transaction"),
        (
            {"withheld": "the pins began empty", "known_at": 4600.0},
            "nothing counted is left; not known to be safe: the pins began empty (known in 1h 0m)",
        ),
        ({"withheld": "too small"}, "nothing counted is left; not known to be safe: too small"),
    ],
)
def test_what_is_left(change: dict[str, Any], text: str) -> None:
    assert left_text({**LEFT, **change}, 1000.0) == text


def test_status_says_what_is_left_on_a_draining_server() -> None:
    drain = {"safe": False, "silent_calls": 1, "withheld": "", "known_at": 0.0}
    for added, text in ((drain, "left: 3 calls, 41 registrations"), ({**drain, "safe": True}, "safe to stop")):
        service = {**DOCUMENT["services"][0], "servers": [{**SERVER, "transactions": 0, "drain": added}]}
        words = " ".join(shown(status_view({**DOCUMENT, "services": [service]})).replace("│", " ").split())
        assert all(word in words for word in text.split()), words


def test_eighty_columns_hold_every_number_and_the_reasons_stand_below() -> None:
    down = {**SERVER, "name": "203.0.113.199:15060", "server": "203.0.113.199:15060", "verdict": "down"}
    down = {**down, "reason": "20 probes and 41 requests unanswered in 1.4 s", "drained": False}
    fine = {**SERVER, "verdict": "up", "reason": "200 OK", "drained": False}
    text = shown(status_view({**DOCUMENT, "services": [{**DOCUMENT["services"][0], "servers": [fine, down]}]}), 80)
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(len, lines)) <= 80
    heading = next(line.split() for line in lines if line.startswith("server"))
    assert heading == ["server", "verdict", "since", "latency", "weight", "calls", "regs", "req/s"]
    row = next(line.split() for line in lines if line.startswith("203.0.113.199:15060"))
    assert row == ["203.0.113.199:15060", "down", "1m", "0s", "12.3", "ms", "2", "3", "41", "12.3"]
    said = " ".join(text[text.index("  203.0.113.199:15060 down since") :].split())
    assert said.startswith(
        "203.0.113.199:15060 down since 00:15:40Z: 20 probes and 41 requests unanswered in 1.4 s sipbalancer 1.2.3"
    )
    assert "200 OK" not in text


def test_a_moment_is_written_as_in_the_log() -> None:
    assert clock(940.0, 1000.0) == "00:15:40Z"
    assert clock(0.0, 72000.0) == "1970-01-01 00:00Z"


def test_a_pool_with_nobody_up_is_said_on_top() -> None:
    service = DOCUMENT["services"][0]
    assert "! 192.0.2.10:5060: none of 1 server is up: whatever is new is in danger" in shown(status_view(DOCUMENT))
    fallback = {**SERVER, "fallback": True, "verdict": "up"}
    text = shown(status_view({**DOCUMENT, "services": [{**service, "servers": [SERVER, fallback]}]}))
    assert "none of 1 server is up: the fallback server gets what is new" in text
    drained = {**service, "last_resort": ["pbx1", "pbx2"]}
    text = shown(status_view({**DOCUMENT, "services": [drained]}))
    assert "none of 1 server is up: pbx1, pbx2 get what is new, though draining" in text
    up = {**SERVER, "verdict": "up"}
    assert "is up" not in shown(status_view({**DOCUMENT, "services": [{**service, "servers": [SERVER, up]}]}))


def test_where_on_a_narrow_terminal() -> None:
    contacts = [{"uri": "sip:100@198.51.100.7:5062;ob", "client": "198.51.100.7:5062", "expires": 61.0}]
    entry = {"virtual": "192.0.2.10:5060", "server": "192.0.2.1:5060", "expires": 300.0, "contacts": contacts}
    lines = [line.rstrip() for line in shown(where_view("100@pbx", [entry]), 80).splitlines()]
    assert lines == [
        "100@pbx",
        "  at 192.0.2.10:5060: server 192.0.2.1:5060",
        "    sip:100@198.51.100.7:5062;ob from 198.51.100.7:5062, expires in 1m 1s",
    ]


def test_workers_are_listed_where_there_are_any() -> None:
    workers = [
        {"worker": 0, "pid": 4711, "since": 940.0, "restarts": 2, "messages_per_second": 812.25,
         "share": 0.508, "cpu": 0.31},
        {"worker": 1, "pid": 0, "since": 990.0, "restarts": 0, "messages_per_second": 0.0, "share": 0.492, "cpu": 0.0},
    ]  # fmt: skip
    text = shown(status_view({**DOCUMENT, "workers": workers}))
    rows = [line.split() for line in text.splitlines()]
    assert ["0", "4711", "1m", "0s", "812.2", "50.8%", "31%", "2"] in rows
    assert ["1", "none", "10s", "0.0", "49.2%", "0%", "0"] in rows
    assert "restarts" not in shown(status_view({**DOCUMENT, "workers": []}))
