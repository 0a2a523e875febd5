"""What three real Asterisk 22 do with and without the balancer in front: `python -m bench.pool [--rounds N]`, as root.

The same phones (three sipp, digest, one pool of accounts each) go straight to three servers, each sipp to its own, or
all to the virtual address. Closed loop: as fast as the pool answers. Everything shares all CPUs, so what the balancer
takes is taken from the servers: the difference is its whole price. Ways alternate, A B A B, each round on servers
freshly started. Rows go to bench/results/pool-*.tsv.
"""

from __future__ import annotations

import argparse
import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

from bench.pool_rows import PoolRow, pool_table
from bench.run import CHECKOUT, INSIDE, enter, keep, loopback_up, say, this_host
from sipbalancer.demo.asterisk import Instance, Release, User, fetch
from sipbalancer.errors import EnvironmentFault

HERE = Path(__file__).parent
VIRTUAL = "127.0.0.2"
SERVERS = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
PHONES = ("127.0.0.21", "127.0.0.22", "127.0.0.23")
USERS = 200
"""Of each sipp."""
NO_QUALIFY = ("qualify_frequency=0",)
"""sipp answers no OPTIONS."""
WAYS = ("direct", "sipbalancer")
MIXES = ("register", "call")
IN_FLIGHT = {"register": 16, "call": 8}
"""Of each sipp."""
RATE = 5000
"""Attempts per second of each sipp: more than the pool can do, so what is in flight decides."""
FILE = """admin = "{folder}/admin.sock"
state = "{folder}/state"
metrics = no
virtual = {virtual}:5060
{servers}
    protocol = udp
    service = sip
    checkinterval = 5
"""


class Used(NamedTuple):
    """Seconds of CPU so far."""

    servers: tuple[float, ...]
    balancer: float
    load: float
    idle: float


def _accounts(number: int) -> list[User]:
    first = 1001 + number * USERS
    return [User(str(each), f"secret{each}", aor=NO_QUALIFY) for each in range(first, first + USERS)]


class Pool:
    """Three servers, with a balancer or without; who makes it closes it."""

    def __init__(self, way: str, folder: Path, stack: ExitStack) -> None:
        self._folder, self.way = folder, way
        folder.mkdir()
        users = [user for number in range(len(PHONES)) for user in _accounts(number)]
        tree = fetch(Release.PJSIP)
        self._instances = [
            Instance(tree, folder / f"a{number}", f"a{number}", address, VIRTUAL, users)
            for number, address in enumerate(SERVERS)
        ]
        self._balancer: subprocess.Popen[bytes] | None = None
        for instance in self._instances:
            instance.write()
            instance.start()
            stack.callback(instance.kill)
        for instance in self._instances:
            instance.wait()
        if way == "sipbalancer":
            self._balancer = self._start_balancer()
            stack.callback(self._stop_balancer)
            time.sleep(3.0)

    def _start_balancer(self) -> subprocess.Popen[bytes]:
        servers = "\n".join(f"    real = {address}:5060 masq" for address in SERVERS)
        file = self._folder / "sipbalancer.cf"
        file.write_text(FILE.format(folder=self._folder, virtual=VIRTUAL, servers=servers))
        with (self._folder / "log").open("wb") as log:
            command = [sys.executable, "-m", "sipbalancer", "run", str(file)]
            return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=CHECKOUT)

    def _stop_balancer(self) -> None:
        assert self._balancer is not None
        self._balancer.terminate()
        self._balancer.wait()

    def targets(self) -> Sequence[str]:
        return SERVERS if self.way == "direct" else (VIRTUAL,) * len(SERVERS)

    def used(self, load: Sequence[subprocess.Popen[bytes]]) -> Used:
        idle = sum(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[4:6])) / os.sysconf("SC_CLK_TCK")
        return Used(
            tuple(_cpu(instance.pid) for instance in self._instances),
            _cpu(self._balancer.pid) if self._balancer else 0.0,
            sum(_cpu(each.pid) for each in load),
            idle,
        )


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Phones:
    """Three sipp that run until they are ended."""

    def __init__(self, pool: Pool, mix: str, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._mix = folder, mix
        self.running = [self._start(number, target) for number, target in enumerate(pool.targets())]

    def _start(self, number: int, target: str) -> subprocess.Popen[bytes]:
        place = self._folder / str(number)
        place.mkdir()
        lines = [f"{user.number};[authentication username={user.number} password={user.secret}]"
                 for user in _accounts(number)]  # fmt: skip
        (place / "users.csv").write_text("\n".join(("SEQUENTIAL", *lines)) + "\n")
        scenario = str(HERE / "pool_scenarios" / f"{self._mix}.xml")
        command = [
            "sipp", f"{target}:5060", "-i", PHONES[number], "-p", "5060", "-sf", scenario,
            "-inf", "users.csv", "-l", str(IN_FLIGHT[self._mix]), "-r", str(RATE), "-nostdin", "-trace_stat",
            "-stf", "stat.csv", "-fd", "1", "-trace_rtt", "-rtt_freq", "1", "-skip_rlimit",
        ]  # fmt: skip
        with (place / "out").open("wb") as out:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=place)

    def counted(self) -> tuple[int, int]:
        """Completed and failed so far, by sipp's statistics of this second."""
        done = [_last(self._folder / str(number) / "stat.csv") for number in range(len(self.running))]
        return sum(each[0] for each in done), sum(each[1] for each in done)

    def waits(self, first: int) -> list[float]:
        """Milliseconds of every registration or call set-up but the first so many."""
        files = sorted(self._folder.glob("*/*_rtt.csv"))
        return [wait for file in files for wait in list(_waits(file))[first // len(files) :]]

    def stop(self) -> None:
        for each in self.running:
            each.kill()
        for each in self.running:
            each.wait()


def _last(file: Path) -> tuple[int, int]:
    try:
        table = list(csv.DictReader(file.open(), delimiter=";"))
    except OSError:
        return 0, 0
    return (int(table[-1]["SuccessfulCall(C)"]), int(table[-1]["FailedCall(C)"])) if table else (0, 0)


def _waits(file: Path) -> Iterator[float]:
    for line in file.read_text().splitlines()[1:]:
        fields = line.split(";")
        if len(fields) >= 2:
            yield float(fields[1])


def measure(pool: Pool, mix: str, number: int, folder: Path, warm: float, seconds: float) -> PoolRow:
    """One row. The pool is warm from what went before, and runs on."""
    phones = Phones(pool, mix, folder)
    try:
        time.sleep(warm)
        before, used_before, began = phones.counted(), pool.used(phones.running), time.monotonic()
        time.sleep(seconds)
        after, used_after, ended = phones.counted(), pool.used(phones.running), time.monotonic()
    finally:
        phones.stop()
    took = ended - began
    waits = phones.waits(before[0])
    cuts = quantiles(waits, n=100) if len(waits) > 2 else [0.0] * 99
    servers = [b - a for a, b in zip(used_before.servers, used_after.servers, strict=True)]
    return PoolRow(
        *this_host(),
        round=number,
        way=pool.way,
        mix=mix,
        in_flight=IN_FLIGHT[mix] * len(PHONES),
        seconds=took,
        completed=after[0] - before[0],
        failed=after[1] - before[1],
        p50_ms=cuts[49],
        p99_ms=cuts[98],
        servers_cpu=sum(servers) / took,
        balancer_cpu=(used_after.balancer - used_before.balancer) / took,
        load_cpu=(used_after.load - used_before.load) / took,
        idle=(used_after.idle - used_before.idle) / took / (os.cpu_count() or 1),
        share_least=min(servers) / max(0.01, sum(servers)),
        share_most=max(servers) / max(0.01, sum(servers)),
    )


def run(rounds: int, seconds: float) -> Iterator[PoolRow]:
    with tempfile.TemporaryDirectory(prefix="sipbalancer-pool-") as name:
        for number in range(1, rounds + 1):
            for way in WAYS:
                say(f"round {number} of {rounds}: {way}")
                folder = Path(name) / f"{number}-{way}"
                with ExitStack() as stack:
                    pool = Pool(way, folder, stack)
                    for mix in MIXES:
                        yield measure(pool, mix, number, folder / mix, 2.0, seconds)


def main(arguments: list[str]) -> int:
    """Exit status: 0, 1 when something could not be measured, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="bench.pool", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if not shutil.which("sipp"):
        say("bench.pool: sipp is missing: apt-get install sip-tester")
        return 1
    try:
        fetch(Release.PJSIP)
    except EnvironmentFault as error:
        say(f"bench.pool: {error}")
        return 1
    if not asked.inside:
        return enter("bench.pool", arguments)
    loopback_up()
    kept = list(run(asked.rounds, asked.seconds))
    keep("pool", kept)
    sys.stdout.writelines(f"{line}\n" for line in pool_table(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
