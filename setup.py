"""Metadata is in pyproject.toml. Here: the build with `sip` and `director` compiled, for who asks for it.

    SIPBALANCER_COMPILED=1 pip install --no-deps --no-build-isolation .

needs a C compiler, Python's headers and mypy, whose mypyc does it: the same source, nothing is written twice. Without
the variable no compiler is asked for and the modules run as they are.
"""

from __future__ import annotations

import os
from glob import glob

from setuptools import setup

COMPILED = ("sipbalancer/errors.py", *sorted(glob("sipbalancer/sip/*.py")), *sorted(glob("sipbalancer/director/*.py")))
"""One group: calls between these modules are C calls. The daemon stays interpreted, it gains nothing."""
LEVEL = os.environ.get("SIPBALANCER_OPT_LEVEL", "3")

if os.environ.get("SIPBALANCER_COMPILED") == "1":
    from mypyc.build import mypycify

    cold = ("__init__", "explain", "shadow", "chain", "taught", "reading", "shown", "toward_client", "twin", "leader")
    modules = [name for name in COMPILED if name.rpartition("/")[2][:-3] not in cold]
    setup(ext_modules=mypycify(modules, opt_level=LEVEL, group_name="sipbalancer"))
else:
    setup()
