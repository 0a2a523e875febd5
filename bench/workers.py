"""Two workers beside one process, on one core: `python -m bench.workers [--rounds N] [--seconds S]`, as root.

Three ways, each in namespaces of its own, measured in turns A B C A B C: one process; `workers = 2`; and two balancers
that know nothing of each other, with half of the clients and of the load each, at the same time. What the last costs
more than the first is the price of sharing a core, whoever shares it. How evenly the kernel shares 1,000 clients is
read from `status`. What two cores can do is not measured: on two CPUs the load needs one for itself.

Rows go to bench/results/workers-*.tsv.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from bench import load, rows
from bench.flat import PATIENCE, missing, namespace, wait
from bench.load import Cores, Load, Said
from bench.programs import OURS, OURS_2, PROGRAMS
from bench.run import family, keep, running, say, this_host, two_cores
from bench.worker_rows import APART, MIXES, ONE, TWO, WAYS, WorkerRow, worker_table
from sipbalancer.cli.ask import ask

FLOWS = 1000
IN_FLIGHT = 256
HEAT = 3.0
WARM = 0.3
PARTS = {ONE: (OURS,), TWO: (OURS_2,), APART: (OURS, OURS)}


class Part:
    """One program with its phones and servers, in a namespace of its own."""

    def __init__(self, process: subprocess.Popen[bytes], phones: Load, folder: Path) -> None:
        self._process, self._phones, self._folder = process, phones, folder

    def run(self, mix: str, size: int, spans: tuple[float, float]) -> Said:
        return self._phones.run(mix, "closed", size, spans, family(self._process.pid), block=False)

    def shares(self) -> list[float]:
        """By worker; none where one process does everything."""
        said = ask(self._folder / "admin.sock", command="status")
        return [float(worker["share"]) for worker in said["workers"]]


class Bed:
    """One way: its parts work at the same time."""

    def __init__(self, way: str, parts: Sequence[Part]) -> None:
        self.way, self._parts = way, parts

    def run(self, mix: str, spans: tuple[float, float]) -> list[Said]:
        with ThreadPoolExecutor(len(self._parts)) as pool:
            size = IN_FLIGHT // len(self._parts)
            return list(pool.map(lambda part: part.run(mix, size, spans), self._parts))

    def measure(self, mix: str, seconds: float, number: int) -> WorkerRow:
        said = self.run(mix, (WARM, seconds))
        messages, cpu = sum(each.messages for each in said), sum(each.put_cpu for each in said)
        span = max(each.seconds for each in said)
        idle = rows.idle_share(max(each.all_cpu for each in said), cpu, span)
        wrong = sum(each.wrong for each in said)
        shares = [share for part in self._parts for share in part.shares()] or [0.0]
        return WorkerRow(
            *this_host(),
            round=number,
            way=self.way,
            mix=mix,
            flows=FLOWS,
            in_flight=IN_FLIGHT,
            cpu_us=cpu / max(1, messages) * 1e6,
            rate=messages / span,
            share_least=min(shares),
            share_most=max(shares),
            lost=sum(each.lost + max(0, each.missing_acks) for each in said),
            wrong=wrong,
            void=rows.why_void("closed", 0, 1.0, idle, messages, wrong),
        )


def _parts(way: str, folder: Path, generator: Path, cores: Cores, stack: ExitStack) -> Iterator[Part]:
    """Started and ready. RuntimeError when one does not become ready."""
    for number, name in enumerate(PARTS[way]):
        place = folder / f"{WAYS.index(way)}-{number}"
        place.mkdir()
        inside = stack.enter_context(namespace())
        phones = Load(generator, FLOWS // len(PARTS[way]), 1, cores.load, PATIENCE, inside)
        stack.callback(phones.close)
        program = next(each for each in PROGRAMS if each.name == name)
        process = stack.enter_context(running(program, place, cores.under_test, inside))
        wait(phones, process, place)
        yield Part(process, phones, place)


def measure(folder: Path, generator: Path, cores: Cores, rounds: int, seconds: float) -> list[WorkerRow]:
    """All ways at once, round after round."""
    kept: list[WorkerRow] = []
    with ExitStack() as stack:
        beds = [Bed(way, list(_parts(way, folder, generator, cores, stack))) for way in WAYS]
        for bed in beds:
            bed.run("register", (0.0, HEAT))
        time.sleep(1.0)
        for number in range(1, rounds + 1):
            for mix in MIXES:
                kept += [bed.measure(mix, seconds, number) for bed in beds]
            say(f"round {number} of {rounds}")
    return kept


def main(arguments: list[str]) -> int:
    """Exit status: 0, 1 when something could not be measured, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="bench.workers", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement")
    asked = parser.parse_args(arguments)
    cores = two_cores()
    if (problem := missing()) or cores is None:
        say(f"bench.workers: {problem}")
        return 1
    try:
        with tempfile.TemporaryDirectory(prefix="sipbalancer-bench-") as name:
            kept = measure(Path(name), load.build(Path(name)), cores, asked.rounds, asked.seconds)
    except RuntimeError as error:
        say(f"not measured: {error}")
        return 1
    keep("workers", kept)
    sys.stdout.writelines(f"{line}\n" for line in worker_table(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
