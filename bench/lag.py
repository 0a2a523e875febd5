"""The longest gap of the loop at a million pins: `python -m bench.lag [--pins 1000000] [--servers 300] [--rounds 3]`.

A real `sipbalancer run` on a state folder with so many pins and Contacts, so many servers, and a few REGISTERs a second
beside. In each phase (nothing, scrapes, reloads, expiry, new Contacts saved, the first seconds after `ready`) the load
notes how long the slowest message took: a gap of the loop is that long, wherever it comes from. Each phase is measured
several times and the least counts, as on a shared machine others take the CPU now and then; all are in the row, and how
long the balancer waited for a CPU.
Rows go to bench/results/lag-*.tsv.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import load, rows
from bench.load import Load
from bench.programs import OURS, PROGRAMS
from bench.run import INSIDE, enter, keep, loopback_up, running, say, this_host, two_cores
from sipbalancer.cli.ask import ask
from sipbalancer.config.parser import parse
from sipbalancer.daemon.contacts import ContactFile
from sipbalancer.daemon.state import open_state
from sipbalancer.director.bindings import BindingRow
from sipbalancer.director.pins import PinKind
from sipbalancer.director.table import ServiceTable
from sipbalancer.errors import SipBalancerError

RATE = 1000.0
PHONES = 4096
METRICS = "127.0.0.1:9090"
READY_SECONDS = 180.0
PHASE_SECONDS = 4.0
MAY_BE = 0.020


@dataclass(frozen=True, slots=True)
class Row(rows.Origin):
    """One phase. Milliseconds."""

    pins: int
    servers: int
    phase: str
    least: float
    """Of the rounds, the slowest message of each."""
    all: str
    waited: str
    """Share of each round in which the balancer wanted a CPU and had none: others had it."""
    p99: float
    lag: float
    """The balancer's own `sipbalancer_loop_lag_seconds` behind the last round."""


def config_text(folder: Path, servers: int, pins: int, weight: int = 1) -> str:
    """The file; another weight of the first server makes another file."""
    real = [f"    real = 127.0.2.{n + 1}:5070 masq {weight if not n else 1}" for n in range(min(servers, 250))]
    real += [f"    real = 127.0.4.{n - 249}:5070 masq" for n in range(250, servers)]
    words = [f'state = "{folder}/state"', f'admin = "{folder}/admin.sock"', f"metrics = {METRICS}"]
    words += [f"registrations = {pins + 100_000}", "virtual = 127.0.0.1:5060", "    alias = pbx.example.com"]
    return "\n".join([*words, *real, "    protocol = udp", "    service = sip", "    checkinterval = 10", ""])


def fill(folder: Path, text: str, pins: int, expire: float) -> None:
    """Pins and Contacts in the state folder; a tenth of the pins expire within a minute after `expire`."""
    config = parse(text, str(folder / "sipbalancer.cf")).config
    now = time.time()
    state = open_state(config)
    try:
        table = state.pin_table(now)
        services = ServiceTable(config, state.keys, table, now, 0)
        service = next(iter(services.state.services.values()))
        chance = random.Random(1)
        for number in range(pins):
            until = expire + 60 * chance.random() if number % 10 == 0 else now + 7200
            table.put(chance.getrandbits(64), chance.choice(service.servers).serial, PinKind.BINDING, until)
        assert state.contacts is not None
        asyncio.run(_save(state.contacts, service.key, pins, now, expire))
        del services
        table.close()
    finally:
        state.close()


async def _save(path: Path, key: str, pins: int, now: float, expire: float) -> None:
    file = ContactFile(path)
    for start in range(0, pins, 50_000):
        await file.save([_row(key, number, now, expire) for number in range(start, min(pins, start + 50_000))])
    await file.close()


def _row(key: str, number: int, now: float, expire: float) -> BindingRow:
    user = f"{5_000_000 + number}"
    client = (5060).to_bytes(2) + (0x0A000000 + number).to_bytes(4)
    until = expire + number % 60 if number % 10 == 0 else now + 7200
    contact = f"sip:{user}@192.168.{number >> 8 & 255}.{number & 255}:5060;transport=udp;line={number:08x}"
    return BindingRow(key, f"{user}@pbx.example.com", contact, client, "127.0.2.1:5070", until)


class Phases:
    """One balancer, and what is done to it while the load runs."""

    def __init__(
        self, phones: Load, process: subprocess.Popen[bytes], folder: Path, write: Callable[[int], None]
    ) -> None:
        self._phones = phones
        self._process = process
        self._folder = folder
        self._write = write
        self._weight = 1

    def measure(self, act: Callable[[], None] | None) -> tuple[float, float, float]:
        """(slowest, 99 of 100) in milliseconds while `act` is done once a second; the share waited for a CPU."""
        stop = threading.Event()

        def often() -> None:
            while act is not None and not stop.wait(1.0):
                act()

        thread = threading.Thread(target=often)
        thread.start()
        waited, begun = waiting(self._process.pid), time.monotonic()
        said = self._phones.run("register", "open", RATE, (0.0, PHASE_SECONDS), [self._process.pid], block=False)
        stop.set()
        thread.join()
        share = (waiting(self._process.pid) - waited) / (time.monotonic() - begun)
        return said.max_us / 1e3, said.p99_us / 1e3, share

    def scrape(self) -> None:
        with urllib.request.urlopen(f"http://{METRICS}/metrics") as answer:
            answer.read()

    def reload(self) -> None:
        self._weight = 3 - self._weight
        self._write(self._weight)
        self._process.send_signal(signal.SIGHUP)

    def status(self) -> None:
        ask(self._folder / "admin.sock", command="status")

    def lag(self) -> float:
        with urllib.request.urlopen(f"http://{METRICS}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return 1e3 * float(next(line for line in lines if line.startswith("sipbalancer_loop_lag_seconds ")).split()[1])


def waiting(pid: int) -> float:
    """Seconds the main thread was runnable and did not run."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def wait_until_ready(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """RuntimeError when it does not come."""
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if "event=ready" in (folder / "log").read_text(errors="replace"):
            return
        time.sleep(0.01)
    raise RuntimeError(f"not ready:\n{(folder / 'log').read_text(errors='replace')[-2000:]}")


def measure(pins: int, servers: int, rounds: int, host: rows.Host) -> Iterator[Row]:
    cores = two_cores()
    assert cores is not None
    program = next(each for each in PROGRAMS if each.name == OURS)
    with tempfile.TemporaryDirectory(prefix="sipbalancer-bench-") as name:
        folder = Path(name)
        phones = Load(load.build(folder), PHONES, program.hops, cores.load)
        path = folder / "sipbalancer.cf"

        def write(weight: int) -> None:
            path.write_text(config_text(folder, servers, pins, weight))

        write(1)
        say(f"filling the state folder with {pins:,} pins and Contacts")
        fill(folder, path.read_text(), pins, time.time() + 60)
        command = [sys.executable, "-m", "sipbalancer", "run", str(path)]
        ours = dataclasses.replace(program, command=lambda _: command)
        begun = time.monotonic()
        with running(ours, folder, cores.under_test) as process:
            wait_until_ready(folder, process)
            say(f"ready after {time.monotonic() - begun:.1f} s")
            phases = Phases(phones, process, folder, write)
            wanted: list[tuple[str, int, Callable[[], None] | None]] = [
                ("after ready", 1, None),
                ("nothing", rounds, None),
                ("scrape", rounds, phases.scrape),
                ("reload", rounds, phases.reload),
                ("status", rounds, phases.status),
                ("expiry", max(rounds, 6), None),
            ]
            for phase, times, act in wanted:
                found = [phases.measure(act) for _ in range(times)]
                slowest = [most for most, _, _ in found]
                every = " ".join(f"{each:.1f}" for each in slowest)
                waited = " ".join(f"{share:.0%}" for _, _, share in found)
                say(f"{phase}: {every} ms; waited for a CPU {waited}")
                p99 = min(each for _, each, _ in found)
                yield Row(*host, pins, servers, phase, min(slowest), every, waited, p99, phases.lag())
        phones.close()


def main(arguments: list[str]) -> int:
    """Exit status: 0; 1 when a gap was above 20 ms, or nothing could be measured."""
    parser = argparse.ArgumentParser(prog="bench.lag", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--pins", type=int, default=1_000_000)
    parser.add_argument("--servers", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if problem := load.missing() or ("" if two_cores() else "one CPU only: nothing is measured"):
        say(problem)
        return 1
    if not asked.inside:
        return enter("bench.lag", arguments)
    loopback_up()
    try:
        kept = list(measure(asked.pins, asked.servers, asked.rounds, this_host()))
    except (RuntimeError, SipBalancerError) as error:
        say(str(error))
        return 1
    keep("lag", kept)
    return 1 if any(row.least > 1e3 * MAY_BE for row in kept) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
