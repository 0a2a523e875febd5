"""A copy that shares nothing with what it was made of but what the memo says."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque

import pytest

from sipbalancer.config.model import Scheduler
from sipbalancer.director.bindings import Bindings
from sipbalancer.director.keys import Keys
from sipbalancer.director.pace import Bucket
from sipbalancer.director.recent import RecentPins
from sipbalancer.director.scheduler import SCHEDULERS
from sipbalancer.director.twin import deep_twin, twin
from tests.director.stage import A, Stage


def test_an_object_is_copied_with_what_it_holds_and_its_copy_goes_its_own_way() -> None:
    real: RecentPins[list[int]] = RecentPins(8)
    real.put(b"a", [1], 0.0)
    copy = deep_twin(real, {})
    held = copy.get(b"a", 1.0)
    assert held == [1] and held is not real.get(b"a", 1.0)
    held.append(2)
    copy.put(b"b", [3], 1.0)
    assert (real.get(b"a", 1.0), real.get(b"b", 1.0), len(copy), len(real)) == ([1], None, 2, 1)


def test_a_shallow_copy_shares_what_it_holds() -> None:
    real = Bucket()
    real.take(5.0, 100.0, must=False)
    copy = twin(real)
    assert type(copy) is Bucket and copy.rate == 5.0 and copy._passed is real._passed
    copy.rate = 9.0
    assert real.rate == 5.0


@pytest.mark.parametrize(
    "value",
    [
        [1, [2]],
        ([1], 2),
        {"a": [1]},
        OrderedDict({"b": [1]}),
        deque([[1]], maxlen=3),
        {1, 2},
        frozenset({(1, 2)}),
        defaultdict(list, {"a": [1]}),
    ],
)
def test_what_holds_others_keeps_its_kind(value: object) -> None:
    copy = deep_twin(value, {})
    assert copy == value and type(copy) is type(value)
    assert isinstance(value, frozenset) or copy is not value


def test_what_holds_others_keeps_what_it_was_made_with() -> None:
    assert deep_twin(deque([1], maxlen=3), {}).maxlen == 3
    assert deep_twin(defaultdict(list, {"a": [1]}), {})["new"] == []


def test_one_object_in_two_places_is_one_copy_and_a_ring_ends() -> None:
    ring: list[object] = [[1]]
    ring += [ring[0], ring]
    copy = deep_twin(ring, {})
    assert copy[0] is copy[1] is not ring[0] and copy[2] is copy


def test_the_memo_says_what_stands_for_an_object() -> None:
    kept, other = [1], [2]
    assert deep_twin((kept,), {id(kept): other})[0] is other


def test_a_method_is_bound_to_the_copy_and_a_function_or_a_value_stays() -> None:
    keys = Keys(b"k" * 32)
    bindings = Bindings("v", keys.pin, 10)
    other = Keys(b"x" * 32)
    copy = deep_twin(bindings, {id(keys): other})
    assert copy._hashed(b"a") == other.pin(b"a") != keys.pin(b"a")
    schedule = SCHEDULERS[Scheduler.RR]
    assert deep_twin([schedule, Scheduler.RR, len], {}) == [schedule, Scheduler.RR, len]


def test_a_file_s_words_are_shared() -> None:
    server = Stage().server(A)
    copy = deep_twin(server, {id(server.pins): server.pins})
    assert copy is not server and copy.config is server.config and copy.health is not server.health
