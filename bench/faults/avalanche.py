"""Ten thousand phones on four servers, one killed: how fast and how evenly their registrations come back.

`make bench-faults` makes both: the dead server's phones come at their next refresh, or all at once.

    python -m bench.faults.avalanche [--phones 10000] [--rate 150] [--life 75] [--at-once] [--quick]      (as root)

Four embedded servers in processes of their own stand for Asterisks (four real ones with 10,000 users each would take
what two cores have); the phones are one process with nothing but REGISTER. Balancer: `maxexpires` = life,
`registerrate` = rate. One phone in ten ignores Retry-After.

The window computed: a phone comes at its next refresh (0.8 of its life), may be held off 8 s, may be sent away for at
most 14 s, and needs one exchange more. When all come at once: what they need, at two REGISTERs each (their nonces are
another server's), by what the survivors admit beyond the others' refreshes (two each as well: nonces live 32 s), and
the same 8, 14 and one exchange.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from bench.faults.balancers import Ours
from bench.faults.crowd import REFRESH, Crowd
from bench.faults.fitness import WAIT
from bench.faults.net import CLIENT, PHONES, SERVER_ADDRESSES, SERVERS, VIRTUAL, Net
from bench.faults.results import Results, made_folder
from bench.faults.servers import CHECKOUT
from bench.faults.work import Work, come_first

HELD_OFF, SENT_AWAY, EXCHANGE = 8.0, 14.0, 4.0
NAMES = ("a1", "a2", "a3", "a4")
LATE = 1.0
"""Seconds the phones' process may be behind: none of these numbers is finer."""
TRIES = 3


class FourServers(Ours):
    wanted_servers = 4


class Servers:
    """Four processes; the first is the one that dies."""

    def __init__(self, net: Net, folder: Path, phones: int) -> None:
        self._net, self._folder, self._phones = net, folder, phones
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        for name, address in zip(NAMES, SERVER_ADDRESSES, strict=True):
            module = [sys.executable, "-m", "bench.faults.crowd_server"]
            words = [*module, address, name, str(self._phones), str(self._folder / name)]
            self._processes.append(self._net.start(SERVERS, words, subprocess.DEVNULL, CHECKOUT))
        time.sleep(1.5)

    def kill_first(self) -> None:
        self._processes[0].kill()

    def times(self) -> list[dict[str, list[float]]]:
        """Stops the survivors; when each one's REGISTERs arrived, `times` once each, `repeats` what came again."""
        for process in self._processes[1:]:
            process.send_signal(signal.SIGTERM)
            process.wait(10)
        return [json.loads((self._folder / name).read_text()) for name in NAMES[1:]]

    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def window_of(asked: argparse.Namespace, lost: int) -> float:
    """Seconds in which so many phones ought to be registered again."""
    refresh = REFRESH * asked.life
    rest = HELD_OFF + SENT_AWAY + EXCHANGE
    if not asked.at_once:
        return float(refresh + rest)
    return float(2 * lost / (3 * asked.rate - 2 * asked.phones / refresh) + rest)


def most(times: Sequence[float], seconds: float) -> int:
    """The most of them in any window of so many seconds, wherever it begins."""
    return max((bisect_left(times, at + seconds) - index for index, at in enumerate(times)), default=0)


async def crowd(asked: argparse.Namespace, net: Net, servers: Servers, pids: dict[str, list[int]]) -> dict[str, Any]:
    """The phones' own tale."""
    gc.disable()  # a look through ten thousand phones would hold them all up
    with net.inside(PHONES):
        people = Crowd(asked.phones, CLIENT, (VIRTUAL, 5060), 3600)
        await people.open()
    longest = REFRESH * asked.life
    people.start(within=longest)
    steady = people.loop.time() + longest * (2.0 if asked.quick else 3.0)
    await people.run(lambda: people.loop.time() >= steady and all(m.until for m in people.members))
    before = Counter(member.server for member in people.members)
    work = Work(pids)
    servers.kill_first()
    killed = people.loop.time()
    if asked.at_once:
        for member in people.members:
            if member.server == NAMES[0]:
                people.register(member, killed)
    window = window_of(asked, before[NAMES[0]])
    back = 0.0

    def over() -> bool:
        nonlocal back
        now = people.loop.time()
        if not back and all(member.server != NAMES[0] for member in people.members):
            back = now
        return bool(now >= killed + window + 10)

    await people.run(over)
    share = Counter(member.server for member in people.members)
    even = asked.phones / 3
    since = [done for done in people.done if done.ended >= killed]
    failed = Counter(done.status for done in since if done.status != 200)
    ok = [done.ended - done.began for done in since if done.status == 200]
    return {
        "killed": killed,
        "row": {
            "mode": "quick" if asked.quick else "full",
            "phones": asked.phones, "life_s": asked.life, "rate": asked.rate, "at_once": int(asked.at_once),
            "before": " ".join(f"{name}:{before[name]}" for name in NAMES),
            "after": " ".join(f"{name}:{share[name]}" for name in NAMES),
            "all_back_s": round(back - killed, 1) if back else "", "window_s": round(window, 1),
            "spread_pct": round(100 * max(abs(share[name] - even) for name in NAMES[1:]) / even, 2),
            "refreshes": len(since), "worst_s": round(max(ok, default=0.0), 2),
            "over_2_pct": round(100 * sum(wait > 2 for wait in ok) / max(1, len(ok)), 2),
            "told_503": failed.pop(503, 0), "otherwise_failed": failed.total(),
            "ignoring_phones": sum(member.ignores for member in people.members),
            "uncovered_phones": sum(member.uncovered > 1.0 for member in people.members),
            "uncovered_worst_s": round(max(member.uncovered for member in people.members), 1),
        },
        "used": work.used(),
        "late": people.late,
    }  # fmt: skip


def once(asked: argparse.Namespace) -> dict[str, Any]:
    folder = made_folder()
    net = Net()
    words = (f"maxexpires = {asked.life}", f"registerrate = {asked.rate:g}", f"registrations = {2 * asked.phones}")
    balancer = FourServers(net, folder / "balancer", words[:2])
    servers = Servers(net, folder, asked.phones)
    try:
        servers.start()
        balancer.start()
        pids = {"balancer": [balancer.pid], "servers": servers.pids(), "load": [threading.get_native_id()]}
        tale = uvloop.run(crowd(asked, net, servers, pids))
        times = servers.times()
        rates = {
            "most_in_a_second": max(most(each["times"], 1.0) for each in times),
            "with_repeats": max(most(sorted(each["times"] + each["repeats"]), 1.0) for each in times),
            "repeats": sum(len(each["repeats"]) for each in times),
        }
        notice = next((b.at - tale["killed"] for b in balancer.beliefs if b.verdict == "down"), None)
        used = {f"{name}_pct": value for name, value in tale["used"].items()}
        void = why_void(tale["late"], tale["used"]["wait"])
        noticed = "" if notice is None else round(notice, 2)
        return {"void": void, "notice": noticed, **tale["row"], **rates, **used, "late_s": round(tale["late"], 2)}
    finally:
        balancer.stop()
        servers.close()
        net.close()
        if asked.keep:
            shutil.copytree(
                folder, asked.keep / "avalanche", dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock")
            )
        shutil.rmtree(folder, ignore_errors=True)


def why_void(late: float, wait: float) -> str:
    if late > LATE:
        return f"the phones were {late:.2f} s late"
    return f"the balancer had no CPU {wait:.0f} % of the time it wanted one" if wait > WAIT else ""


def until_fit(quick: bool, keep: Path | None, at_once: bool) -> bool:
    """One fit row, as `make bench-faults` wants it."""
    words = ["--quick"] * quick + ["--at-once"] * at_once + (["--keep", str(keep)] if keep else [])
    asked = arguments(words)
    results = Results(CHECKOUT, "avalanche")
    for _ in range(TRIES):
        row = once(asked)
        results.write(row)
        if not row["void"]:
            return True
    return False


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--phones", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=150.0, help="registerrate of each server")
    parser.add_argument("--life", type=int, default=75, help="maxexpires, seconds")
    parser.add_argument("--at-once", action="store_true", help="all phones of the dead server come at once")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--keep", type=Path)
    return parser.parse_args(words)


def main() -> int:
    come_first(os.getpid())
    Results(CHECKOUT, "avalanche").write(once(arguments()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
