"""`make bench`: CPU per message and messages per second of one forwarding process, against its peers in the same run.

    python -m bench.run [--quick] [--dry] [--only NAME ...] [--rounds N] [--phones N]

The program under test has one CPU, the load (bench/load.c) another; all traffic stays in a network namespace made for
the run. In each round every program is measured once (A B C D A B C D ...): closed loop with 1, 64 and 256 in flight,
then open loop at half of what Kamailio could do in this run; in the first round what keeps transactions once more, for
45 s. Rows go to bench/results/, the table to stdout.
Work that the kernel does for a datagram on loopback (softirq) is done and charged where the datagram was sent.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench import load, rows
from bench.load import Cores, Load, Said
from bench.programs import FORWARD, FORWARD_8, OURS, OURS_2, OURS_C, PROGRAMS, T_RELAY, T_RELAY_8, Program
from bench.rows import Row
from bench.speed_table import render

MIXES = ("register", "call")
IN_FLIGHT = (1, 64, 256)
LABELLED = (OURS_2, FORWARD_8, T_RELAY_8)
"""Another way to run a program that is there already; saturation and half load say enough."""
LASTING = (T_RELAY, OURS)
"""Both keep ended transactions, 5 and 32 s: the long measurement is longer."""
INSIDE = "--inside"
CHECKOUT = Path(__file__).parent.parent


class Plan(NamedTuple):
    """How much is measured."""

    rounds: int
    warm: float
    """Seconds before each measurement."""
    seconds: float
    phones: int
    heat: float
    """Seconds of REGISTERs before the first measurement of a program: memory is touched, every phone is known, and the
    first transactions have ended (Kamailio keeps them 5 s)."""
    lasting: float
    """Seconds of the one long measurement; 0: none."""


QUICK = Plan(2, 0.2, 0.5, 2048, 1.0, 0.0)
FULL = Plan(3, 0.3, 1.5, 8192, 6.0, 45.0)


def say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> int:
    """Exit status: 0, 1 when something could not be measured, 2 for wrong usage."""
    asked = _arguments(arguments)
    plan = QUICK if asked.quick else FULL
    plan = plan._replace(rounds=asked.rounds or plan.rounds, phones=asked.phones or plan.phones)
    programs = [program for program in PROGRAMS if not asked.only or _asked_for(program, asked.only)]
    cores = two_cores()
    problems = _problems(programs, cores)
    for problem in problems.values():
        say(problem)
    if asked.dry:
        sys.stdout.writelines(f"{line}\n" for line in _describe(programs, problems, plan, cores))
        return 0
    if cores is None or "load" in problems:
        return 1
    if not asked.inside:
        return enter("bench.run", arguments)
    loopback_up()
    bench = Bench(plan, cores, this_host())
    measured = bench.measure([each for each in programs if each.name not in problems])
    if not measured:
        return 1
    keep("speed", measured)
    sys.stdout.write(render(measured))
    return 1 if problems or bench.failed else 0


def keep(kind: str, kept: Sequence[rows.Origin]) -> None:
    """Write the rows of a run to bench/results/, and say where."""
    first = kept[0]
    path = rows.RESULTS / f"{kind}-{first.time.replace(':', '')}-{first.commit.rstrip('+')}.tsv"
    rows.write(path, kept)
    say(f"rows kept in {path.relative_to(CHECKOUT)}")


def _asked_for(program: Program, words: Sequence[str]) -> bool:
    return program.name in words or program.name.split()[-1] in words


def _arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.run", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="about a minute instead of five")
    parser.add_argument("--dry", action="store_true", help="say what would be measured, and what is missing")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="forward(), t_relay(), stream, sipbalancer")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--phones", type=int, help="how many different clients")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def two_cores() -> Cores | None:
    """Two CPUs, None where there is only one."""
    have = sorted(os.sched_getaffinity(0))
    return Cores(have[0], have[1]) if len(have) > 1 else None


def _problems(programs: Iterable[Program], cores: Cores | None) -> dict[str, str]:
    """What cannot be measured here -> why."""
    found = {program.name: program.missing() for program in programs}
    found["load"] = load.missing()
    found["cores"] = "" if cores else "one CPU only: the load would compete with what it measures; nothing is measured"
    return {name: f"{name}: {why}" for name, why in found.items() if why}


def _describe(programs: list[Program], problems: dict[str, str], plan: Plan, cores: Cores | None) -> Iterator[str]:
    yield f"{plan.rounds} rounds, {plan.seconds:g} s each, {plan.phones} phones, CPUs {cores}"
    for program in programs:
        yield f"{program.name}\t{problems.get(program.name, 'ready')}"


def enter(module: str, arguments: list[str]) -> int:
    """A bench again, in a network namespace of its own; its exit status."""
    rootless = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--net", *rootless, sys.executable, "-m", module, INSIDE, *arguments]
    return subprocess.run(command, cwd=CHECKOUT, check=False).returncode


def loopback_up() -> None:
    """What the namespace lacks."""
    ip = shutil.which("ip", path="/sbin:/usr/sbin:/bin:/usr/bin") or "ip"
    subprocess.run([ip, *"link set lo up".split()], check=True)


@cache
def this_host() -> rows.Host:
    """The same for all rows of a run: asked once."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(CHECKOUT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    changed = "+" if git("status", "--porcelain", "--", "sipbalancer", "bench/*.c") else ""
    cpu = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?")
    began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    commit = (git("rev-parse", "--short", "HEAD") or "?") + changed
    return began, commit, rows.python_build(), f"{cpu}, {os.cpu_count()} CPUs", platform.release()


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


class Bench:
    """One run."""

    def __init__(self, plan: Plan, cores: Cores, host: rows.Host) -> None:
        self._plan = plan
        self._cores = cores
        self._host = host
        self._rows: list[Row] = []
        self.failed = False
        """A program could not be measured."""

    def measure(self, programs: list[Program]) -> list[Row]:
        """All rows, those of a program that failed to start excepted."""
        with tempfile.TemporaryDirectory(prefix="sipbalancer-bench-") as name:
            generator = load.build(Path(name))
            for number in range(1, self._plan.rounds + 1):
                for program in programs:
                    folder = Path(name) / f"{number}-{PROGRAMS.index(program)}"
                    folder.mkdir()
                    try:
                        self._program(program, number, folder, generator)
                    except RuntimeError as error:
                        say(f"{program.name}: not measured: {error}")
                        self.failed = True
        return self._rows

    def _program(self, program: Program, number: int, folder: Path, generator: Path) -> None:
        say(f"round {number} of {self._plan.rounds}: {program.name}")
        phones = Load(generator, self._plan.phones, program.hops, self._cores.load)
        try:
            with running(program, folder, self._cores.under_test) as process:
                until_forwards(phones, process, folder)
                time.sleep(0.5)
                pids = family(process.pid)
                version = program.version()
                phones.run("register", "closed", IN_FLIGHT[-1], (0.0, self._plan.heat), pids, block=False)
                for mix in MIXES:
                    for size in IN_FLIGHT if program.name not in LABELLED else IN_FLIGHT[-1:]:
                        said = phones.run(mix, "closed", size, self._spans, pids, block=size == 1)
                        self._keep(program, version, number, mix, "closed", size, 0.0, said)
                    for rate in self._half_loads(program, mix):
                        said = phones.run(mix, "open", rate, self._spans, pids, block=False)
                        self._keep(program, version, number, mix, "open", 0, rate, said)
                if self._plan.lasting and number == 1 and program.name in LASTING:
                    spans = self._plan.warm, self._plan.lasting
                    said = phones.run("register", "closed", IN_FLIGHT[-1], spans, pids, block=False)
                    self._keep(program, version, number, "register", "lasting", IN_FLIGHT[-1], 0.0, said)
        finally:
            phones.close()

    @property
    def _spans(self) -> tuple[float, float]:
        return self._plan.warm, self._plan.seconds

    def _half_loads(self, program: Program, mix: str) -> list[float]:
        """Half of Kamailio's saturation in this run, transactions per second; our own half where there is no peer."""
        both = FORWARD, T_RELAY
        wanted = {T_RELAY: (T_RELAY,), T_RELAY_8: (T_RELAY,), OURS: both, OURS_C: both}.get(program.name, (FORWARD,))
        halves = [half for name in wanted if (half := self._half_of(name, mix))]
        if not halves and (half := self._half_of(program.name, mix)):
            return [half]
        return halves

    def _half_of(self, name: str, mix: str) -> float:
        most = [
            row.transaction_rate
            for row in self._rows
            if row.program == name and row.mix == mix and row.loop == "closed" and row.in_flight == IN_FLIGHT[-1]
        ]
        return round(median(most) / 2, -2) if most else 0.0

    def _keep(
        self,
        program: Program,
        version: str,
        number: int,
        mix: str,
        loop: str,
        size: int,
        offered: float,
        said: Said,
    ) -> None:
        busy = said.put_cpu / said.seconds
        idle = rows.idle_share(said.all_cpu, said.put_cpu, said.seconds)
        lost = said.lost + max(0, said.missing_acks) + (0 if size else said.skipped)
        row = Row(
            *self._host,
            round=number,
            program=program.name,
            version=version,
            mix=mix,
            loop=loop,
            in_flight=size,
            offered=offered,
            seconds=said.seconds,
            completed=said.completed,
            messages=said.messages,
            bytes=said.bytes,
            cpu_us=said.put_cpu / max(1, said.messages) * 1e6,
            busy=busy,
            load_busy=said.own_cpu / said.seconds,
            idle=idle,
            lost=lost,
            wrong=said.wrong,
            repeats=said.repeats,
            p50_us=said.p50_us,
            p99_us=said.p99_us,
            max_us=said.max_us,
            void=rows.why_void(loop, size, busy, idle, said.messages, said.wrong),
            note=said.first_wrong or (f"{lost} lost" if lost else ""),
        )
        self._rows.append(row)
        if row.note or row.void:
            say(f"{program.name}, {mix}, {loop} {size or offered:g}: {row.note} {row.void and f'[void: {row.void}]'}")


@contextmanager
def running(program: Program, folder: Path, core: int, inside: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
    """The program under test on its core, its words in `folder`/log; `inside`: the words before its command."""
    with (folder / "log").open("wb") as log, load.on_core(core):
        process = subprocess.Popen(
            [*inside, *program.command(folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=CHECKOUT,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def until_forwards(phones: Load, process: subprocess.Popen[bytes], folder: Path, within: float = 15.0) -> None:
    """Until REGISTERs pass without a fault. RuntimeError when they do not `within` so many seconds."""
    until = time.monotonic() + within
    while time.monotonic() < until and process.poll() is None:
        time.sleep(0.3)
        said = phones.run("register", "closed", 4, (0.0, 0.2), [process.pid], block=False)
        if said.completed and not said.wrong and not said.lost:
            return
    raise RuntimeError(f"does not forward:\n{(folder / 'log').read_text(errors='replace')[-2000:]}")


def family(pid: int) -> list[int]:
    """A process and all below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
