"""What is measured: sipbalancer, Kamailio, or nothing in between. Each starts, says what it believes when, and ends.

What a balancer believes is read from its own log, line by line as it comes, and stamped with CLOCK_MONOTONIC here.
"""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple

from bench.faults.net import BALANCER, SERVER_ADDRESSES, VIRTUAL, Net
from bench.faults.servers import CHECKOUT

HERE = Path(__file__).parent
START_SECONDS = 15.0

CONFIG = """admin = "{folder}/admin.sock"
state = "{folder}/state"
metrics = no
virtual = {virtual}:5060
{servers}
        service = sip
        protocol = udp
        scheduler = wrr
        quiescent = no
        checktype = negotiate
{words}
"""
"""ldirectord's defaults: checkinterval is 10."""


class Belief(NamedTuple):
    at: float
    server: str
    """Its address."""
    verdict: str
    reason: str


class Balancer(ABC):
    """`target` is where phones send to."""

    name: str
    target = VIRTUAL
    outbound_proxy = True
    wanted_servers = 3

    def __init__(self, net: Net, folder: Path, words: tuple[str, ...] = ()) -> None:
        self.net, self.folder, self.words = net, folder, words
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / f"{self.name}.log"
        self.beliefs: list[Belief] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    @abstractmethod
    def command(self) -> list[str]: ...

    @abstractmethod
    def read(self, line: str, now: float) -> Belief | None:
        """What a line of its log says of a server."""

    @abstractmethod
    def ready(self) -> bool: ...

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def start(self) -> None:
        """TimeoutError when it does not become ready."""
        self._process = self.net.start(BALANCER, self.command(), subprocess.PIPE, CHECKOUT)
        self._reader = threading.Thread(target=self._follow, daemon=True)
        self._reader.start()
        deadline = time.monotonic() + START_SECONDS
        while not self.ready():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise TimeoutError(f"{self.name} did not become ready:\n{self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    def _follow(self) -> None:
        assert self._process is not None and self._process.stdout is not None
        with self.log.open("wb", buffering=0) as log:
            buffered = b""
            while chunk := self._process.stdout.read(65536):
                now = time.monotonic()
                log.write(chunk)
                *lines, buffered = (buffered + chunk).split(b"\n")
                found = (self.read(line.decode("utf-8", "replace"), now) for line in lines)
                self.beliefs += [belief for belief in found if belief is not None]

    def stop(self) -> None:
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._reader is not None:
            self._reader.join(5)


class Ours(Balancer):
    name = "ours"
    LINE = re.compile(
        r'event="server (?P<verdict>\w+)" server=(?P<server>[\d.]+):5060 .*reason=(?P<reason>"(?:[^"\\]|\\.)*"|\S+)'
    )

    def command(self) -> list[str]:
        (self.folder / "state").mkdir(exist_ok=True)
        file = self.folder / "sipbalancer.cf"
        servers = "\n".join(f"        real = {server}:5060 masq" for server in SERVER_ADDRESSES[: self.wanted_servers])
        words = "\n".join(f"        {word}" for word in self.words)
        file.write_text(CONFIG.format(folder=self.folder, virtual=VIRTUAL, servers=servers, words=words))
        return [sys.executable, "-m", "sipbalancer", "run", str(file)]

    def read(self, line: str, now: float) -> Belief | None:
        match = self.LINE.search(line)
        return Belief(now, match["server"], match["verdict"], match["reason"].strip('"')) if match else None

    def ready(self) -> bool:
        return len({belief.server for belief in self.beliefs if belief.verdict == "up"}) == self.wanted_servers


class Kamailio(Balancer):
    name = "kamailio"
    outbound_proxy = False  # its Path alone shows the way; two Routes of its own would be loose-routed in a circle
    LINE = re.compile(r"DST-(?P<verdict>DOWN|UP) .*?(?P<server>10\.72\.0\.\d+)")

    def __init__(self, net: Net, folder: Path, words: tuple[str, ...] = ()) -> None:
        super().__init__(net, folder, words)
        self._began = time.monotonic()

    def command(self) -> list[str]:
        servers = self.folder / "dispatcher.list"
        servers.write_text("".join(f"1 sip:{server}:5060\n" for server in SERVER_ADDRESSES[: self.wanted_servers]))
        run = self.folder / "run"
        run.mkdir(exist_ok=True)
        words = f"kamailio -f {HERE / 'kamailio.cfg'} -DD -E -m 256 -M 16 -Y {run} -w {run} -P {run}/pid"
        return [*words.split(), "-A", f"LISTEN=udp:{VIRTUAL}:5060", "-A", f'SERVERS="{servers}"']

    def read(self, line: str, now: float) -> Belief | None:
        match = self.LINE.search(line)
        return Belief(now, match["server"], match["verdict"].lower(), "") if match else None

    def ready(self) -> bool:
        """It begins with every server up; two seconds of pings say whether that is so."""
        return time.monotonic() - self._began > 3.0


class Direct(Balancer):
    """Phones straight to one Asterisk."""

    name = "direct"
    target = SERVER_ADDRESSES[0]
    outbound_proxy = False
    wanted_servers = 1

    def command(self) -> list[str]:
        return ["sleep", "infinity"]

    def read(self, line: str, now: float) -> Belief | None:
        return None

    def ready(self) -> bool:
        return True


BALANCERS: dict[str, type[Balancer]] = {"ours": Ours, "kamailio": Kamailio, "direct": Direct}
