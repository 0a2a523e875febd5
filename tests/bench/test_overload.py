"""What `python -m bench.overload` and `bench.lag` say of a run: no traffic here."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.lag import config_text
from bench.load import Said
from bench.overload import Counts, why_void
from sipbalancer.config.parser import parse

GOOD = Said(
    **{name: 0 for name in Said._fields if name not in ("seconds", "begun", "first_wrong")},
    seconds=10.0,
    begun=9_800,
    first_wrong="",
)


@pytest.mark.parametrize(
    ("idle", "said", "why"),
    [
        (0.5, GOOD, ""),
        (0.1, GOOD, "less than 15% idle outside the program under test"),
        (0.5, GOOD._replace(begun=9_000), "the generator is saturated: 900/s offered of 1,000/s"),
        (0.5, GOOD._replace(wrong=1, first_wrong="not a response"), "wrong messages: not a response"),
    ],
)
def test_a_row_is_void_for_a_reason(idle: float, said: Said, why: str) -> None:
    assert why_void(idle, said, 1000.0) == why


def test_counts_are_over_all_services_and_servers() -> None:
    servers = [{"probes": {"ok": 5, "timeout": 2}}, {"probes": {"ok": 1}}]
    counts = Counts({"services": [{"servers": servers, "dropped": {"shed": 7}}, {"servers": [], "dropped": {}}]})
    assert (counts.shed, counts.probes, counts.failed) == (7, 8, 2)
    nothing = Counts(None)
    assert (nothing.shed, nothing.probes, nothing.failed) == (0, 0, 0)


def test_the_file_has_as_many_servers_as_asked_and_another_weight_is_another_file() -> None:
    one, two = (config_text(Path("/x"), 300, 1000, weight) for weight in (1, 2))
    real = parse(one, "x.cf").config.virtual[0].real
    assert len({each.key for each in real}) == 300
    assert parse(two, "x.cf").config.virtual[0].real != real
