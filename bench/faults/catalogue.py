"""The faults: what each does, for how long, how it is repaired, and which verdicts are then true.

`Scene` is what a fault may touch. A fault blocks while it lasts; the orchestrator stamps its begin and its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from random import uniform
from typing import Protocol

from bench.faults.net import PHONES, SERVER_ADDRESSES, SERVERS, VIRTUAL, Net
from bench.faults.servers import ECHO, FULL, JOIN, Trio

DEAD = frozenset({"down"})
SLOW = 0.8
FLAP = 3.0
INTERVAL = 10.0
"""ldirectord's default `checkinterval`: an idle server's death is looked for so often."""
STRIKE = 24.0
"""Seconds each server gets where one after the other is struck: up to `INTERVAL` of waiting, the blow, the repair."""


class Scene(Protocol):
    net: Net
    servers: Trio

    def tell_phones(self, words: str) -> None: ...
    def strike(self, index: int) -> None:
        """Stamp the blow that server gets now; without any, the fault's begin is the one blow."""


Act = Callable[[Scene, float], None]
"""Breaks, and blocks for so many seconds."""


@dataclass(frozen=True)
class Fault:
    name: str
    title: str
    act: Act
    repair: Callable[[Scene], None]
    hit: tuple[int, ...] = ()
    """Servers that are truly hurt: their dialogs may be cut."""
    true: frozenset[str] = frozenset()
    """Verdicts (beside up and starting) that are no mistake, of the servers `judged`."""
    quick: float = 15.0
    full: float = 60.0
    """Seconds it lasts."""
    direct: bool = False
    """Phones that talk straight to one Asterisk are a fair comparison."""
    target: str = ""
    """Calls to this number may be refused."""
    spared: tuple[int, ...] = ()
    """Servers that may be judged although their dialogs are well."""

    talk: float = 0.0
    """Seconds a call lasts at least; for faults that only running dialogs tell from death."""
    idle: bool = False
    """The phones register once and then keep still."""
    shares: bool = False
    """How it does against `direct` is what is asked."""

    @property
    def judged(self) -> frozenset[str]:
        """Addresses of the servers that may be believed to be `true`."""
        return frozenset(SERVER_ADDRESSES[index] for index in (*self.hit, *self.spared))


Mend = Callable[[Scene, int], None]


def _one_by_one(blow: Mend, mend: Mend) -> Act:
    """Each server once, at a random moment of the probes' interval; as many as there is time for."""

    def act(scene: Scene, seconds: float) -> None:
        for index in range(min(len(scene.servers.instances), int(seconds // STRIKE))):
            time.sleep(uniform(0.0, INTERVAL))
            scene.strike(index)
            blow(scene, index)
            time.sleep(INTERVAL + 3.0)
            mend(scene, index)

    return act


def _heal(scene: Scene) -> None:
    scene.net.heal()


def _nothing(scene: Scene, seconds: float) -> None:
    time.sleep(seconds)


def _kill(scene: Scene, seconds: float) -> None:
    scene.servers.kill(0)
    time.sleep(seconds)


def _restart(scene: Scene) -> None:
    for index in range(len(scene.servers.instances)):
        scene.servers.restart(index)


def _hang(scene: Scene, seconds: float) -> None:
    scene.servers.stop(0)
    time.sleep(seconds)


def _go_on(scene: Scene) -> None:
    scene.servers.go_on(0)


def _refuse(scene: Scene, seconds: float) -> None:
    _close_port(scene, 0)
    time.sleep(seconds)


def _close_port(scene: Scene, index: int) -> None:
    at = f"ip daddr {SERVER_ADDRESSES[index]} udp dport 5060"
    scene.net.rule(SERVERS, "local", f"{at} reject with icmp type port-unreachable")


def _idle_faults() -> list[Fault]:
    """Without load nothing but the probes can notice."""
    every, whole = (0, 1, 2), 3 * STRIKE
    blows: list[tuple[str, Mend, Mend]] = [
        ("kill", lambda scene, index: scene.servers.kill(index), lambda scene, index: scene.servers.restart(index)),
        ("hang", lambda scene, index: scene.servers.stop(index), lambda scene, index: scene.servers.go_on(index)),
        ("refuse", _close_port, lambda scene, index: scene.net.heal()),
    ]
    titles = {"kill": "kill -9", "hang": "SIGSTOP", "refuse": "port unreachable"}
    return [
        Fault(
            f"idle-{name}",
            f"{titles[name]}, no load",
            _one_by_one(blow, mend),
            _nothing_left,
            every,
            DEAD,
            quick=STRIKE,
            full=whole,
            idle=True,
        )
        for name, blow, mend in blows
    ]


def _nothing_left(scene: Scene) -> None:
    """`_one_by_one` has mended all."""


def _lossy(leg: str, percent: int, server: str = "") -> Act:
    def act(scene: Scene, seconds: float) -> None:
        scene.net.lose(leg, percent, server)
        time.sleep(seconds)

    return act


def _graceful(scene: Scene, seconds: float) -> None:
    scene.servers.drain(0)
    time.sleep(seconds)


def _overload(scene: Scene, seconds: float) -> None:
    """OPTIONS, REGISTER and INVITE to a number (not to the Contact of a dialog) never arrive. UDP has 64 bits."""
    at = f"ip saddr {VIRTUAL} ip daddr {SERVER_ADDRESSES[0]} udp dport 5060"
    for word in (b"OPTI", b"REGI"):
        scene.net.rule(SERVERS, "arriving", f"{at} @th,64,32 0x{word.hex()} drop")
    for number in (f"{ECHO}@", f"{JOIN}1"):
        called = f"@th,152,{8 * len(number)} 0x{number.encode().hex()}"
        scene.net.rule(SERVERS, "arriving", f"{at} @th,64,32 0x{b'INVI'.hex()} {called} drop")
    time.sleep(seconds)


def _full(scene: Scene, seconds: float) -> None:
    scene.tell_phones(f"call {FULL} 0.3")
    time.sleep(seconds)


def _not_full(scene: Scene) -> None:
    scene.tell_phones("call 600 0")


def _flap(scene: Scene, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        scene.servers.stop(0)
        time.sleep(FLAP)
        scene.servers.go_on(0)
        time.sleep(FLAP)


def _all_dead(scene: Scene, seconds: float) -> None:
    for index in range(len(scene.servers.instances)):
        scene.servers.kill(index)
    time.sleep(seconds)


def _one_back(scene: Scene) -> None:
    scene.servers.restart(1)


def _slow(scene: Scene, seconds: float) -> None:
    scene.servers.slow(0, SLOW)
    time.sleep(seconds)


def _quick_again(scene: Scene) -> None:
    scene.servers.quick_again()


def _faults() -> list[Fault]:
    a1, every = (0,), (0, 1, 2)
    faults = [
        Fault("none", "nothing at all", _nothing, _heal, direct=True),
        Fault("kill", "kill -9", _kill, _restart, a1, DEAD, full=90),
        Fault("hang", "SIGSTOP", _hang, _go_on, a1, DEAD, full=90),
        Fault("refuse", "port unreachable", _refuse, _heal, a1, DEAD, full=90),
        *_idle_faults(),
    ]
    for percent in (10, 30):
        lost = f"{percent} % lost each way"
        one, two = _lossy(SERVERS, percent, SERVER_ADDRESSES[0]), _lossy(SERVERS, percent)
        three = _lossy(PHONES, percent)
        faults += [
            Fault(f"one-{percent}", f"{lost} to one server", one, _heal, full=90),
            Fault(f"all-{percent}", f"{lost} to all servers", two, _heal, quick=30, full=90 if percent < 30 else 600),
            Fault(
                f"phones-{percent}",
                f"{lost} on the phones' side",
                three,
                _heal,
                quick=30,
                full=120,
                direct=True,
                shares=True,
            ),
        ]
    return [
        *faults,
        Fault("one-100", "all lost to one server", _lossy(SERVERS, 100, SERVER_ADDRESSES[0]), _heal, a1, DEAD),
        Fault("all-100", "all lost to all servers", _lossy(SERVERS, 100), _heal, every, DEAD, full=20),
        Fault(
            "phones-100", "all lost on the phones' side", _lossy(PHONES, 100), _heal, full=20, direct=True, shares=True
        ),
        Fault("graceful", "core stop gracefully", _graceful, _restart, a1, DEAD | {"draining"}),
        Fault(
            "overload",
            "probes and new requests unanswered, dialogs served",
            _overload,
            _heal,
            (),
            frozenset({"overloaded"}),
            spared=a1,
            talk=18,
            full=20,
        ),
        Fault("full", "one extension answers 503", _full, _not_full, target=FULL),
        Fault("flap", "SIGSTOP 3 s, SIGCONT 3 s, again and again", _flap, _heal, a1, DEAD, quick=24),
        Fault("dead", "all killed, then one back", _all_dead, _one_back, every, DEAD, quick=10, full=20),
        Fault("slow", "one server answers 800 ms later", _slow, _quick_again),
    ]


FAULTS = {fault.name: fault for fault in _faults()}
