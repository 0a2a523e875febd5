from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from sipbalancer.config.model import CheckConfig, CheckType, Forwarding, RealServerConfig, VirtualServiceConfig
from sipbalancer.daemon.monitorfile import GATHERED_AT_MOST, MonitorFiles, line_of
from sipbalancer.director.verdict import ProbeOutcome, ProbeResult

NOW = 1_700_000_000.0
SERVER = RealServerConfig(host="192.0.2.11", weight=3, forwarding=Forwarding.MASQ)


def line(result: ProbeResult = ProbeResult.OK, text: str = "200 OK", **check: Any) -> str:
    service = VirtualServiceConfig(host="192.0.2.1", check=CheckConfig.model_validate(check))
    return line_of(service, SERVER, ProbeOutcome(result, text), NOW)


def test_ldirectord_s_form() -> None:
    form = r"\[(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})\] \[(\d+)\] (.*) \[(\w+)\] (.*)"
    match = re.fullmatch(form, line())
    assert match is not None
    assert match.groups() == (
        time.ctime(NOW),
        str(os.getpid()),
        "negotiate sip udp 192.0.2.11 5060 3 masq",
        "up",
        "200 OK",
    )


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (ProbeResult.OK, "up"),
        (ProbeResult.UNAVAILABLE, "draining"),
        (ProbeResult.BAD, "down"),
        (ProbeResult.TIMEOUT, "down"),
        (ProbeResult.REFUSED, "down"),
        (ProbeResult.ERROR, "down"),
    ],
)
def test_the_state_is_the_check_s(result: ProbeResult, state: str) -> None:
    assert f" [{state}] " in line(result)


def test_what_would_break_the_line_is_escaped_and_nothing_is_a_dash() -> None:
    assert line(text="a|b\r\nc 5%").endswith("[up] a%7cb%0d%0ac 5%25")
    assert line(text="").endswith("[up] -")


@pytest.mark.parametrize(
    ("check", "begins"),
    [
        ({"checktype": CheckType.MIXED, "mixed_connects": 3}, "combined sip udp"),
        ({"checktype": CheckType.EXTERNAL, "checkcommand": "/bin/x"}, "external /bin/x udp"),
        ({"checktype": CheckType.PING, "checkport": 5070}, "ping udp 192.0.2.11 5060 5070 3"),
        ({"receive": "\\d+"}, "negotiate sip udp 192.0.2.11 5060 3 masq d+"),
    ],
)
def test_other_checks(check: dict[str, Any], begins: str) -> None:
    assert f"] {begins}" in line(**check)


def test_lines_reach_their_files_and_a_rotated_file_is_made_anew(tmp_path: Path) -> None:
    files, path = MonitorFiles(), tmp_path / "checks"
    files.note(str(path), "one")
    files.note(str(path), "two")
    asyncio.run(files.write())
    path.rename(tmp_path / "checks.1")
    files.note(str(path), "three")
    asyncio.run(files.write())
    assert ((tmp_path / "checks.1").read_text(), path.read_text()) == ("one\ntwo\n", "three\n")


def test_a_file_that_cannot_be_written_is_one_warning_per_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files, folder = MonitorFiles(), tmp_path / "missing"

    def write() -> None:
        files.note(str(folder / "checks"), "x")
        files.note(str(tmp_path / "good"), "x")
        asyncio.run(files.write())

    write()
    write()
    assert [record.message for record in caplog.records] == ["monitorfile cannot be written: its lines are lost"]
    folder.mkdir()
    write()
    assert (folder / "checks").read_text() == "x\n"
    assert (tmp_path / "good").read_text() == "x\n" * 3
    (folder / "checks").unlink()
    (folder / "checks").mkdir()
    write()
    assert len(caplog.records) == 2


def test_what_waits_for_the_disk_is_bounded(tmp_path: Path) -> None:
    files = MonitorFiles()
    for _ in range(GATHERED_AT_MOST + 5):
        files.note(str(tmp_path / "f"), "x")
    asyncio.run(files.write())
    assert (tmp_path / "f").read_text().count("\n") == GATHERED_AT_MOST
