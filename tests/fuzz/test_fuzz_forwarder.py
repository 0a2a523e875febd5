"""A short run of the fuzzer from fixed seeds."""

from __future__ import annotations

import pytest

from tests.fuzz.fuzz_forwarder import run


@pytest.mark.parametrize("seed", range(12))
def test_the_invariant_holds(seed: int) -> None:
    run(seed, steps=250)
