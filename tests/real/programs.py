"""sipp, baresip and the balancer as processes of a test: started with a log, ended by their own id."""

from __future__ import annotations

import itertools
import json
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sipbalancer.demo.asterisk import User

Address = tuple[str, int]
SCENARIOS = Path(__file__).parent / "sipp"
CHECKOUT = Path(__file__).parent.parent.parent
PACKAGES = {"sipp": "sip-tester", "baresip": "baresip-core", "prometheus": "prometheus", "promtool": "prometheus"}
METRICS_PORT = 9436


class Missing(Exception):
    """A program is not on this machine; the text says how to get it."""


def program(name: str) -> str:
    """Its path; raises Missing."""
    path = shutil.which(name)
    if path is None:
        raise Missing(f"{name} is missing: apt-get install {PACKAGES.get(name, name)}")
    return path


def eventually(what: str, true: Any, seconds: float = 8.0) -> None:
    """Wait until `true()`; raises TimeoutError that says `what`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.05)


class Process:
    """One child with its output in `log`."""

    def __init__(self, command: Sequence[str], log: Path, cwd: Path | None = None) -> None:
        self.log = log
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=cwd, start_new_session=True
            )

    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self, seconds: float = 5.0) -> int:
        """Its exit status after SIGTERM, after SIGKILL if need be."""
        self._process.terminate()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        self._process.kill()
        return self._process.wait()

    def wait(self, seconds: float) -> int:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def text(self) -> str:
        return self.log.read_text(errors="replace")


class Sipp:
    """Runs scenarios of `tests/real/sipp` as users of a pool; each run has a port and files of its own."""

    _ports = itertools.count(20000, 10)

    def __init__(self, folder: Path, target: Address) -> None:
        self.folder = folder
        self.target = target
        self._runs: list[SippRun] = []

    def start(
        self, scenario: str, users: Iterable[User], *, calls: int, rate: int = 20, pause: int = 0, **keys: str
    ) -> SippRun:
        """`pause`: milliseconds, for scenarios that wait; `keys`: words that the scenario leaves open."""
        port = next(self._ports)
        folder = self.folder / f"sipp-{scenario}-{port}"
        folder.mkdir()
        (folder / "users.csv").write_text("SEQUENTIAL\n" + "".join(map(credentials, users)))
        words = (
            f"{self.target[0]}:{self.target[1]} -sf {SCENARIOS / scenario}.xml -inf users.csv -i 127.0.2.2 -p {port}"
            f" -mp {port + 2} -m {calls} -r {rate} -d {pause} -nostdin -timeout 60s -timeout_error"
            " -trace_err -error_file errors.txt -trace_msg -message_file messages.txt -trace_logs -log_file said.txt"
        )
        open_words = [word for key, value in keys.items() for word in ("-key", key, value)]
        command = [program("sipp"), *words.split(), *open_words]
        run = SippRun(folder, Process(command, folder / "out.txt", folder))
        self._runs.append(run)
        return run

    def close(self) -> None:
        """Whatever still runs, of a test that failed."""
        for run in self._runs:
            run.process.kill()

    def run(
        self, scenario: str, users: Iterable[User], *, calls: int = 1, rate: int = 20, pause: int = 0, **keys: str
    ) -> SippRun:
        """To the end; every call must have gone as the scenario says."""
        started = self.start(scenario, users, calls=calls, rate=rate, pause=pause, **keys)
        started.check()
        return started


def credentials(user: User) -> str:
    """A line of users.csv: [field0] is the number, [field1] what answers a challenge."""
    return f"{user.number};[authentication username={user.number} password={user.secret}]\n"


class SippRun(NamedTuple):
    folder: Path
    process: Process

    def check(self, seconds: float = 65.0) -> None:
        """Raises AssertionError with sipp's own words when one call failed."""
        status = self.process.wait(seconds)
        if status:
            errors = self.folder / "errors.txt"
            said = errors.read_text(errors="replace") if errors.exists() else self.process.text()
            raise AssertionError(f"sipp ended with {status}, see {self.folder}:\n{said[:3000]}")

    def said(self) -> list[str]:
        """What the scenario's <log> actions wrote."""
        path = self.folder / "said.txt"
        return path.read_text().splitlines() if path.exists() else []


class Baresip:
    """A soft phone without ears, steered through its ctrl_tcp module (netstrings of JSON).

    It answers every call, and asks for a registration of `every` seconds.
    """

    CONFIG = """
sip_listen {address}:5060
audio_player aubridge,line
audio_source aubridge,line
audio_alert aubridge,bell
ausrc_srate 8000
auplay_srate 8000
ausrc_channels 1
auplay_channels 1
rtp_ports 30000-30998
module_path {modules}
module g711.so
module aubridge.so
module_tmp uuid.so
module_tmp account.so
module_app menu.so
module_app ctrl_tcp.so
ctrl_tcp_listen {address}:4444
"""

    def __init__(self, folder: Path, address: str, user: User, target: Address, every: int = 60) -> None:
        binary = program("baresip")
        self.user = user
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self._seen: list[str] = []
        home = folder / f"baresip-{user.number}"
        home.mkdir()
        modules = next(
            (str(p) for p in (Path("/usr/lib/baresip/modules"), *Path("/usr/lib").glob("*/baresip/modules"))), ""
        )
        (home / "config").write_text(self.CONFIG.format(address=address, modules=modules))
        (home / "contacts").touch()
        account = (
            f"<sip:{user.number}@{target[0]}:{target[1]}>;auth_pass={user.secret};regint={every};answermode=auto\n"
        )
        (home / "accounts").write_text(account)
        self.process = Process([binary, "-f", str(home), "-s"], home / "out.txt")
        self._socket = self._connect((address, 4444))
        threading.Thread(target=self._read, name=f"baresip {user.number}", daemon=True).start()

    def _connect(self, control: Address) -> socket.socket:
        deadline = time.monotonic() + 5
        while True:
            try:
                return socket.create_connection(control, timeout=None)
            except ConnectionRefusedError:
                if time.monotonic() > deadline or not self.process.alive():
                    raise
                time.sleep(0.05)

    def command(self, name: str, parameters: str = "") -> None:
        text = json.dumps({"command": name, "params": parameters})
        self._socket.sendall(f"{len(text)}:{text},".encode())

    def wait_registered(self) -> None:
        """Its control port opens after it has registered: only what it prints tells."""
        eventually(f"{self.user.number} registered", lambda: "[1 binding]" in self.process.text())

    def wait_event(self, kind: str, seconds: float = 8.0) -> dict[str, Any]:
        """The next event of that type; earlier ones are passed over."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                event = self.events.get(timeout=left)
            except queue.Empty:
                break
            self._seen.append(str(event.get("type")))
            if event.get("type") == kind:
                return event
        raise TimeoutError(
            f"baresip {self.user.number}: no {kind} in {seconds:g} s, only {self._seen}: {self.process.log}"
        )

    def _read(self) -> None:
        data = b""
        while True:
            try:
                more = self._socket.recv(65536)
            except OSError:
                return
            if not more:
                return
            data += more
            while b":" in data:
                size, rest = data.split(b":", 1)
                if len(rest) <= int(size):
                    break
                message = json.loads(rest[: int(size)])
                data = rest[int(size) + 1 :]
                if message.get("event"):
                    self.events.put(message)

    def close(self) -> None:
        """It unregisters on its way out."""
        self.process.end()
        self._socket.close()


class Balancer:
    """`sipbalancer run` before a pool, as an operator runs it."""

    def __init__(
        self,
        folder: Path,
        address: str,
        servers: Sequence[str],
        words: Sequence[str] = (),
        checks: Sequence[str] = ("checkinterval = 1", "negotiatetimeout = 1", "failurecount = 2"),
        workers: int = 1,
    ) -> None:
        self.folder = folder
        self.address = address
        self.servers = servers
        self.workers = workers
        self.file = folder / "sipbalancer.cf"
        self.log = folder / "balancer.txt"
        self._process: Process | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text(self._text((*checks, *words)))

    def _text(self, words: Sequence[str]) -> str:
        top = (
            f"metrics = {self.address}:{METRICS_PORT}",
            f'admin = "{self.folder}/admin.sock"',
            f'state = "{self.folder}/state"',
            f"workers = {self.workers}",
            f"virtual = {self.address}:5060",
        )
        section = (
            *(f"real = {server}:5060 masq" for server in self.servers),
            "service = sip",
            "protocol = udp",
            "scheduler = rr",
            *words,
        )
        return "\n".join(top) + "\n" + "".join(f"        {line}\n" for line in section)

    def start(self) -> None:
        """Start and wait until every server is up."""
        (self.folder / "state").mkdir(exist_ok=True)
        self._process = Process([sys.executable, "-m", "sipbalancer", "run", str(self.file)], self.log, CHECKOUT)
        try:
            eventually("all servers up", self._all_up, 15)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the balancer said:\n{self.log.read_text(errors='replace')[-3000:]}") from None

    def _all_up(self) -> bool:
        assert self._process is not None
        if not self._process.alive():
            raise AssertionError(f"the balancer ended:\n{self.log.read_text(errors='replace')[-3000:]}")
        ups = [value for name, value in self.metrics().items() if name.startswith("sipbalancer_real_up{")]
        return len(ups) == len(self.servers) and all(ups)

    def stop(self) -> None:
        """What it counted stays in `metrics.txt`."""
        if self._process is not None:
            (self.folder / "metrics.txt").write_text(self.scrape())
            self._process.end()

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()

    def restart(self) -> None:
        self.stop()
        self.start()

    def scrape(self) -> str:
        try:
            with urllib.request.urlopen(f"http://{self.address}:{METRICS_PORT}/metrics", timeout=2) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def metrics(self) -> dict[str, float]:
        lines = (line.rpartition(" ") for line in self.scrape().splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def command(self, *words: str) -> str:
        """What `sipbalancer WORDS` prints, asked of this balancer."""
        command = [sys.executable, "-m", "sipbalancer", *words, "--admin", str(self.folder / "admin.sock")]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=CHECKOUT)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout
