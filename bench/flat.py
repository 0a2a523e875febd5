"""Does a message cost the same whoever is registered? `python -m bench.flat`, as root; also a part of `make bench`.

    python -m bench.flat [--quick] [--rounds N] [--only registrations servers memory]

One sipbalancer per bed, all at once on the CPU under test, each with its own load in a network namespace of its own:
1,000, 100,000 and 1,000,000 registrations at three servers; 3, 30 and 300 servers with 100,000 registrations. All have
room for the same number. Phones come at random, so nothing finds a warm cache that a pool of that size would not have.
In each round every bed is measured once (A B C A B C ...); a ratio is that of two beds in the same round.

Memory is that of a million registrations: the pin table by its size, all by the growth of the resident set from the
100,000th to the last, both after everybody registered (what the storm itself needed is in it) and of a process that was
started anew on what was kept. Beside it Kamailio's shared memory per usrloc record and per htable entry.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench import load, rows
from bench.flat_rows import CostRow, MemoryRow
from bench.flat_table import flat_cost, flat_memory
from bench.load import Cores, Load
from bench.programs import HERE, OURS, PROGRAMS, Program, kamailio, kamailio_missing
from bench.run import family, keep, running, say, this_host, two_cores, until_forwards
from sipbalancer.director.pins import PinTable
from sipbalancer.director.refreshes import Refreshes

ROOM = 1_100_000
"""`registrations` of every bed."""
CALLS = 100_000
FEW = 100_000
MANY = 1_000_000
ALONE = (1_000, FEW, MANY)
SERVERS = (3, 30, 300)
QUESTIONS = ("registrations", "servers", "memory")
MIXES = ("register", "call")
IN_FLIGHT = 256
STARTED_WITHIN = 120.0
LOADED_WITHIN = 300.0
STILL, STILL_BYTES = 5, 1 << 20
"""Looks, a second apart, in each of which memory changes by less than that: all is loaded."""
TRIES = 3
PATIENCE = 10.0
"""Seconds a phone waits for its answer."""
HOLDER = ("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity")


class Wish(NamedTuple):
    """What a bed is to have."""

    registrations: int
    servers: int


class Times(NamedTuple):
    warm: float
    seconds: float
    rounds: int


class Filled(NamedTuple):
    """How many were registered, and the bytes in memory then."""

    registered: int
    resident: int


class Bed:
    """One sipbalancer with its phones and servers."""

    def __init__(self, wish: Wish, process: subprocess.Popen[bytes], phones: Load) -> None:
        self.wish, self.process, self.phones = wish, process, phones
        self.filled: list[Filled] = []

    def fill(self) -> None:
        """Everybody registers. RuntimeError when somebody cannot."""
        for first, last in ((0, min(FEW, self.wish.registrations)), (FEW, self.wish.registrations)):
            if last > first:
                self._fill(first, last)
                self.filled.append(Filled(last, resident(self.process.pid)))
        self.phones.at_random()

    def _fill(self, first: int, last: int) -> None:
        said = register(self.phones, first, last - first)
        say(f"{last:,} registered, the last {last - first:,} in {said.seconds:.1f} s")

    def measure(self, mix: str, times: Times, number: int) -> CostRow:
        pids = family(self.process.pid)
        said = self.phones.run(mix, "closed", IN_FLIGHT, (times.warm, times.seconds), pids, block=False)
        idle = rows.idle_share(said.all_cpu, said.put_cpu, said.seconds)
        return CostRow(
            *this_host(),
            round=number,
            registrations=self.wish.registrations,
            servers=self.wish.servers,
            mix=mix,
            cpu_us=said.put_cpu / max(1, said.messages) * 1e6,
            rate=said.messages / said.seconds,
            idle=idle,
            lost=said.lost + max(0, said.missing_acks),
            wrong=said.wrong,
            void=rows.why_void("closed", 0, 1.0, idle, said.messages, said.wrong),
        )


def register(phones: Load, first: int, count: int) -> load.Filled:
    """All of them, who was not answered again with all others. RuntimeError when some cannot."""
    for _ in range(TRIES):
        said = phones.register_all(first, count)
        if said.wrong or not said.lost:
            break
    if said.wrong or said.lost:
        raise RuntimeError(f"{said.lost} of {count:,} not registered, {said.wrong} wrong {said.first_wrong}")
    return said


def resident(pid: int) -> int:
    """Bytes of a process that are in memory and its own: not the pin table, which is a mapped file."""
    _, all_of_it, shared, *_ = map(int, Path(f"/proc/{pid}/statm").read_text().split())
    return (all_of_it - shared) * os.sysconf("SC_PAGE_SIZE")


def settled(pid: int) -> int:
    """The same, once it grows no more: Contacts are loaded beside traffic. RuntimeError when that takes too long."""
    until = time.monotonic() + LOADED_WITHIN
    held, last = 0, resident(pid)
    while held < STILL:
        if time.monotonic() > until:
            raise RuntimeError(f"process {pid} still grows after {LOADED_WITHIN:g} s")
        time.sleep(1.0)
        now = resident(pid)
        held = held + 1 if abs(now - last) < STILL_BYTES else 0
        last = now
    return last


@contextmanager
def namespace() -> Iterator[list[str]]:
    """The words before a command that is to run in a network namespace of its own."""
    holder = subprocess.Popen(HOLDER)
    try:
        time.sleep(0.5)
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
    finally:
        holder.kill()
        holder.wait()


def _config(servers: int, folder: Path) -> list[str]:
    lines = (HERE / "sipbalancer.cf").read_text().replace("/FOLDER", str(folder)).splitlines()
    kept = [line for line in lines if "real =" not in line]
    at = next(i for i, line in enumerate(kept) if line.startswith("virtual"))
    reals = [f"    real = {_server(number)}:5070 masq" for number in range(servers)]
    text = "\n".join((*kept[: at + 1], *reals, *kept[at + 1 :])) + "\n"
    file = folder / "sipbalancer.cf"
    file.write_text(re.sub(r"registrations = \d+", f"registrations = {ROOM}", text))
    return [sys.executable, "-m", "sipbalancer", "run", str(file)]


def _server(number: int) -> str:
    return f"127.0.{2 + (number + 1) // 256}.{(number + 1) % 256}"


def sipbalancer(servers: int) -> Program:
    ours = next(program for program in PROGRAMS if program.name == OURS)
    return replace(ours, command=partial(_config, servers))


@contextmanager
def bed(wish: Wish, folder: Path, generator: Path, cores: Cores) -> Iterator[Bed]:
    """Started and ready, nobody registered yet. RuntimeError when it does not become ready."""
    place = folder / f"{wish.registrations}-{wish.servers}"
    place.mkdir(exist_ok=True)
    with ExitStack() as stack:
        inside = stack.enter_context(namespace())
        phones = Load(generator, wish.registrations, 1, cores.load, PATIENCE, inside)
        stack.callback(phones.close)
        process = stack.enter_context(running(sipbalancer(wish.servers), place, cores.under_test, inside))
        wait(phones, process, place)
        yield Bed(wish, process, phones)


def wait(phones: Load, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Until it forwards, and every server has been probed. RuntimeError when it does not."""
    until_forwards(phones, process, folder, STARTED_WITHIN)
    time.sleep(2.0)


def costs(
    wishes: Sequence[Wish], times: Times, folder: Path, generator: Path, cores: Cores
) -> tuple[list[CostRow], dict[Wish, list[Filled]]]:
    """All beds at once, round after round; and what each took when it was filled."""
    kept: list[CostRow] = []
    with ExitStack() as stack:
        beds = []
        for wish in wishes:
            say(f"a bed of {wish.registrations:,} registrations, {wish.servers} servers")
            beds.append(stack.enter_context(bed(wish, folder, generator, cores)))
            beds[-1].fill()
        for number in range(1, times.rounds + 1):
            for each in beds:
                kept += [each.measure(mix, times, number) for mix in MIXES]
            say(f"round {number} of {times.rounds}")
        return kept, {each.wish: each.filled for each in beds}


# Memory.


def ours_in_memory(
    few: Wish, most: Wish, filled: Sequence[Filled], folder: Path, generator: Path, cores: Cores
) -> Iterator[MemoryRow]:
    """Of beds that were filled and ended: their folders are read again by a new process."""
    first, last = few.registrations, most.registrations
    pin = PinTable.size_for(ROOM + CALLS) / (ROOM + CALLS)
    yield _memory("sipbalancer: pin", 0, ROOM + CALLS, pin, "a table of this size from the start")
    pin += Refreshes.size_for(ROOM) / ROOM
    anew = []
    for wish in (few, most):
        with bed(wish, folder, generator, cores) as again:
            anew.append(settled(again.process.pid))
    note = "pin, refresh, Contact and flow; a process started anew on what was kept"
    yield _memory("sipbalancer: all", first, last, pin + (anew[1] - anew[0]) / (last - first), note)
    grown = (filled[-1].resident - filled[0].resident) / (last - first)
    note = "the same while all of them register at once: 32 s of ended transactions beside"
    yield _memory("sipbalancer: all, in a storm", first, last, pin + grown, note)


def _memory(what: str, first: int, last: int, each: float, note: str) -> MemoryRow:
    return MemoryRow(*this_host(), what, first, last, each, note)


def kamailio_in_memory(most: int, folder: Path, generator: Path, cores: Cores) -> Iterator[MemoryRow]:
    """Shared memory in use, as it says itself. RuntimeError when it does not answer."""
    for what, define in (("kamailio: usrloc record", ["USRLOC"]), ("kamailio: htable entry", [])):
        place = folder / ("usrloc" if define else "htable")
        place.mkdir()
        program = replace(PROGRAMS[0], command=partial(_store, define))
        with namespace() as inside, running(program, place, cores.under_test, inside) as process:
            phones = Load(generator, most, 1, cores.load, PATIENCE, inside)
            try:
                wait(phones, process, place)
                used = []
                for first, last in ((0, FEW), (FEW, most)):
                    register(phones, first, last - first)
                    used.append(_shared_memory(place))
                each = (used[1] - used[0]) / (most - FEW)
                yield _memory(what, FEW, most, each, "shared memory in use, by core.shmmem")
            finally:
                phones.close()


def _store(define: list[str], folder: Path) -> list[str]:
    return kamailio(folder, "kamailio-store.cfg", f'CONTROL="unix:{folder}/control"', *define)


def _shared_memory(folder: Path) -> int:
    done = subprocess.run(
        ["kamcmd", "-s", f"unix:{folder}/control", "core.shmmem"], capture_output=True, text=True, check=False
    )
    found = re.search(r"\breal_used: (\d+)", done.stdout)
    if not found:
        raise RuntimeError(f"kamcmd core.shmmem: {done.stdout}{done.stderr}")
    return int(found[1])


# The command.


class Flat:
    """What was asked for, and the rows."""

    def __init__(self, only: Sequence[str], most: int, times: Times) -> None:
        self._only, self._most, self._times = only, Wish(most, SERVERS[0]), times
        self.costs: list[CostRow] = []
        self.memory: list[MemoryRow] = []
        self.failed = False
        """Something could not be measured."""

    def wishes(self) -> list[Wish]:
        """The beds, each once."""
        alone = [Wish(count, SERVERS[0]) for count in ALONE if count < self._most.registrations]
        wanted = [*alone, self._most] if "registrations" in self._only else []
        wanted += [Wish(FEW, servers) for servers in SERVERS] if "servers" in self._only else []
        wanted += [Wish(FEW, SERVERS[0]), self._most] if "memory" in self._only else []
        return list(dict.fromkeys(wanted))

    def run(self, folder: Path, generator: Path, cores: Cores) -> None:
        try:
            self.costs, filled = costs(self.wishes(), self._times, folder, generator, cores)
            if "memory" in self._only:
                few = Wish(FEW, SERVERS[0])
                self.memory += ours_in_memory(few, self._most, filled[self._most], folder, generator, cores)
                self._kamailio(folder, generator, cores)
        except RuntimeError as error:
            say(f"not measured: {error}")
            self.failed = True

    def _kamailio(self, folder: Path, generator: Path, cores: Cores) -> None:
        if problem := kamailio_missing():
            say(f"kamailio's memory: not measured: {problem}")
            self.failed = True
        else:
            self.memory += kamailio_in_memory(self._most.registrations, folder, generator, cores)


def missing() -> str:
    """Why nothing can be measured here, "" when it can."""
    if os.geteuid():
        return "needs root: it makes network namespaces"
    return load.missing() or ("" if two_cores() else "one CPU only: nothing is measured")


def main(arguments: list[str]) -> int:
    """Exit status: 0, 1 when something could not be measured, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="bench.flat", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="100,000 registrations at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--only", nargs="+", choices=QUESTIONS)
    asked = parser.parse_args(arguments)
    if problem := missing():
        say(f"bench.flat: {problem}")
        return 1
    cores = two_cores()
    assert cores is not None
    bench = Flat(asked.only or QUESTIONS, 2 * FEW if asked.quick else MANY, Times(0.3, asked.seconds, asked.rounds))
    with tempfile.TemporaryDirectory(prefix="sipbalancer-bench-") as name:
        bench.run(Path(name), load.build(Path(name)), cores)
    kept, memory = bench.costs, bench.memory
    for kind, found in (("flat", kept), ("memory", memory)):
        if found:
            keep(kind, found)
    lines = [*(flat_cost(kept) if kept else ()), *(flat_memory(memory) if memory else ())]
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return int(bench.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
