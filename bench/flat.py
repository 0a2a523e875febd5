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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bench import load, rows
from bench.load import Cores, Load
from bench.programs import HERE, OURS, PROGRAMS, Program, kamailio, kamailio_missing
from bench.run import family, running, say, this_host, two_cores
from sipbalancer.director.pins import PinTable

ROOM = 1_100_000
"""`registrations` of every bed."""
CALLS = 100_000
FEW = 100_000
MANY = 1_000_000
ALONE = (1_000, FEW, MANY)
SERVERS = (3, 30, 300)
MIXES = ("register", "call")
IN_FLIGHT = 256
STARTED_WITHIN = 120.0
SETTLED = 45.0
"""Seconds until transactions (32 s) and what the storm needed besides are gone."""
HOLDER = ("setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", "ip link set lo up && exec sleep infinity")


class Wish(NamedTuple):
    """What a bed is to have."""

    registrations: int
    servers: int


class Times(NamedTuple):
    warm: float
    seconds: float
    rounds: int


@dataclass(frozen=True, slots=True)
class CostRow:
    """One measurement of one bed."""

    time: str
    commit: str
    python: str
    machine: str
    kernel: str
    round: int
    registrations: int
    servers: int
    mix: str
    """register (a refresh) or call (INVITE, 100, 180, 200, ACK, BYE, 200)."""
    cpu_us: float
    """CPU time of the process per message forwarded, kernel included."""
    rate: float
    """Messages per second."""
    idle: float
    """Share of the load's CPU that nobody used."""
    lost: int
    wrong: int
    void: str


@dataclass(frozen=True, slots=True)
class MemoryRow:
    time: str
    commit: str
    python: str
    machine: str
    kernel: str
    what: str
    first: int
    """Registrations before,"""
    last: int
    """and after."""
    grown: int
    """Bytes of memory more than before."""
    per_registration: float
    note: str


class Bed:
    """One sipbalancer with its phones and servers."""

    def __init__(self, wish: Wish, process: subprocess.Popen[bytes], phones: Load) -> None:
        self.wish, self.process, self.phones = wish, process, phones
        self.resident: list[tuple[int, int]] = []
        """(registrations, bytes) as it was filled."""

    def fill(self) -> None:
        """Everybody registers. RuntimeError when somebody cannot."""
        for first, last in ((0, min(FEW, self.wish.registrations)), (FEW, self.wish.registrations)):
            if last > first:
                self._fill(first, last)
                self.resident.append((last, resident(self.process.pid)))
        self.phones.at_random()

    def _fill(self, first: int, last: int) -> None:
        said = self.phones.register_all(first, last - first)
        if said.wrong or said.lost:
            raise RuntimeError(f"{self.wish}: {said.lost} not registered, {said.wrong} wrong {said.first_wrong}")
        say(f"{last:,} registered, the last {last - first:,} in {said.seconds:.1f} s")

    def measure(self, mix: str, times: Times, number: int) -> CostRow:
        pids = family(self.process.pid)
        said = self.phones.run(mix, "closed", IN_FLIGHT, (times.warm, times.seconds), pids, block=False)
        others = max(1, (os.cpu_count() or 2) - 1)
        idle = 1 - (said.all_cpu - said.put_cpu) / said.seconds / others
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


def resident(pid: int) -> int:
    """Bytes of a process that are in memory, the pin table's among them."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


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
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        inside = stack.enter_context(namespace())
        phones = Load(generator, max(wish.registrations, 1), 1, cores.load, inside=inside)
        stack.callback(phones.close)
        process = stack.enter_context(running(sipbalancer(wish.servers), folder, cores.under_test, inside))
        _wait(phones, process, folder)
        yield Bed(wish, process, phones)


def _wait(phones: Load, process: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + STARTED_WITHIN
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.5)
        said = phones.run("register", "closed", 4, (0.0, 0.2), [process.pid], block=False)
        if said.completed and not said.wrong and not said.lost:
            time.sleep(2.0)  # every server has been probed
            return
    raise RuntimeError(f"does not forward:\n{(folder / 'log').read_text(errors='replace')[-2000:]}")


def costs(wishes: Sequence[Wish], times: Times, folder: Path, generator: Path, cores: Cores) -> list[CostRow]:
    """All beds at once, round after round."""
    kept: list[CostRow] = []
    with ExitStack() as stack:
        beds = []
        for number, wish in enumerate(wishes):
            say(f"a bed of {wish.registrations:,} registrations, {wish.servers} servers")
            beds.append(stack.enter_context(bed(wish, folder / f"bed{number}", generator, cores)))
            beds[-1].fill()
        for number in range(1, times.rounds + 1):
            for each in beds:
                kept += [each.measure(mix, times, number) for mix in MIXES]
            say(f"round {number} of {times.rounds}")
    return kept


# Memory.


def ours_in_memory(most: int, folder: Path, generator: Path, cores: Cores) -> Iterator[MemoryRow]:
    pins = PinTable.size_for(ROOM + CALLS)
    yield _memory("sipbalancer: pin", 0, ROOM + CALLS, pins, "the table has this size from the start")
    wish = Wish(most, 3)
    started: dict[int, int] = {}
    with bed(wish, folder / "memory", generator, cores) as full:
        full.fill()
        time.sleep(SETTLED)
        (few, before), (_, after) = full.resident[0], full.resident[-1]
        note = "pins, Contacts, flows, and what 32 s of so many REGISTERs leave"
        yield _memory("sipbalancer: in a storm of REGISTERs", few, most, after - before, note)
        started[most] = _anew(full.process.pid)
    for count in (few, most):
        with bed(Wish(count, 3), folder / f"memory{count}", generator, cores) as one:
            one.phones.register_all(0, count)
            time.sleep(SETTLED)
        with bed(Wish(count, 3), folder / f"memory{count}", generator, cores) as one:
            time.sleep(2.0)
            started[count] = resident(one.process.pid)
    note = "pins, Contacts, flows; the growth of the resident set"
    yield _memory("sipbalancer: all", few, most, started[most] - started[few], note)


def _anew(pid: int) -> int:
    return resident(pid)


def _memory(what: str, first: int, last: int, grown: int, note: str) -> MemoryRow:
    return MemoryRow(*this_host(), what, first, last, grown, grown / (last - first), note)


def kamailio_in_memory(most: int, folder: Path, generator: Path, cores: Cores) -> Iterator[MemoryRow]:
    """Shared memory in use, as it says itself. RuntimeError when it does not answer."""
    for what, define in (("kamailio: usrloc record", ["USRLOC"]), ("kamailio: htable entry", [])):
        place = folder / ("usrloc" if define else "htable")
        place.mkdir()
        program = replace(PROGRAMS[0], command=partial(_store, define))
        with namespace() as inside, running(program, place, cores.under_test, inside) as process:
            phones = Load(generator, most, 1, cores.load, inside=inside)
            try:
                _wait(phones, process, place)
                used = []
                for first, last in ((0, FEW), (FEW, most)):
                    said = phones.register_all(first, last - first)
                    if said.wrong or said.lost:
                        raise RuntimeError(f"{what}: {said.lost} lost, {said.wrong} wrong {said.first_wrong}")
                    used.append(_shared_memory(place))
                yield _memory(what, FEW, most, used[1] - used[0], "shared memory in use, by core.shmmem")
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


def wishes_for(only: Sequence[str], most: int) -> list[Wish]:
    """The beds, each once."""
    wanted = [Wish(count, 3) for count in ALONE if count <= most] if "registrations" in only else []
    wanted += [Wish(FEW, servers) for servers in SERVERS] if "servers" in only else []
    return list(dict.fromkeys(wanted))


def summary(costs: Sequence[CostRow], memory: Sequence[MemoryRow]) -> Iterator[str]:
    from bench.table import flat_cost, flat_memory

    if costs:
        yield from flat_cost(costs)
    if memory:
        yield from flat_memory(memory)


def _missing() -> str:
    if os.geteuid():
        return "needs root: it makes network namespaces"
    return load.missing() or ("" if two_cores() else "one CPU only: nothing is measured")


def main(arguments: list[str]) -> int:
    """Exit status: 0, 1 when something could not be measured, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="bench.flat", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="100,000 registrations at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    parser.add_argument("--only", nargs="+", choices=("registrations", "servers", "memory"), default=None)
    asked = parser.parse_args(arguments)
    if problem := _missing():
        say(f"bench.flat: {problem}")
        return 1
    cores = two_cores()
    assert cores is not None
    only = asked.only or ("registrations", "servers", "memory")
    most = 2 * FEW if asked.quick else MANY
    times = Times(0.3, asked.seconds, asked.rounds)
    failed = False
    kept: list[CostRow] = []
    memory: list[MemoryRow] = []
    with tempfile.TemporaryDirectory(prefix="sipbalancer-bench-") as name:
        folder, generator = Path(name), load.build(Path(name))
        steps: list[Callable[[], object]] = []
        if wishes := wishes_for(only, most):
            steps.append(lambda: kept.extend(costs(wishes, times, folder, generator, cores)))
        if "memory" in only:
            steps.append(lambda: memory.extend(ours_in_memory(most, folder, generator, cores)))
            if problem := kamailio_missing():
                say(f"kamailio's memory: not measured: {problem}")
                failed = True
            else:
                steps.append(lambda: memory.extend(kamailio_in_memory(most, folder, generator, cores)))
        for step in steps:
            try:
                step()
            except RuntimeError as error:
                say(f"not measured: {error}")
                failed = True
    for kind, found in (("flat", kept), ("memory", memory)):
        if found:
            first = found[0]
            path = rows.RESULTS / f"{kind}-{first.time.replace(':', '')}-{first.commit.rstrip('+')}.tsv"
            rows.write(path, found)
            say(f"rows kept in bench/results/{path.name}")
    sys.stdout.writelines(f"{line}\n" for line in summary(kept, memory))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
