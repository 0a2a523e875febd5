"""Metadata is in pyproject.toml. Here: the build with `sip` and `director` compiled, for who asks for it.

    SIPBALANCER_COMPILED=1 pip install --no-deps --no-build-isolation .

needs a C compiler, Python's headers and requirements/compile.txt (mypy, whose mypyc does it): the same source, nothing
is written twice. Without the variable no compiler is asked for and the modules run as they are. `make compiled` does it
in a virtual environment of its own.
"""

from __future__ import annotations

import os
from glob import glob
from pathlib import Path

from setuptools import setup

COLD = ("__init__", "explain", "shadow", "chain", "taught", "reading", "shown", "toward_client", "twin", "leader")
"""Never on a datagram's way: what `explain` runs and shows, and what only a control process does. Compiled they would
gain nothing and make the build longer."""
MODULES = ["sipbalancer/errors.py", *sorted(glob("sipbalancer/sip/*.py") + glob("sipbalancer/director/*.py"))]
COMPILED = [module for module in MODULES if Path(module).stem not in COLD]
"""One group: calls between these modules are C calls. The daemon stays interpreted, it gains nothing."""
LEVEL = os.environ.get("SIPBALANCER_OPT_LEVEL", "3")
"""gcc's -O: 3 is the fastest program, 0 the shortest build (tests)."""

if os.environ.get("SIPBALANCER_COMPILED") == "1":
    from mypyc.build import mypycify

    setup(ext_modules=mypycify(COMPILED, opt_level=LEVEL, group_name="sipbalancer"))
else:
    setup()
