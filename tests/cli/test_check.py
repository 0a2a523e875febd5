from __future__ import annotations

import os
from pathlib import Path

import pytest

from sipbalancer.cli.check import check

FILE = """workers = {workers}
virtual = 127.0.0.1:5060
    real = 127.0.0.2 masq
    protocol = udp
virtual = 127.0.0.1:5061
    real = 127.0.0.2 masq
    protocol = udp
    legport = {legport}
"""


def said(folder: Path, workers: str, legport: int) -> str:
    path = folder / "a.cf"
    path.write_text(FILE.format(workers=workers, legport=legport))
    return check(path)


def test_workers_and_their_ports_are_shown(tmp_path: Path) -> None:
    text = said(tmp_path, "3", 20000)
    assert "  workers: 3 processes forward, one more stands by\n" in text
    assert "  virtual 127.0.0.1:5060: servers are asked from, and must reach, ports 15060-15062\n" in text
    assert "  virtual 127.0.0.1:5061: servers are asked from, and must reach, ports 20000-20002\n" in text
    assert "must reach" not in said(tmp_path, "1", 20000)


def test_auto_is_what_this_host_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    text = said(tmp_path, "auto", 15061)
    assert "auto (one per CPU that may be used)" in text
    assert "workers: 2 processes forward" in text
    assert "WARNING: legport: virtual 127.0.0.1:5061 asks servers from ports 15061-15062, but 15061 is taken" in text
