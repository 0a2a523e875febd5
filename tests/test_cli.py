from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sipbalancer import __version__
from sipbalancer.cli import ask, commands, explain, main, status
from sipbalancer.compiled import runs
from sipbalancer.errors import AdminError, EnvironmentFault

GOOD = "virtual = 127.0.0.10:5060\n\treal = 127.0.0.1:5070 masq\n"


def called(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, list[str]]:
    """Exit status, standard output, lines of standard error."""
    try:
        code = main(argv)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else -1
    out, err = capsys.readouterr()
    return code, out, err.splitlines()


def answers(monkeypatch: pytest.MonkeyPatch, answer: Any) -> list[dict[str, Any]]:
    """Every question to the admin socket gets this answer; the questions."""
    asked: list[dict[str, Any]] = []

    def fake(path: Path, **request: Any) -> Any:
        asked.append({"path": str(path), **request})
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(ask, "ask", fake)
    monkeypatch.setattr(status, "ask", fake)
    monkeypatch.setattr(explain, "ask", fake)
    return asked


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert called(capsys, "--version") == (0, f"sipbalancer {__version__} ({runs()})\n", [])


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("chek",),
        ("check",),
        ("--loud",),
        ("check", "a", "b"),
        ("status", "--loud"),
        ("status", "extra"),
        ("run", "x", "--log", "xml"),
        ("drain",),
        ("where",),
        ("status", "--admin", "a", "--config", "b"),
    ],
)
def test_bad_usage_is_one_line_and_2(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    code, out, err = called(capsys, *argv)
    assert (code, out, len(err)) == (2, "", 1)
    assert err[0].startswith("sipbalancer") and "--help" in err[0]


def test_check_prints_what_it_understood(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "good.cf"
    path.write_text(GOOD)
    code, out, err = called(capsys, "check", str(path))
    assert (code, err) == (0, [])
    assert "127.0.0.10:5060" in out and "127.0.0.1:5070" in out
    assert "on this host" not in out


def test_check_shouts_when_the_address_is_elsewhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "good.cf"
    path.write_text(GOOD.replace("127.0.0.10", "192.0.2.10"))
    code, out, _ = called(capsys, "check", str(path))
    assert code == 0
    assert "WARNING: virtual 192.0.2.10:5060: 192.0.2.10 IS NOT ON THIS HOST" in out


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_bad_file_shows_all_its_errors_and_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str
) -> None:
    path = tmp_path / "bad.cf"
    path.write_text(GOOD + "\tscheduler = fastest\n\treal = nowhere:99999 masq\n")
    code, out, err = called(capsys, command, str(path))
    assert (code, out) == (2, "")
    assert [line.split(": ")[1] for line in err] == [f"{path}:3", f"{path}:4"]


@pytest.mark.parametrize("command", ["check", "run"])
def test_a_missing_file_is_one_line_and_2(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    code, _, err = called(capsys, command, str(tmp_path / "missing.cf"))
    assert (code, err) == (2, [f"sipbalancer: {tmp_path}/missing.cf: cannot be read: no such file or directory"])


def test_explain_asks_the_balancer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "one.sip"
    path.write_bytes(b"X")
    asked = answers(monkeypatch, {"notes": [], "outcome": "x"})
    code, out, _ = called(capsys, "explain", "--json", "--admin", "/x", "--from", "192.0.2.1:9", str(path))
    assert (code, json.loads(out)) == (0, {"notes": [], "outcome": "x"})
    assert asked == [{"path": "/x", "command": "explain", "datagram": "WA==", "from": "192.0.2.1:9", "virtual": ""}]


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (("--from", "x", "INPUT", "--file", "CONFIG"), "from: x: write an address and a port"),
        (("--virtual", "192.0.2.9", "INPUT", "--file", "CONFIG"), "virtual: 192.0.2.9 is none of 127.0.0.10:5060"),
        (("/nonexistent/x", "--file", "CONFIG"), "/nonexistent/x: cannot be read: no such file or directory"),
        (("LARGE", "--file", "CONFIG"), "more than 65535 bytes"),
        (("INPUT", "--file", "/nonexistent/y"), "/nonexistent/y: cannot be read"),
        (("INPUT", "--file", "CONFIG", "--admin", "x"), "not allowed with"),
    ],
)
def test_explain_refuses_in_one_line_with_2(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, argv: tuple[str, ...], complaint: str
) -> None:
    files = {"CONFIG": GOOD.encode(), "INPUT": b"OPTIONS sip:x SIP/2.0\n", "LARGE": b"x" * 65536}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    code, out, err = called(capsys, "explain", *(str(tmp_path / word) if word in files else word for word in argv))
    assert (code, out, len(err)) == (2, "", 1) and complaint in err[0]


def test_explain_of_the_file_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file, path = tmp_path / "good.cf", tmp_path / "one.sip"
    file.write_text(f'state = "{tmp_path}"\n' + GOOD)
    path.write_text("hello\n")
    code, out, _ = called(capsys, "explain", "--file", str(file), str(path))
    assert code == 0
    assert "! line ends: LF, taken as CRLF" in out and "malformed, the first line is no `METHOD URI" in out
    answers(monkeypatch, EnvironmentFault("no balancer answers at /x: start one"))
    code, out, _ = called(capsys, "explain", "--config", str(file), str(path))
    assert code == 0 and [line.strip() for line in out.splitlines()[2:4]] == [
        "! no balancer answers at /x",
        "! no balancer was asked: this is the file alone, all servers taken for up, nothing pinned or registered",
    ]
    assert not (tmp_path / "secret").exists()


def test_status_as_json(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, {"services": []})
    assert called(capsys, "status", "--json", "--admin", "/x/y") == (0, '{"services": []}\n', [])
    assert asked == [{"path": "/x/y", "command": "status"}]


def test_the_socket_is_found_by_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "good.cf"
    path.write_text('admin = "/somewhere/else.sock"\n' + GOOD)
    asked = answers(monkeypatch, {"services": []})
    called(capsys, "status", "--json", "--config", str(path))
    called(capsys, "status", "--json")
    assert [each["path"] for each in asked] == ["/somewhere/else.sock", "/run/sipbalancer/admin.sock"]


def test_no_balancer_is_one_line_and_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, EnvironmentFault("no balancer answers at /x"))
    for argv in (("status",), ("status", "--watch"), ("where", "100"), ("drain", "x"), ("enable", "x")):
        assert called(capsys, *argv) == (1, "", ["sipbalancer: no balancer answers at /x"])


def test_a_refusal_is_one_line_and_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, AdminError("ast9: no such server; did you mean ast1?"))
    code, _, err = called(capsys, "drain", "ast9")
    assert (code, err) == (1, ["sipbalancer: ast9: no such server; did you mean ast1?"])


def test_drain_and_enable(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    asked = answers(monkeypatch, {"transitions": [], "drained": []})
    for command in ("drain", "enable"):
        assert called(capsys, command, "ast1") == (0, "no verdict changed\n", [])
    assert [(each["command"], each["server"]) for each in asked] == [("drain", "ast1"), ("enable", "ast1")]
    assert called(capsys, "drain", "ast1", "--vouch")[0] == 0
    assert [each.get("vouch") for each in asked] == [False, None, True]


def test_where_knows_or_not(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"virtual": "v", "server": "s", "expires": 5.0, "contacts": []}
    answers(monkeypatch, [entry])
    code, out, _ = called(capsys, "where", "100", "--json")
    assert (code, json.loads(out)) == (0, [entry])
    answers(monkeypatch, [])
    code, out, _ = called(capsys, "where", "100")
    assert (code, out.strip()) == (1, "100: no registration is known")


def test_watch_goes_on_until_ctrl_c(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, {"services": []})
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("sipbalancer.cli.status.time.sleep", sleep)
    code, out, err = called(capsys, "status", "--watch", "--json")
    assert (code, out.splitlines(), err) == (0, ['{"services": []}'] * 3, [])
    assert slept == [1.0] * 3


def test_the_demo_reads_its_own_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    import sipbalancer.demo.main

    seen: list[object] = []

    def demo(rest: list[str]) -> int:
        seen.append(rest)
        return 7

    monkeypatch.setattr(sipbalancer.demo.main, "main", demo)
    assert main(["demo", "--asterisk", "--help"]) == 7
    assert seen == [["--asterisk", "--help"]]


def test_every_command_is_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = called(capsys, "--help")
    assert code == 0
    assert [command.word for command in commands.COMMANDS if command.word not in out] == []


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "good.cf"
    path.write_text(GOOD)
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "sipbalancer", "check", str(path)]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")
