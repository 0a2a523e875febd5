"""Faults on real Asterisks under load: `make bench-faults`, as root.

    python -m bench.faults.run [--quick] [--only FAULT ...] [--balancer ours|kamailio|direct ...] [--list]

Each run has fresh namespaces, fresh Asterisks and a fresh balancer: settle, load, break, watch, repair, end. Rows go to
bench/results/faults-DATE.tsv; `python -m bench.faults.table` makes a markdown table of them. With --keep the folder of
the run (logs, book with the traces of the worst transactions, packets with --capture) stays.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.faults.balancers import BALANCERS, Balancer
from bench.faults.catalogue import FAULTS, Fault
from bench.faults.load import LIMIT
from bench.faults.measure import Moments, Outcome, outcome
from bench.faults.net import BALANCER, CLIENT, PHONES, Net
from bench.faults.results import Results
from bench.faults.servers import CHECKOUT, FIRST_NUMBER, FULL, Trio
from bench.faults.work import Work
from sipbalancer.demo.asterisk import Release, Tree, fetch

REGISTERED_WITHIN = 20.0
"""Seconds for all phones, with no fault yet."""
TRIES = 3
"""Of a run in which an Asterisk died of itself."""


@dataclass(frozen=True)
class Wishes:
    quick: bool
    keep: Path | None
    capture: bool
    phones: int
    registers: float
    calls: float
    words: tuple[str, ...]

    @property
    def talk(self) -> float:
        return 8.0 if self.quick else 20.0

    @property
    def settle(self) -> float:
        return 10.0 if self.quick else 30.0

    @property
    def after(self) -> float:
        """Seconds of load after the repair."""
        return 8.0 if self.quick else 30.0


class Run:
    """One fault, one balancer. It is the fault's `Scene`."""

    def __init__(self, tree: Tree, fault: Fault, kind: type[Balancer], wishes: Wishes, folder: Path) -> None:
        self.fault, self.wishes, self.folder = fault, wishes, folder
        self.net = Net()
        self.balancer = kind(self.net, folder / "balancer", wishes.words)
        self.servers = Trio(
            self.net, tree, folder, wishes.phones, outbound_proxy=kind.outbound_proxy, count=kind.wanted_servers
        )
        self._book = folder / "book.json"
        self._load: subprocess.Popen[bytes] | None = None
        self._captures: list[subprocess.Popen[bytes]] = []

    def tell_phones(self, words: str) -> None:
        assert self._load is not None and self._load.stdin is not None
        self._load.stdin.write(f"{words}\n".encode())

    def go(self) -> tuple[Outcome, dict[str, float]]:
        """The outcome, and what share of a core who used (percent), `idle` of the whole machine."""
        wishes = self.wishes
        self.servers.start()
        if wishes.capture:
            self._capture()
        self.balancer.start()
        self._start_load()
        time.sleep(max(wishes.settle, self.fault.talk / 2))
        work = Work({"load": [self._pid_of_load()], "balancer": [self.balancer.pid], "servers": self.servers.pids()})
        moments = self._break()
        used = work.used()
        time.sleep(wishes.after)
        self.tell_phones("stop")
        self._await_load(LIMIT + 60)
        book = json.loads(self._book.read_text())
        found = outcome(
            self.fault, moments, book, self.balancer.beliefs, self.servers.names, self.servers.channels(),
            only_down=self.balancer.name == "kamailio",
        )  # fmt: skip
        self._write(moments, book, found)
        return found, used

    def _break(self) -> Moments:
        began = time.monotonic()
        self.fault.act(self, self.fault.quick if self.wishes.quick else self.fault.full)
        repair = time.monotonic()
        self.fault.repair(self)
        return Moments(began, repair, time.monotonic())

    def _start_load(self) -> None:
        wishes = self.wishes
        plan = {
            "proxy": [self.balancer.target, 5060], "bind": CLIENT, "book": str(self._book), "phones": wishes.phones,
            "first": FIRST_NUMBER, "registers": wishes.registers, "calls": wishes.calls,
            "talk": max(wishes.talk, self.fault.talk),
        }  # fmt: skip
        words = [sys.executable, "-m", "bench.faults.load", json.dumps(plan)]
        self._load = self.net.start(PHONES, words, subprocess.PIPE, CHECKOUT, talk=True)
        assert self._load.stdout is not None
        ready, _, _ = select.select([self._load.stdout], [], [], REGISTERED_WITHIN)
        line = self._load.stdout.readline() if ready else b"not all phones registered"
        if not ready:
            self._load.kill()
        if line != b"registered\n":
            raise RuntimeError(f"the load did not start: {(line + (self._load.stdout.read() or b'')).decode()}")

    def _pid_of_load(self) -> int:
        return self._load.pid if self._load is not None else 0

    def _await_load(self, seconds: float) -> None:
        assert self._load is not None and self._load.stdout is not None
        if self._load.wait(seconds):
            raise RuntimeError(f"the load failed: {(self._load.stdout.read() or b'').decode()}")

    def _capture(self) -> None:
        for leg in ("to-phones", "to-servers"):
            words = [
                "dumpcap",
                "-q",
                "-i",
                leg,
                "-f",
                "udp port 5060 or icmp",
                "-w",
                str(self.folder / f"{leg}.pcapng"),
            ]
            self._captures.append(self.net.start(BALANCER, words, subprocess.DEVNULL, CHECKOUT))

    def _write(self, moments: Moments, book: dict[str, Any], found: Outcome) -> None:
        """For who looks at it afterwards."""
        beliefs = [belief._asdict() for belief in self.balancer.beliefs]
        facts = {
            "moments": asdict(moments), "beliefs": beliefs, "channels": self.servers.channels(),
            "outcome": found.flat(), "full": self.servers.executed(FULL),
        }  # fmt: skip
        (self.folder / "facts.json").write_text(json.dumps(facts, indent=1))

    def close(self) -> None:
        for process in (self._load, *self._captures):
            if process is not None:
                process.kill()
                process.wait()
        self.balancer.stop()
        self.servers.close()
        self.net.close()


def once(tree: Tree, fault: Fault, kind: type[Balancer], wishes: Wishes, results: Results) -> bool:
    """Whether every Asterisk lived that should have (22.10 has been seen to corrupt its heap under loss)."""
    folder = Path(tempfile.mkdtemp(prefix="sipbalancer-faults-"))
    run = Run(tree, fault, kind, wishes, folder)
    try:
        found, used = run.go()
        crashed = run.servers.crashed()
        results.add(fault, kind.name, wishes.quick, found, used, crashed)
        return not crashed
    finally:
        run.close()
        if wishes.keep is not None:
            kept = wishes.keep / f"{fault.name}-{kind.name}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("*.ctl", "*.sock", "run"))
        shutil.rmtree(folder, ignore_errors=True)


def choose(asked: argparse.Namespace) -> list[tuple[Fault, type[Balancer]]]:
    faults = [FAULTS[name] for name in asked.only or FAULTS]
    kinds = [BALANCERS[name] for name in asked.balancer or BALANCERS]
    return [(fault, kind) for fault in faults for kind in kinds if fault.direct or kind is not BALANCERS["direct"]]


def read_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument("--only", action="append", choices=sorted(FAULTS), metavar="FAULT", help="may be repeated")
    parser.add_argument("--balancer", action="append", choices=sorted(BALANCERS), help="may be repeated")
    parser.add_argument("--list", action="store_true", help="show the faults")
    parser.add_argument("--keep", type=Path, help="keep logs, books and traces in this folder")
    parser.add_argument("--capture", action="store_true", help="keep the packets of both legs too (dumpcap)")
    parser.add_argument("--phones", type=int, default=200)
    parser.add_argument("--registers", type=float, default=100.0, help="per second")
    parser.add_argument("--calls", type=float, default=10.0, help="per second")
    parser.add_argument("--word", action="append", default=[], help="a further line for sipbalancer's section")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    asked = read_arguments(words)
    if asked.list:
        sys.stdout.writelines(f"{fault.name:12} {fault.title}\n" for fault in FAULTS.values())
        return 0
    if os.geteuid():
        sys.stderr.write("bench-faults needs root: it makes network namespaces and drops packets in them\n")
        return 2
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))  # what was started is ended on the way out
    wishes = Wishes(
        asked.quick, asked.keep, asked.capture, asked.phones, asked.registers, asked.calls, tuple(asked.word)
    )
    tree = fetch(Release.PJSIP)
    results = Results(CHECKOUT)
    for fault, kind in choose(asked):
        try:
            for _ in range(TRIES):
                if once(tree, fault, kind, wishes, results):
                    break
        except (RuntimeError, TimeoutError, OSError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"{fault.name} {kind.name}: {error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
