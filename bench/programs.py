"""The programs under test: how each is started on the one core, and what says that it cannot be.

All listen at 127.0.0.1:5060 and forward to 127.0.2.1, .2 and .3, port 5070.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from bench import load

HERE = Path(__file__).parent
COMPILED = HERE.parent / ".compiled" / "bin"
MODULES = (Path("/usr/lib/nginx/modules"), Path("/usr/share/nginx/modules"), Path("/usr/lib64/nginx/modules"))


@dataclass(frozen=True, slots=True)
class Program:
    """One of them."""

    name: str
    hops: int
    """1: a SIP proxy; 0: blind."""
    missing: Callable[[], str]
    """Why it cannot run here, "" when it can."""
    version: Callable[[], str]
    command: Callable[[Path], list[str]]
    """What to start, given a folder for its files."""


def _needs(program: str, package: str) -> str:
    return "" if _which(program) else f"{program} is missing: apt-get install {package}"


def _which(program: str) -> str | None:
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def _said(*command: str) -> str:
    """The first thing like a version number that a program says."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
    return found[0] if found else "?"


def kamailio_missing() -> str:
    return _needs("kamailio", "kamailio")


def kamailio(folder: Path, config: str, *defines: str) -> list[str]:
    """Its command, with room and buffers that let nothing be lost; `defines` as after -A."""
    options = ["-DD", "-E", "-m", "8192", "-b", "4194304", "-Y", str(folder), "-P", str(folder / "pid")]
    told = [word for define in defines for word in ("-A", define)]
    return [_which("kamailio") or "kamailio", *options, *told, "-f", str(HERE / config)]


def _forwarding(name: str, config: str, workers: int) -> Program:
    defines = f'LIST="{HERE / "dispatcher.list"}"', f"WORKERS={workers}"
    return Program(name, 1, kamailio_missing, _kamailio_version, lambda folder: kamailio(folder, config, *defines))


def _kamailio_version() -> str:
    return _said(_which("kamailio") or "", "-v")


def _stream_module() -> Path | None:
    return next((each for folder in MODULES if (each := folder / "ngx_stream_module.so").exists()), None)


def _nginx_missing() -> str:
    if _stream_module() is None:
        return "nginx's stream module is missing: apt-get install nginx-light libnginx-mod-stream"
    return _needs("nginx", "nginx-light libnginx-mod-stream")


def _nginx(folder: Path) -> list[str]:
    words = f"daemon off; load_module {_stream_module()}; pid {folder / 'pid'}; error_log stderr;"
    return [_which("nginx") or "nginx", "-p", str(folder), "-c", str(HERE / "nginx.conf"), "-g", words]


def _no_gcc() -> str:
    return _needs("gcc", "gcc libc6-dev")


def bound(folder: Path) -> list[str]:
    """Compiled where it runs. CalledProcessError when that fails."""
    return [str(load.compiled("bound", folder)), "5060", "5070"]


def _sipbalancer(
    folder: Path, words: str = "", start: Sequence[str] = (sys.executable, "-m", "sipbalancer")
) -> list[str]:
    config = folder / "sipbalancer.cf"
    config.write_text(words + (HERE / "sipbalancer.cf").read_text().replace("/FOLDER", str(folder)))
    return [*start, "run", str(config)]


def _not_compiled() -> str:
    return "" if (COMPILED.parent / ".made").exists() else "not built: make compiled"


def _compiled(folder: Path) -> list[str]:
    return _sipbalancer(folder, start=(str(COMPILED / "sipbalancer"),))


def _no_workers() -> str:
    return "" if find_spec("sipbalancer.daemon.worker") else "this version has one process"


def _sipbalancer_version() -> str:
    from sipbalancer import __version__

    return __version__


FORWARD, T_RELAY, BLIND, OURS = "kamailio forward()", "kamailio t_relay()", "nginx stream", "sipbalancer"
BOUND = "C bound"
"""No program to compare with, but the floor under all of them (bench/bound.c)."""
OURS_C = f"{OURS}, compiled"
"""The same source, built by `make compiled`."""
OURS_2 = f"{OURS}, 2 workers"
"""Both on the one core: what it costs to be two, not what two cores can do."""
FORWARD_8, T_RELAY_8 = f"{FORWARD}, 8 workers", f"{T_RELAY}, 8 workers"
BEST_OF = {FORWARD: (FORWARD, FORWARD_8), T_RELAY: (T_RELAY, T_RELAY_8)}
"""A comparison with Kamailio is one with the better of these; eight workers is what Debian's file starts."""

PROGRAMS = (
    _forwarding(FORWARD, "kamailio-forward.cfg", 1),
    _forwarding(T_RELAY, "kamailio-trelay.cfg", 1),
    Program(BLIND, 0, _nginx_missing, lambda: _said(_which("nginx") or "", "-v"), _nginx),
    Program(BOUND, 1, _no_gcc, lambda: _said("gcc", "-dumpfullversion"), bound),
    Program(OURS, 1, lambda: "", _sipbalancer_version, _sipbalancer),
    Program(OURS_C, 1, _not_compiled, lambda: _said(str(COMPILED / "sipbalancer"), "--version"), _compiled),
    Program(OURS_2, 1, _no_workers, _sipbalancer_version, lambda folder: _sipbalancer(folder, "workers = 2\n")),
    _forwarding(FORWARD_8, "kamailio-forward.cfg", 8),
    _forwarding(T_RELAY_8, "kamailio-trelay.cfg", 8),
)
