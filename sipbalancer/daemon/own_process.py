"""How we start a module of our own as another process: with the Python and the very package that run here.

Python puts the current folder before all others for `-m`. A source tree that somebody happens to stand in must not
become the code of the workers of an installed, perhaps compiled, control process; so they get this process's own path.
"""

from __future__ import annotations

import os
import sys


def command(module: str, *words: str) -> list[str]:
    """To run `module`; to be given `environment()`."""
    return [sys.executable, "-P", "-m", module, *words]


def environment() -> dict[str, str]:
    """Ours, and where to import from, in the order that holds here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
