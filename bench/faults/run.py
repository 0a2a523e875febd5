"""Faults on real Asterisks under load: `make bench-faults`, as root.

    python -m bench.faults.run [--quick] [--only FAULT ...] [--balancer ours|kamailio|direct ...] [--jobs N] [--list]

Each run has fresh namespaces, fresh Asterisks and a fresh balancer: settle, load, break, watch, repair, end. Two runs
go side by side (a run takes a fifth of a CPU). Rows go to bench/results/; `python -m bench.faults.table` makes a
markdown table of them. With --keep the folder of the run (logs, book with the traces of the worst transactions, packets
with --capture) stays. A run that is void (fitness.py) is made again, twice at most.
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
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from bench.faults import avalanche
from bench.faults.balancers import BALANCERS, Balancer
from bench.faults.catalogue import FAULTS, Fault
from bench.faults.fitness import why_void
from bench.faults.load import LIMIT
from bench.faults.measure import Found, Moments, Outcome, outcome
from bench.faults.net import BALANCER, CLIENT, PHONES, SERVER_ADDRESSES, Net
from bench.faults.results import Results, made_folder
from bench.faults.servers import CHECKOUT, FIRST_NUMBER, FULL, Trio
from bench.faults.work import Work, come_first
from sipbalancer.demo.asterisk import Release, Tree, fetch

REGISTERED_WITHIN = 20.0
"""Seconds for all phones, with no fault yet."""
TRIES = 3
"""Of a run that is void."""
AVALANCHE = "avalanche"
TALK = 8.0
"""Seconds a call lasts, with a hold in the middle."""
IDLE_SETTLE = 12.0
"""Seconds without load before an idle fault: one `checkinterval` and a bit."""


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
    def settle(self) -> float:
        """Seconds of load before the fault."""
        return 10.0 if self.quick else 15.0

    @property
    def after(self) -> float:
        """Seconds of load after the repair."""
        return 8.0 if self.quick else 15.0


LIVE: dict[Run, Path] = {}
"""Runs under way and their folders: what a signal has to end."""


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
        self._strikes: list[tuple[float, str]] = []

    @property
    def seconds(self) -> float:
        return self.fault.quick if self.wishes.quick else self.fault.full

    def strike(self, index: int) -> None:
        self._strikes.append((time.monotonic(), SERVER_ADDRESSES[index]))

    def tell_phones(self, words: str) -> None:
        assert self._load is not None and self._load.stdin is not None
        self._load.stdin.write(f"{words}\n".encode())

    def go(self) -> dict[str, Any]:
        """The columns of a row."""
        wishes = self.wishes
        self.servers.start()
        if wishes.capture:
            self._capture()
        self.balancer.start()
        self._start_load()
        time.sleep(IDLE_SETTLE if self.fault.idle else max(wishes.settle, self.fault.talk / 2))
        work = Work({"load": [self._pid_of_load()], "balancer": [self.balancer.pid], "servers": self.servers.pids()})
        moments = self._break()
        used = work.used()
        time.sleep(wishes.after)
        self.tell_phones("stop")
        self._await_load(LIMIT + 60)
        found = Found(
            json.loads(self._book.read_text()), self.balancer.beliefs, self.servers.names, self.servers.channels(),
            self.servers.executed(FULL), only_down=self.balancer.name == "kamailio",
        )  # fmt: skip
        result = outcome(self.fault, moments, found)
        self._write(moments, result, found)
        return self._row(result, found.book, used)

    def _row(self, result: Outcome, book: dict[str, Any], used: dict[str, float]) -> dict[str, Any]:
        """`used`: percent of a core by whom; `idle`: of the whole machine."""
        priority = os.getpriority(os.PRIO_PROCESS, 0)
        void = why_void(
            self.servers.crashed(), book["late"], book["kernel_drops"], used["idle"], used["wait"],
            before_others=priority < 0,
        )  # fmt: skip
        return {
            "fault": self.fault.name, "balancer": self.balancer.name, "mode": "quick" if self.wishes.quick else "full",
            "seconds": f"{self.seconds:g}", "void": void, **result.flat(),
            **{f"{name}_pct": value for name, value in used.items()}, "late_s": round(book["late"], 3),
            "nice": priority,
        }  # fmt: skip

    def _break(self) -> Moments:
        began = time.monotonic()
        self.fault.act(self, self.seconds)
        repair = time.monotonic()
        self.fault.repair(self)
        return Moments(began, repair, time.monotonic(), tuple(self._strikes))

    def _start_load(self) -> None:
        wishes = self.wishes
        busy = not self.fault.idle
        plan = {
            "proxy": [self.balancer.target, 5060], "bind": CLIENT, "book": str(self._book), "phones": wishes.phones,
            "first": FIRST_NUMBER, "registers": busy * wishes.registers, "calls": busy * wishes.calls,
            "expires": 60 if busy else 3600, "talk": max(TALK, self.fault.talk),
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

    def _write(self, moments: Moments, result: Outcome, found: Found) -> None:
        """For who looks at it afterwards."""
        facts = {
            "moments": asdict(moments), "beliefs": [belief._asdict() for belief in found.beliefs],
            "channels": found.channels, "outcome": result.flat(), "full": found.full_tries,
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
    """Whether it was fit (Asterisk 22.10 has been seen to corrupt its heap under loss)."""
    folder = made_folder()
    run = Run(tree, fault, kind, wishes, folder)
    LIVE[run] = folder
    try:
        row = run.go()
        results.write(row)
        return not row["void"]
    finally:
        run.close()
        del LIVE[run]
        if wishes.keep is not None:
            kept = wishes.keep / f"{fault.name}-{kind.name}"
            shutil.rmtree(kept, ignore_errors=True)
            shutil.copytree(folder, kept, ignore=shutil.ignore_patterns("*.ctl", "*.sock", "run", "state"))
        shutil.rmtree(folder, ignore_errors=True)


def choose(asked: argparse.Namespace) -> list[tuple[Fault, type[Balancer]]]:
    faults = [FAULTS[name] for name in asked.only or FAULTS if name != AVALANCHE]
    kinds = [BALANCERS[name] for name in asked.balancer or BALANCERS]
    return [(fault, kind) for fault in faults for kind in kinds if fault.direct or kind is not BALANCERS["direct"]]


def read_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes")
    parser.add_argument(
        "--only", action="append", choices=sorted([*FAULTS, AVALANCHE]), metavar="FAULT", help="may be repeated"
    )
    parser.add_argument("--balancer", action="append", choices=sorted(BALANCERS), help="may be repeated")
    parser.add_argument("--list", action="store_true", help="show the faults")
    parser.add_argument("--keep", type=Path, help="keep logs, books and traces in this folder")
    parser.add_argument("--capture", action="store_true", help="keep the packets of both legs too (dumpcap)")
    parser.add_argument("--phones", type=int, default=200)
    parser.add_argument("--registers", type=float, default=100.0, help="per second")
    parser.add_argument("--calls", type=float, default=10.0, help="per second")
    parser.add_argument("--word", action="append", default=[], help="a further line for sipbalancer's section")
    parser.add_argument("--jobs", type=int, default=2, help="runs side by side (%(default)s)")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    asked = read_arguments(words)
    if asked.list:
        sys.stdout.writelines(f"{fault.name:12} {fault.title}\n" for fault in FAULTS.values())
        sys.stdout.write(f"{AVALANCHE:12} 10,000 phones on four servers, one killed\n")
        return 0
    if os.geteuid():
        sys.stderr.write("bench-faults needs root: it makes network namespaces and drops packets in them\n")
        return 2
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end_all)
    wishes = Wishes(
        asked.quick, asked.keep, asked.capture, asked.phones, asked.registers, asked.calls, tuple(asked.word)
    )
    come_first(os.getpid())
    tree = fetch(Release.PJSIP)
    results = Results(CHECKOUT)
    with ThreadPoolExecutor(asked.jobs) as several:
        done = [several.submit(until_fit, tree, fault, kind, wishes, results) for fault, kind in choose(asked)]
    fit = [one.result() for one in done]
    if wants_avalanche(asked):  # with nothing beside it
        fit += [avalanche.until_fit(asked.quick, asked.keep, at_once) for at_once in (False, True)]
    return 0 if all(fit) else 1


def end_all(number: int, frame: FrameType | None) -> None:
    """Threads cannot be told to stop: end what they started, and go."""
    for run, folder in list(LIVE.items()):
        run.close()
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def wants_avalanche(asked: argparse.Namespace) -> bool:
    return AVALANCHE in (asked.only or [AVALANCHE]) and "ours" in (asked.balancer or ["ours"])


def until_fit(tree: Tree, fault: Fault, kind: type[Balancer], wishes: Wishes, results: Results) -> bool:
    """Whether a fit row was made."""
    for _ in range(TRIES):
        try:
            if once(tree, fault, kind, wishes, results):
                return True
        except (RuntimeError, TimeoutError, OSError, subprocess.SubprocessError) as error:
            sys.stderr.write(f"{fault.name} {kind.name}: {error}\n")
    return False


if __name__ == "__main__":
    raise SystemExit(main())
