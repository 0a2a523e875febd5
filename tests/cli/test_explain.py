from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from sipbalancer.cli.explain import as_datagram, view


@pytest.mark.parametrize(
    ("written", "sent", "notes"),
    [
        (b"A\r\nB: c\r\n\r\n", b"A\r\nB: c\r\n\r\n", 0),
        (b"A\nB: c\n\nbody\n", b"A\r\nB: c\r\n\r\nbody\r\n", 1),
        (b"A\nB: c\n", b"A\r\nB: c\r\n\r\n", 2),
        (b"A\r\nB: c\n\r\n", b"A\r\nB: c\n\r\n", 0),
        (b"\n\n", b"\r\n\r\n", 1),
        (b"", b"", 0),
    ],
)
def test_text_becomes_a_datagram_and_that_is_said(written: bytes, sent: bytes, notes: int) -> None:
    data, said = as_datagram(written)
    assert (data, len(said)) == (sent, notes)


def test_a_page_is_read_from_top_to_bottom() -> None:
    document: dict[str, Any] = {
        "notes": ["a note"],
        "virtual": "v",
        "virtual_by": "the only one",
        "source": "s",
        "source_by": "as given",
        "sender": "a client",
        "facts": [{"name": "Call-ID", "value": "evil\x1b[2J[red]"}],
        "steps": [
            {"link": "token", "chose": False, "why": "no Route"},
            {"link": "scheduler", "chose": True, "why": "rr among x"},
        ],
        "outcome": "goes to server x",
        "sends": [
            {
                "whom": "server x",
                "start_line": "INVITE sip:x SIP/2.0",
                "changes": [{"before": "Max-Forwards: 70", "after": "Max-Forwards: 69"}],
            }
        ],
        "learns": ["a pin"],
    }
    console = Console(width=80, no_color=True, record=True, file=StringIO(), highlight=False)
    console.print(view(document))
    assert [line.strip() for line in console.export_text().splitlines()] == [
        "! a note",
        "datagram",
        "arrives at   v (the only one)",
        "from         s (as given)",
        "which is     a client",
        "Call-ID      evil\\x1b[2J[red]",
        "the way",
        "token        no  no Route",
        "scheduler    yes rr among x",
        "so it",
        "goes to server x",
        "1. to server x",
        "INVITE sip:x SIP/2.0",
        "- Max-Forwards: 70",
        "+ Max-Forwards: 69",
        "and remembers",
        "a pin",
    ]
