"""Three times what it can do, for a minute: `python -m bench.overload [--seconds 60] [--times 3] [--only NAME ...]`.

For each program (sipbalancer, Kamailio forward()): its peak in the closed loop for as long as the storm will last, then
so many times that in the open loop, then at once a sixth of it (half the peak, at three times), to see from when on
nothing is lost any more. One call among 49 REGISTERs, so what becomes of calls in a storm of registrations is seen too.
No phone repeats anything. What is kept of ended transactions fills for half a minute under any load, so memory is held
against what it is after the peak: what the storm adds to that is the storm's.
Rows go to bench/results/overload-*.tsv, a summary to stdout. Who is void says so: the generator was the bottleneck, or
did not offer what it should.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import load, rows
from bench.load import Cores, Load, Said
from bench.programs import FORWARD, OURS, PROGRAMS, Program
from bench.run import INSIDE, enter, family, keep, loopback_up, running, say, this_host, two_cores, until_forwards
from sipbalancer.cli.ask import ask
from sipbalancer.errors import SipBalancerError

PHONES = 65_536
PATIENCE = 0.5
"""Seconds; the queue of the program under test holds a tenth of a second."""
IN_FLIGHT = 256
REGISTERING_SECONDS = 60.0
"""At most, for every phone's first registration."""
SETTLE_SECONDS = 2.0
OFFERED = 0.95
"""Of what should have been offered: less, and the row is void."""
PORT = 5060
LOOK_SECONDS = 0.5
LOOKS = 10
"""So many are one entry of a row's series."""


@dataclass(frozen=True, slots=True)
class Row(rows.Origin):
    """One program, its peak and what became of it under the storm. What it cannot say of itself is -1."""

    program: str
    version: str
    seconds: float
    peak: float
    """Transactions per second that were completed in the closed loop."""
    peak_messages: float
    """Messages forwarded per second then."""
    offered: float
    """Transactions begun per second."""
    completed: float
    """Per second, under the storm."""
    ratio: float
    """Completed then : peak."""
    messages: float
    """Forwarded per second, under the storm."""
    messages_ratio: float
    calls: int
    """Begun under the storm."""
    calls_completed: int
    shed: int
    """By the filter of the socket."""
    kernel_drops: int
    """At the full queue, of any kind."""
    rss_idle: int
    """KiB, all processes, when everybody had registered once."""
    rss_begin: int
    """After the peak, before the storm."""
    rss_max: int
    rss_end: int
    probes: int
    """Finished under the storm."""
    probes_failed: int
    false_verdicts: int
    """Looks at which a server was not up; every one is up all the time."""
    recovery: float
    """Seconds from the fall of the load to the beginning of the last transaction that was lost."""
    idle: float
    wrong: int
    rss: str
    """MiB every five seconds: at the peak | under the storm."""
    void: str


class Watch:
    """Looks at the program under test while the load runs."""

    def __init__(self, pids: list[int], status: Callable[[], dict[str, Any] | None]) -> None:
        self._pids = pids
        self._status = status
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.rss: list[int] = []
        self.false_verdicts = 0
        self.note = ""
        """The last that was said of an overload."""

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            self.rss.append(sum(map(resident, self._pids)))
            self._look(self._status())
            if self._stop.wait(LOOK_SECONDS):
                return

    def _look(self, status: dict[str, Any] | None) -> None:
        for service in status["services"] if status else ():
            self.false_verdicts += sum(server["verdict"] != "up" for server in service["servers"])
            self.note = next((note for note in service["notes"] if "OVERLOAD" in note), self.note)


def resident(pid: int) -> int:
    """KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


def series(looks: list[int]) -> str:
    """MiB of every so many looks."""
    return " ".join(f"{kib / 1024:.0f}" for kib in looks[::LOOKS])


def socket_drops() -> int:
    """Of all UDP sockets at the program's port: the last column of /proc/net/udp."""
    words = [line.split() for line in Path("/proc/net/udp").read_text().splitlines()[1:]]
    return sum(int(each[-1]) for each in words if each[1].endswith(f":{PORT:04X}"))


def everyone_registers(phones: Load, pids: list[int]) -> None:
    """Once: what a phone costs that was never seen before is another question."""
    until, done = time.monotonic() + REGISTERING_SECONDS, 0
    while done < PHONES and time.monotonic() < until:
        done += phones.run("register", "closed", IN_FLIGHT, (0.0, 1.0), pids, block=False).completed


class Counts:
    """What our own balancer says of itself; zeros for any other program."""

    def __init__(self, status: dict[str, Any] | None) -> None:
        services = status["services"] if status else []
        servers = [server for service in services for server in service["servers"]]
        self.shed = sum(service["dropped"].get("shed", 0) for service in services)
        self.probes = sum(sum(server["probes"].values()) for server in servers)
        self.failed = self.probes - sum(server["probes"].get("ok", 0) for server in servers)


class Storm:
    """One run of all programs."""

    def __init__(self, seconds: float, times: float, cores: Cores, host: rows.Host) -> None:
        self._seconds = seconds
        self._times = times
        self._cores = cores
        self._host = host

    def measure(self, programs: list[Program]) -> Iterator[Row]:
        with tempfile.TemporaryDirectory(prefix="sipbalancer-bench-") as name:
            generator = load.build(Path(name))
            for program in programs:
                folder = Path(name) / str(PROGRAMS.index(program))
                folder.mkdir()
                phones = Load(generator, PHONES, program.hops, self._cores.load, PATIENCE)
                try:
                    yield self._program(program if program.name != OURS else often_probing(program), folder, phones)
                except RuntimeError as error:
                    say(f"{program.name}: not measured: {error}")
                finally:
                    phones.close()

    def _program(self, program: Program, folder: Path, phones: Load) -> Row:
        def status() -> dict[str, Any] | None:
            return status_of(folder) if program.name == OURS else None

        with running(program, folder, self._cores.under_test) as process:
            until_forwards(phones, process, folder)
            pids = family(process.pid)
            everyone_registers(phones, pids)
            with Watch(pids, lambda: None) as calm:
                peak = phones.run("storm", "closed", IN_FLIGHT, (1.0, self._seconds), pids, block=False)
            offered = self._times * peak.completed / peak.seconds
            say(f"{program.name}: peak {peak.completed / peak.seconds:,.0f}/s, now {offered:,.0f}/s are offered")
            drops, before = socket_drops(), Counts(status())
            with Watch(pids, status) as watch:
                said = phones.run("storm", "step", offered, (SETTLE_SECONDS, self._seconds), pids, block=False)
            after, drops = Counts(status()), socket_drops() - drops
            if watch.note:
                say(watch.note)
            return self._row(program, offered, peak, said, (calm, watch), before, after, drops)

    def _row(
        self,
        program: Program,
        offered: float,
        peak: Said,
        said: Said,
        watches: tuple[Watch, Watch],
        before: Counts,
        after: Counts,
        drops: int,
    ) -> Row:
        best, done = peak.completed / peak.seconds, said.completed / said.seconds
        ours, (calm, watch) = program.name == OURS, watches
        shed = after.shed - before.shed
        idle = rows.idle_share(said.all_cpu, said.put_cpu, said.seconds)
        return Row(
            *self._host,
            program=program.name,
            version=program.version(),
            seconds=said.seconds,
            peak=best,
            peak_messages=peak.messages / peak.seconds,
            offered=said.begun / said.seconds,
            completed=done,
            ratio=done / best,
            messages=said.messages / said.seconds,
            messages_ratio=said.messages / said.seconds / (peak.messages / peak.seconds),
            calls=said.calls_begun,
            calls_completed=said.calls_completed,
            shed=shed if ours else -1,
            kernel_drops=drops - shed,
            rss_idle=calm.rss[0],
            rss_begin=watch.rss[0],
            rss_max=max(watch.rss),
            rss_end=watch.rss[-1],
            probes=after.probes - before.probes if ours else -1,
            probes_failed=after.failed - before.failed if ours else -1,
            false_verdicts=watch.false_verdicts if ours else -1,
            recovery=said.recovery,
            idle=idle,
            wrong=said.wrong,
            rss=" | ".join(series(each.rss) for each in (calm, watch)),
            void=why_void(idle, said, offered),
        )


def why_void(idle: float, said: Said, offered: float) -> str:
    """Why a row with these numbers says nothing of the program; "" when it does."""
    if said.wrong:
        return f"wrong messages: {said.first_wrong}"
    if idle < rows.IDLE:
        return f"less than {rows.IDLE:.0%} idle outside the program under test"
    if said.begun / said.seconds < OFFERED * offered:
        return f"the generator is saturated: {said.begun / said.seconds:,.0f}/s offered of {offered:,.0f}/s"
    return ""


def often_probing(program: Program) -> Program:
    """Our balancer, probing once a second: a minute has more to show then."""

    def command(folder: Path) -> list[str]:
        words = program.command(folder)
        config = folder / "sipbalancer.cf"
        config.write_text(config.read_text().replace("checkinterval = 5", "checkinterval = 1"))
        return words

    return dataclasses.replace(program, command=command)


def status_of(folder: Path) -> dict[str, Any] | None:
    """None while it does not answer."""
    try:
        document: dict[str, Any] = ask(folder / "admin.sock", command="status")
        return document
    except SipBalancerError:
        return None


def summary(row: Row) -> Iterator[str]:
    yield f"{row.program}{f' [void: {row.void}]' if row.void else ''}"
    times = f"{row.offered / row.peak:.1f} x its peak of {row.peak:,.0f}/s"
    yield f"  offered {row.offered:,.0f}/s for {row.seconds:.0f} s, {times}"
    yield f"  completed {row.completed:,.0f}/s, {row.ratio:.0%} of peak; messages {row.messages_ratio:.0%} of peak"
    yield f"  calls completed {row.calls_completed:,} of {row.calls:,}"
    yield f"  shed {row.shed:,}, dropped at the full queue {row.kernel_drops:,}"
    grown = f"at most {row.rss_max}, at the end {row.rss_end}"
    yield f"  RSS {row.rss_idle} KiB, after so long at the peak {row.rss_begin}, in the storm {grown}"
    yield f"  MiB every {LOOK_SECONDS * LOOKS:.0f} s: {row.rss}"
    yield f"  probes {row.probes}, failed {row.probes_failed}; looks with a false verdict {row.false_verdicts}"
    yield f"  nothing lost any more from {row.recovery:.2f} s after the load fell"


def main(arguments: list[str]) -> int:
    """Exit status: 0, 1 when something could not be measured or is void."""
    parser = argparse.ArgumentParser(prog="bench.overload", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=3.0, help="how many times the peak is offered")
    parser.add_argument("--only", nargs="+", default=["sipbalancer", "forward()"], metavar="NAME")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    wanted = [
        each for each in reversed(PROGRAMS) if each.name in (OURS, FORWARD) and each.name.split()[-1] in asked.only
    ]
    cores, problem = two_cores(), load.missing()
    if problem or cores is None:
        say(problem or "one CPU only: the load would compete with what it measures; nothing is measured")
        return 1
    for missing in filter(None, (program.missing() for program in wanted)):
        say(missing)
    if not asked.inside:
        return enter("bench.overload", arguments)
    loopback_up()
    kept = []
    for row in Storm(asked.seconds, asked.times, cores, this_host()).measure(
        [each for each in wanted if not each.missing()]
    ):
        kept.append(row)
        sys.stdout.writelines(f"{line}\n" for line in summary(row))
        sys.stdout.flush()
    if not kept:
        return 1
    keep("overload", kept)
    return 0 if len(kept) == len(wanted) and not any(row.void for row in kept) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
