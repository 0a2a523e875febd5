from __future__ import annotations

import json
import logging
import os
import re
import select
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sipbalancer.daemon.log import LOGGER, JsonFormatter, Output, TextFormatter, say


def record(event: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("sipbalancer", logging.WARNING, "x", 1, event, None, None)
    made.fields = fields
    made.created = 1_700_000_000.25
    return made


@pytest.fixture
def output() -> Iterator[Output]:
    made = Output("text")
    yield made
    made.close()


def test_a_text_line() -> None:
    line = TextFormatter().format(record("server changed", server="192.0.2.1:5060", reason='said "no"', latency=0.0123))
    assert line == (
        'time=2023-11-14T22:13:20.250Z level=warning event="server changed" '
        'server=192.0.2.1:5060 reason="said \\"no\\"" latency=0.0123'
    )


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("", '""'),
        ("a b", '"a b"'),
        ("a=b", '"a=b"'),
        ("a\nlevel=error", '"a\\nlevel=error"'),
        ("\x1b[31m", '"\\u001b[31m"'),
        ("\u202e", '"\\u202e"'),
        ("[2001:db8::1]:5060", "[2001:db8::1]:5060"),
    ],
)
def test_values_from_the_network_stay_on_their_line(value: str, written: str) -> None:
    line = TextFormatter().format(record("x", host=value))
    assert line.endswith(f"event=x host={written}")
    assert "\n" not in line


def test_a_json_line() -> None:
    facts = json.loads(JsonFormatter().format(record("x", server="a b", count=3)))
    assert facts == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "warning",
        "event": "x",
        "server": "a b",
        "count": 3,
    }


def test_a_traceback_stays_on_one_line() -> None:
    made = record("x")
    try:
        raise ValueError("boom")
    except ValueError:
        made.exc_info = sys.exc_info()
    assert "\n" not in TextFormatter().format(made)
    assert "ValueError: boom" in json.loads(JsonFormatter().format(made))["traceback"]


def test_standard_error_is_the_default(output: Output, capsys: pytest.CaptureFixture[str]) -> None:
    output.open("")
    say(logging.INFO, "hello", who="there")
    output.close()
    assert re.fullmatch(r"time=\S+ level=info event=hello who=there\n", capsys.readouterr().err)


def test_a_file_can_be_rotated(output: Output, tmp_path: Path) -> None:
    log = tmp_path / "log"
    output.open(str(log))
    say(logging.INFO, "one")
    output.close()
    log.rename(tmp_path / "log.1")
    again = Output("text")
    again.open(str(log))
    say(logging.INFO, "two")
    again.close()
    assert "event=one" in (tmp_path / "log.1").read_text()
    assert "event=two" in log.read_text()


@pytest.mark.parametrize("logfile", ["/nowhere/at/all/log", "notafacility"])
def test_a_place_that_cannot_be_opened_is_a_warning(
    output: Output, logfile: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.open(logfile)
    say(logging.INFO, "still here")
    output.close()
    error = capsys.readouterr().err
    assert f"logfile={logfile}" in error and "level=warning" in error
    assert 'event="still here"' in error


def test_a_stuck_place_loses_lines_and_counts_them(tmp_path: Path) -> None:
    # Nobody reads this pipe: the writing thread takes one line and hangs in it, the queue takes two.
    os.mkfifo(tmp_path / "pipe")
    keep = os.open(tmp_path / "pipe", os.O_RDWR)
    output = Output("text", lines=2)
    output.open(str(tmp_path / "pipe"))
    for _ in range(5):
        say(logging.INFO, "x", padding="x" * 65536)
    assert output.lost >= 2
    os.set_blocking(keep, False)
    drained = threading.Thread(target=_drain, args=(keep,))
    drained.start()
    output.close()
    os.write(keep, b"END")
    drained.join(10)
    os.close(keep)
    assert not drained.is_alive()


def test_a_place_that_stays_stuck_keeps_nobody_from_stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sipbalancer.daemon.log.STUCK", 0.05)
    os.mkfifo(tmp_path / "pipe")
    keep = os.open(tmp_path / "pipe", os.O_RDWR | os.O_NONBLOCK)
    before = set(threading.enumerate())
    output = Output("text", lines=2)
    output.open(str(tmp_path / "pipe"))
    for _ in range(5):
        say(logging.INFO, "x", padding="x" * 65536)
    (writer,) = set(threading.enumerate()) - before
    output.close()
    assert writer.is_alive()
    while writer.is_alive():  # let it go, so that it ends with the test
        if select.select([keep], [], [], 0.01)[0]:
            os.read(keep, 65536)
    os.close(keep)


def _drain(descriptor: int) -> None:
    tail = b""
    while not tail.endswith(b"END"):
        select.select([descriptor], [], [], 5)
        tail = (tail + os.read(descriptor, 65536))[-3:]


def test_close_gives_the_loggers_back(output: Output) -> None:
    output.open("")
    output.close()
    assert LOGGER.handlers == [] and LOGGER.propagate
