"""`make test-compiled` only: the same datagrams through the source and through what mypyc made of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sipbalancer.compiled import compiled
from tests.compiled.transcript import lines

ROOT = Path(__file__).parent.parent.parent
FIRST, WORLDS, STEPS = 1000, 30, 500


def transcript(first: int, **environ: str) -> list[str]:
    command = [sys.executable, "-P", "-m", "tests.compiled.transcript", str(first), str(WORLDS), str(STEPS)]
    environ = {**os.environ, "PYTHONHASHSEED": "0", **environ}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, timeout=110)
    return done.stdout.splitlines()


@pytest.mark.skipif(not compiled(), reason="this package is not compiled: make test-compiled")
@pytest.mark.parametrize("first", range(FIRST, FIRST + 2 * WORLDS, WORLDS))
def test_the_source_and_what_is_compiled_from_it_do_the_same(first: int) -> None:
    """30,000 steps in all; the first line that differs is the seed and step to look at."""
    source, made = transcript(first, PYTHONPATH=str(ROOT)), transcript(first)
    assert (source[0], made[0]) == ("runs interpreted", "runs compiled")
    assert len(source) == len(made) == WORLDS * STEPS + 1
    assert [pair for pair in zip(source[1:], made[1:], strict=True) if pair[0] != pair[1]][:1] == []


def test_a_transcript_tells_worlds_apart_and_one_world_again() -> None:
    first = list(lines(FIRST, 40))
    assert first == list(lines(FIRST, 40))
    assert [line.split()[2] for line in first[-1:]] != [line.split()[2] for line in list(lines(FIRST + 1, 40))[-1:]]
    assert len({line.split()[2] for line in first}) > 20
