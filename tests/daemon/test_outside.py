"""What a running balancer does outside of itself: mails, commands, files; and how a drain is watched to its end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.smtp_server import SmtpServer
from tests.daemon.test_main import REGISTER, Running, SipServer, address, ask, eventually


@pytest.fixture
def servers() -> Iterator[tuple[SipServer, SipServer]]:
    made = SipServer(), SipServer()
    yield made
    for each in made:
        if each._thread.is_alive():
            each.close()


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    made = SmtpServer(address())
    yield made
    made.close()


@pytest.fixture
def running(tmp_path: Path, servers: tuple[SipServer, SipServer]) -> Iterator[Running]:
    made = Running(tmp_path, *servers)
    yield made
    made.close()


def script(path: Path, out: Path) -> str:
    path.write_text(f'#!/bin/sh\necho "$@" >> {out}\n')
    path.chmod(0o755)
    return f'"{path}"'


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_mail_for_each_change_and_a_command_for_the_last_and_the_first(
    running: Running, servers: tuple[SipServer, SipServer], smtp: SmtpServer, tmp_path: Path
) -> None:
    commands, changed, checks = tmp_path / "commands", tmp_path / "changed", tmp_path / "checks"
    running.words |= {
        "emailalert": '"ops@x.example, boss@x.example"',
        "emailalertfrom": "Balancer <sip@x.example>",
        "emailalertstatus": "running",
        "smtp": smtp.place,
        "fallbackcommand": script(tmp_path / "fallback", commands),
        "callback": script(tmp_path / "callback", changed),
    }
    running.write(running.section(running.virtual) + f'\tmonitorfile = "{checks}"\n')
    running.start()
    running.all_up()
    eventually("the start is over", lambda: running.status()["now"] - running.status()["started"] > 2.5)
    first, second = (f"{server.host}:5060" for server in servers)
    virtual = f"{running.virtual}:5060"
    servers[0].close()
    eventually("first mail", lambda: len(smtp.mails) == 1)
    (mail,) = smtp.mails
    assert mail.message["Subject"].startswith(f"real server down: {first} ({virtual}): ")
    assert (mail.sender, mail.recipients) == ("sip@x.example", ("ops@x.example", "boss@x.example"))
    assert lines(commands) == []
    servers[1].close()
    eventually("second mail", lambda: len(smtp.mails) == 2)
    eventually("start", lambda: lines(commands) == [f"start {virtual} udp"])
    again = SipServer.__new__(SipServer)
    restart(again, servers[1].host)
    eventually("third mail", lambda: len(smtp.mails) == 3)
    assert smtp.mails[2].message["Subject"].startswith(f"real server up: {second} ({virtual}): 200 OK")
    eventually("stop", lambda: lines(commands) == [f"start {virtual} udp", f"stop {virtual} udp"])
    again.close()
    states = {line.partition("gate ")[2].partition("masq ")[2] or line for line in lines(checks)}
    assert any(f" {servers[1].host} 5060 1 masq [up] 200 OK" in line for line in lines(checks)), states
    assert any(f" {servers[0].host} 5060 1 masq [down] " in line for line in lines(checks)), states
    running.file.write_text(running.file.read_text() + "nonsense\n")
    eventually("callback without autoreload", lambda: lines(changed) == [str(running.file)])
    running.hup()
    running.says("reload failed, nothing changed")
    running.file.write_text(running.file.read_text() + "worse\n")
    running.hup()
    eventually("callback after a failed reload", lambda: lines(changed) == [str(running.file)] * 2)
    assert running.stop() == 0
    assert "Traceback" not in running.said()


def restart(server: SipServer, host: str) -> None:
    """A server at an address that was used before."""
    import socket
    import threading

    server.host, server.heard = host, []
    server._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server._sock.bind((host, 5060))
    server._thread = threading.Thread(target=server._run)
    server._thread.start()


def test_a_file_in_the_maintenance_folder_drains_and_its_removal_ends_it(
    running: Running, servers: tuple[SipServer, SipServer], tmp_path: Path
) -> None:
    folder = tmp_path / "maintenance"
    folder.mkdir()
    running.words["maintenancedir"] = str(folder)
    running.write(running.section(running.virtual))
    running.start()
    running.all_up()
    name = servers[0].host
    (folder / name).touch()
    eventually("draining", lambda: running.verdicts()[f"{name}:5060"] == "draining")
    running.says(f'event="server draining" server={name}:5060 old=up reason="maintenancedir file {name}"')
    (folder / name).unlink()
    eventually("up again", lambda: running.verdicts()[f"{name}:5060"] == "up")
    assert running.stop() == 0


def wait(running: Running, server: str, timeout: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "sipbalancer", "drain", server, "--wait", "--timeout", timeout]
    done = subprocess.run(
        [*command, "--admin", str(running.admin)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_drain_is_waited_for_until_its_registrations_have_moved(
    running: Running, servers: tuple[SipServer, SipServer]
) -> None:
    running.words |= {"calltimeout": "1", "maxexpires": "60", "persistent": "1"}
    persistent = running.words.pop("persistent")
    running.write(running.section(running.virtual) + f"\tpersistent = {persistent}\n")
    running.start()
    running.all_up()
    assert ask(running.virtual, REGISTER).startswith("SIP/2.0 200")
    where = json.loads(running.cli("where", f"100@{running.virtual}", "--json"))
    home = where[0]["server"]
    code, text = wait(running, home, "1")
    assert code == 1
    assert "left: 1 registration" in text and text.endswith("not safe to stop after 1 s\n")
    assert "not known to be safe: first start with this state folder" in text
    drain = next(each["drain"] for each in running.status()["services"][0]["servers"] if each["server"] == home)
    assert (drain["safe"], bool(drain["withheld"])) == (False, True)
    assert f'sipbalancer_drain_safe{{real="{home}",virtual="{running.virtual}:5060"}} 0.0' in running.get("/metrics")[1]
    assert ask(running.virtual, REGISTER).startswith("SIP/2.0 200")
    moved = json.loads(running.cli("where", f"100@{running.virtual}", "--json"))
    assert moved[0]["server"] not in ("", home)
    assert running.stop() == 0


def test_safe_to_stop_ends_the_wait(running: Running, servers: tuple[SipServer, SipServer]) -> None:
    """The pins are made to have begun long ago."""
    running.start(python=("import sipbalancer.director.drain as drain\ndrain._unknowable = lambda *args: ('', 0.0)"))
    running.all_up()
    home = f"{servers[0].host}:5060"
    code, text = wait(running, home, "20")
    assert (code, text.splitlines()[-1]) == (0, f"{home}: safe to stop")
    assert "safe to stop" in running.cli("status")
    assert running.cli("enable", home).startswith(f"{home}: draining -> up")
    assert running.stop() == 0
