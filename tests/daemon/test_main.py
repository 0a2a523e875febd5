"""The whole program as an operator runs it: a process of its own, on addresses of 127/8 that nobody else uses."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sipbalancer.compiled import runs
from sipbalancer.config.model import Config
from sipbalancer.daemon.main import _at_start_only, _finished

T = TypeVar("T")

PATIENCE = 20.0
NET = f"127.{64 + os.getpid() % 128}.{os.getpid() // 128 % 256}"
"""Tests that run side by side do not meet."""
HOSTS = itertools.count(1)


def address() -> str:
    return f"{NET}.{next(HOSTS)}"


def eventually(what: str, ask: Callable[[], T]) -> T:
    """The first true answer; TimeoutError after twenty seconds."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = ask()
        if found:
            return found
        threading.Event().wait(0.02)
    raise TimeoutError(what)


class SipServer:
    """Answers every request 200, a REGISTER with its Contact for an hour, until it is closed."""

    def __init__(self) -> None:
        self.host = address()
        self.heard: list[bytes] = []
        self._sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._sock.bind((self.host, 5060))
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            data, client = self._sock.recvfrom(65536)
            if data == b"end":
                return
            self.heard.append(data)
            self._sock.sendto(self._answer(data), client)

    @staticmethod
    def _answer(request: bytes) -> bytes:
        kept = re.findall(rb"(?im)^(?:via|from|to|call-id|cseq|contact):.*\r\n", request)
        lines = [line[:-2] + b";expires=3600\r\n" if line.lower().startswith(b"contact") else line for line in kept]
        return b"SIP/2.0 200 OK\r\n" + b"".join(lines) + b"Content-Length: 0\r\n\r\n"

    def close(self) -> None:
        self._sock.sendto(b"end", (self.host, 5060))
        self._thread.join(PATIENCE)
        self._sock.close()


class Running:
    """A balancer with its file, its log and its supervisor's socket."""

    def __init__(self, folder: Path, *servers: SipServer) -> None:
        self.folder = folder
        self.virtual = address()
        self.servers = servers
        self.file = folder / "test.cf"
        self.log = folder / "log"
        self.admin = folder / "admin.sock"
        self.words = {
            "metrics": f"127.0.0.1:{free_port()}",
            "admin": f'"{self.admin}"',
            "state": f'"{folder / "state"}"',
            "registrations": "1000",
            "calls": "100",
        }
        self.supervisor = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.supervisor.bind(str(folder / "notify"))
        self.supervisor.settimeout(PATIENCE)
        self.process: subprocess.Popen[bytes] | None = None
        self.write(self.section(self.virtual))

    def section(self, virtual: str) -> str:
        reals = "".join(f"\treal = {server.host}:5060 masq\n" for server in self.servers)
        return f"virtual = {virtual}:5060\n{reals}\tservice = sip\n\tprotocol = udp\n\tcheckinterval = 0.2\n"

    def write(self, *sections: str) -> None:
        top = "".join(f"{word} = {value}\n" for word, value in self.words.items())
        self.file.write_text(top + "".join(sections))

    def launch(self, *flags: str, python: str = "") -> subprocess.Popen[bytes]:
        """`python` is run before the program begins."""
        environ = {**os.environ, "NOTIFY_SOCKET": str(self.folder / "notify")}
        with self.log.open("ab") as log:
            program = f"{python}\nfrom sipbalancer.cli import main\nraise SystemExit(main())"
            command = [sys.executable, "-c", program, "run", str(self.file), *flags]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environ)
        return self.process

    def start(self, *flags: str, python: str = "") -> None:
        self.launch(*flags, python=python)
        self.told("READY=1")

    def told(self, word: str) -> str:
        """The next message to the supervisor, which must begin so."""
        message = self.supervisor.recv(4096).decode()
        assert message.startswith(word), message
        return message

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(PATIENCE)

    def hup(self) -> None:
        """SIGHUP, and wait until the reload is over."""
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        assert int(self.told("RELOADING=1").splitlines()[1].partition("MONOTONIC_USEC=")[2]) > 0
        self.told("READY=1")

    def said(self) -> str:
        return self.log.read_text()

    def says(self, text: str, times: int = 1) -> None:
        """Wait for a text in the log (which is written by a thread of its own)."""
        eventually(f"{text} in the log", lambda: self.said().count(text) >= times)

    def get(self, page: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://{self.words['metrics']}{page}", timeout=PATIENCE) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def cli(self, *argv: str) -> str:
        command = [sys.executable, "-m", "sipbalancer", *argv, "--admin", str(self.admin)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.cli("status", "--json"))
        return found

    def verdicts(self) -> dict[str, str]:
        return {each["server"]: each["verdict"] for service in self.status()["services"] for each in service["servers"]}

    def all_up(self) -> None:
        eventually("all up", lambda: set(self.verdicts().values()) == {"up"})

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        self.supervisor.close()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def server() -> Iterator[SipServer]:
    made = SipServer()
    yield made
    made.close()


@pytest.fixture
def running(tmp_path: Path, server: SipServer) -> Iterator[Running]:
    made = Running(tmp_path, server)
    yield made
    made.close()


def ask(virtual: str, request: str, **fields: str) -> str:
    """Send one request from a phone's socket; the answer, or "" after half a second of silence."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
        phone.bind((address(), 0))
        phone.connect((virtual, 5060))
        host, port = phone.getsockname()
        phone.settimeout(0.5)
        phone.send(request.format(host=host, port=port, virtual=virtual, unique=time.monotonic_ns(), **fields).encode())
        try:
            return phone.recv(65536).decode()
        except (TimeoutError, ConnectionRefusedError):
            return ""


OPTIONS = (
    "OPTIONS sip:{virtual} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{unique};rport\r\n"
    "From: <sip:a@{virtual}>;tag=1\r\nTo: <sip:{virtual}>\r\nCall-ID: {unique}\r\nCSeq: 1 OPTIONS\r\n"
    "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
REGISTER = (
    "REGISTER sip:{virtual} SIP/2.0\r\nVia: SIP/2.0/UDP {host}:{port};branch=z9hG4bK{unique};rport\r\n"
    "From: <sip:100@{virtual}>;tag=1\r\nTo: <sip:100@{virtual}>\r\nCall-ID: {unique}\r\nCSeq: 1 REGISTER\r\n"
    "Contact: <sip:100@{host}:{port}>\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


def test_it_starts_serves_shows_and_stops(running: Running, server: SipServer) -> None:
    running.start()
    running.all_up()
    code, text = running.get("/healthz")
    assert (code, text) == (200, f"ok\n{running.virtual}:5060: 1 of 1 servers up\n")
    assert running.get("/readyz")[0] == 200
    assert (
        f'sipbalancer_real_up{{real="{server.host}:5060",virtual="{running.virtual}:5060"}} 1.0'
        in running.get("/metrics")[1]
    )
    assert ask(running.virtual, OPTIONS).startswith("SIP/2.0 200 ")
    assert running.status()["file"] == str(running.file)
    assert running.stop() == 0
    running.told("STOPPING=1")
    assert not running.admin.exists()
    log = running.said()
    assert f'event="server up" server={server.host}:5060 old=starting reason="200 OK"' in log
    assert log.rstrip().endswith("event=stopped")
    assert "Traceback" not in log


def test_a_good_reload_changes_what_changed_and_says_what(running: Running) -> None:
    running.start()
    second = address()
    running.write(running.section(running.virtual), running.section(second))
    running.hup()
    assert ask(second, OPTIONS).startswith("SIP/2.0 ")
    running.says(f'event=reload change="+ virtual {second}:5060"')
    running.write(running.section(second))
    running.hup()
    assert ask(running.virtual, OPTIONS) == "", "its socket is closed"
    assert ask(second, OPTIONS).startswith("SIP/2.0 ")
    status = running.status()
    assert [service["virtual"] for service in status["services"]] == [f"{second}:5060"]
    assert status["reloads"] == {"ok": 2, "failed": 0}
    assert 'sipbalancer_config_reloads_total{result="ok"} 2.0' in running.get("/metrics")[1]


def test_a_bad_reload_changes_nothing_and_shows_all_errors(running: Running) -> None:
    running.start()
    running.all_up()
    running.write(running.section(running.virtual), "\tscheduler = fastest\n\treal = nowhere:99999 masq\n")
    running.hup()
    running.says('event="reload failed, nothing changed"', times=2)
    status = running.status()
    assert status["reloads"] == {"ok": 0, "failed": 1}
    assert [service["scheduler"] for service in status["services"]] == ["rr"]
    assert ask(running.virtual, OPTIONS).startswith("SIP/2.0 200 ")


def test_a_reload_whose_address_is_taken_changes_nothing(running: Running) -> None:
    running.start()
    taken = address()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((taken, 5060))
        running.write(running.section(taken))
        running.hup()
    running.says(f"cannot open udp {taken}:5060")
    assert ask(running.virtual, OPTIONS).startswith("SIP/2.0 ")
    assert [service["virtual"] for service in running.status()["services"]] == [f"{running.virtual}:5060"]


def test_autoreload(running: Running) -> None:
    running.words["autoreload"] = "yes"
    running.write(running.section(running.virtual))
    running.start()
    second = address()
    running.write(running.section(running.virtual), running.section(second))
    running.told("RELOADING=1")
    running.told("READY=1")
    assert ask(second, OPTIONS).startswith("SIP/2.0 ")


def test_reload_over_the_admin_socket_answers_the_difference(running: Running) -> None:
    running.start()
    second = address()
    running.write(running.section(running.virtual), running.section(second))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE)
        sock.connect(str(running.admin))
        sock.sendall(b'{"command": "reload"}\n')
        answer = json.loads(sock.makefile().readline())
    assert answer == {"result": {"changes": [f"+ virtual {second}:5060"]}}


def test_words_that_are_read_once_are_named(running: Running) -> None:
    running.start()
    running.words["registrations"] = "2000"
    running.write(running.section(running.virtual))
    running.hup()
    running.says("registrations: changed in the file; takes effect at the next start")


def test_drain_and_enable(running: Running, server: SipServer) -> None:
    running.start()
    running.all_up()
    assert f"{server.host}:5060: up -> draining (drained by the operator)" in running.cli("drain", server.host)
    assert running.verdicts() == {f"{server.host}:5060": "draining"}
    assert running.get("/healthz")[0] == 200
    assert running.get("/readyz")[0] == 503
    assert "draining -> up" in running.cli("enable", server.host)


def test_a_registration_is_found_also_after_a_restart(running: Running, server: SipServer) -> None:
    running.start()
    running.all_up()
    assert ask(running.virtual, REGISTER).startswith("SIP/2.0 200 ")
    aor = f"100@{running.virtual}"
    before = json.loads(running.cli("where", aor, "--json"))
    assert [entry["server"] for entry in before] == [f"{server.host}:5060"]
    assert running.stop() == 0
    running.told("STOPPING=1")
    running.start()
    after = json.loads(running.cli("where", aor, "--json"))
    assert [entry["server"] for entry in after] == [f"{server.host}:5060"]
    assert [each["uri"] for each in after[0]["contacts"]] == [each["uri"] for each in before[0]["contacts"]]
    assert after[0]["contacts"], "the Contact came back from the state folder"
    assert running.status()["services"][0]["servers"][0]["registrations"] == 1


def test_a_killed_balancer_starts_again_and_knows_its_pins(running: Running, server: SipServer) -> None:
    running.start()
    running.all_up()
    assert ask(running.virtual, REGISTER).startswith("SIP/2.0 200 ")
    assert running.process is not None
    running.process.kill()
    running.process.wait(PATIENCE)
    assert running.admin.exists(), "the socket is left behind"
    running.start()
    found = json.loads(running.cli("where", f"100@{running.virtual}", "--json"))
    assert [entry["server"] for entry in found] == [f"{server.host}:5060"]


def test_a_state_folder_that_cannot_be_written_is_a_warning(running: Running) -> None:
    (running.folder / "file").touch()
    running.words["state"] = f'"{running.folder}/file/state"'
    running.write(running.section(running.virtual))
    running.start()
    running.all_up()
    notes = " ".join(running.status()["notes"])
    assert "running on memory alone, a restart forgets which server each registration and call is on" in notes
    running.says("running on memory alone")


def test_without_metrics_and_admin_it_carries_calls_and_tries_again(running: Running) -> None:
    running.admin.write_text("in the way")
    host, _, port = running.words["metrics"].partition(":")
    with socket.socket() as taken:
        taken.bind((host, int(port)))
        taken.listen()
        running.start()
        assert ask(running.virtual, OPTIONS).startswith("SIP/2.0 ")
        running.says('level=warning event=note text="running without metrics: metrics = 127.0.0.1:')
        running.says("in use")
        running.says('level=warning event=note text="running without admin: admin = ')
        running.says("no socket is in the way")
    running.admin.unlink()
    running.hup()
    assert running.get("/healthz")[0] == 200
    assert running.status()["notes"] == []


def test_json_logs(running: Running) -> None:
    running.start("--log", "json")
    assert running.stop() == 0
    lines = [json.loads(line) for line in running.said().splitlines()]
    assert lines[0]["event"] == "starting" and lines[-1]["event"] == "stopped"
    assert lines[0]["runs"] == runs()


def test_the_log_goes_where_the_file_says(running: Running) -> None:
    running.words["logfile"] = f'"{running.folder}/own.log"'
    running.write(running.section(running.virtual))
    running.start()
    assert running.stop() == 0
    assert "event=starting" in (running.folder / "own.log").read_text()
    assert running.said() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_at_once(running: Running, number: signal.Signals) -> None:
    running.start()
    assert running.process is not None
    running.process.send_signal(number)
    assert running.process.wait(5) == 0


def test_a_second_balancer_on_the_same_state_is_refused(running: Running, tmp_path: Path) -> None:
    running.start()
    other = tmp_path / "other"
    other.mkdir()
    second = Running(other)
    second.words["state"] = running.words["state"]
    second.write(second.section(second.virtual))
    assert second.launch().wait(PATIENCE) == 1
    assert running.process is not None
    assert f"in use by another balancer (process {running.process.pid})" in second.said()
    second.close()


def test_an_address_that_is_taken_ends_the_start_with_one_line(running: Running) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((running.virtual, 5060))
        assert running.launch().wait(PATIENCE) == 1
    errors = [line for line in running.said().splitlines() if line.startswith("sipbalancer: ")]
    assert len(errors) == 1 and f"cannot open udp {running.virtual}:5060" in errors[0]
    assert "Traceback" not in running.said()


def test_a_bad_file_ends_the_start_with_all_its_errors(running: Running) -> None:
    running.write(running.section(running.virtual), "\tscheduler = fastest\n\treal = nowhere:99999 masq\n")
    assert running.launch().wait(PATIENCE) == 2
    assert len(running.said().splitlines()) == 2


def test_an_address_that_is_elsewhere_is_said_at_the_top_of_status(running: Running) -> None:
    running.write(running.section("192.0.2.10"))
    running.start()
    assert "! 192.0.2.10:5060 IS NOT ON THIS HOST" in running.cli("status").splitlines()[0]
    running.says("IS NOT ON THIS HOST")


def test_a_name_without_an_answer_is_left_out_and_said(running: Running, server: SipServer) -> None:
    running.write(running.section(running.virtual), "\treal = nowhere.invalid:5060 masq\n")
    running.start()
    running.all_up()
    status = running.status()
    assert status["notes"] == ["nowhere.invalid cannot be resolved: its servers are left out"]
    assert [each["server"] for each in status["services"][0]["servers"]] == [f"{server.host}:5060"]


def test_it_runs_on_asyncios_own_loop(running: Running) -> None:
    running.start(python="import sys; sys.modules['uvloop'] = None")
    running.all_up()
    running.says("loop=asyncio")
    assert ask(running.virtual, OPTIONS).startswith("SIP/2.0 200 ")
    assert running.stop() == 0


def test_the_wish_to_stop_cancels_a_start_that_hangs() -> None:
    async def run() -> bool:
        stop = asyncio.Event()
        stop.set()
        return await _finished(asyncio.sleep(3600), stop)

    assert asyncio.run(run()) is False


def test_what_a_start_raises_comes_out() -> None:
    async def fail() -> None:
        raise ValueError("boom")

    async def run() -> bool:
        return await _finished(fail(), asyncio.Event())

    with pytest.raises(ValueError, match="boom"):
        asyncio.run(run())


def test_a_word_read_at_start_carries_its_line() -> None:
    old, new = Config(path="f"), Config(path="f", calls=5, metrics="no", lines={"calls": 3})
    assert [str(finding) for finding in _at_start_only(old, new)] == [
        "f:3: calls: changed in the file; takes effect at the next start",
        "f: metrics: changed in the file; takes effect at the next start",
    ]
