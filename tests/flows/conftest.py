"""After every ladder the log of its pools is read for what must always be so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.flows.checks import check
from tests.flows.pool import Pool


@pytest.fixture(autouse=True)
def _checked() -> Iterator[None]:
    Pool.made.clear()
    yield
    for pool in Pool.made:
        check(pool)
    Pool.made.clear()
