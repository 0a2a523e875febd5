"""Each scheduler's promise: who is chosen, how evenly, and what a change of the pool moves."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from hashlib import blake2b

import hypothesis.strategies as st
import pytest
from hypothesis import given

from sipbalancer.config.model import Scheduler
from sipbalancer.director.scheduler import SCHEDULERS, Schedule, SchedulerState

RR, WRR, LC, WLC, SED, NQ, SH, DH, HASH = (SCHEDULERS[name] for name in Scheduler)


@dataclass(eq=False)
class Server:
    key: str
    weight: int = 1
    connections: int = 0

    @property
    def seed(self) -> int:
        return number_of(self.key)


Pool = tuple[Server, ...]


def number_of(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


KEYS = [number_of(f"{n}@pbx.example.com") for n in range(8000)]


def pool(*weights: int) -> Pool:
    return tuple(Server("abcdefghijklmnopqrstuvwxyz"[n], weight) for n, weight in enumerate(weights))


def loaded(*loads: tuple[int, int]) -> Pool:
    """Servers a, b, c ... with (connections, weight)."""
    return tuple(Server("abcdefgh"[n], weight, connections) for n, (connections, weight) in enumerate(loads))


def chosen(schedule: Schedule, servers: Pool, state: SchedulerState | None = None, key: int = 0) -> str:
    server = schedule(servers, state or SchedulerState(), key)
    assert server is not None
    return server.key


def run(schedule: Schedule, servers: Pool, count: int, state: SchedulerState | None = None) -> str:
    state = state or SchedulerState()
    return "".join(chosen(schedule, servers, state) for _ in range(count))


def shares(schedule: Schedule, servers: Pool) -> dict[int, str]:
    state = SchedulerState()
    return {key: chosen(schedule, servers, state, key) for key in KEYS}


def test_every_scheduler_of_the_file_is_here() -> None:
    assert set(SCHEDULERS) == set(Scheduler)


@pytest.mark.parametrize("name", list(Scheduler))
def test_nobody_of_nobody_and_one_of_one(name: Scheduler) -> None:
    state = SchedulerState()
    assert SCHEDULERS[name]((), state, 5) is None
    alone = pool(3)
    assert [SCHEDULERS[name](alone, state, key) for key in KEYS[:5]] == [alone[0]] * 5
    assert SCHEDULERS[name]((), state, 5) is None
    assert chosen(SCHEDULERS[name], pool(1, 1), state) in "ab"


# rr


def test_rr_takes_each_in_turn_whatever_its_weight() -> None:
    assert run(RR, pool(1, 50, 1), 7) == "abcabca"


def test_rr_goes_on_where_it_was_when_the_pool_changes() -> None:
    a, b, c, d = pool(1, 1, 1, 1)
    state = SchedulerState()
    assert run(RR, (a, b, c, d), 2, state) == "ab"
    assert run(RR, (a, c, d), 2, state) == "cd", "who was chosen last is gone: its successor"
    assert run(RR, (a, b, c, d), 2, state) == "ab"
    assert run(RR, (d, b, a, c), 2, state) == "ac", "by identity, not by position"
    assert run(RR, (a, b), 1, state) == "b", "c is gone, a was before it: the next is b"
    assert run(RR, (c, d), 1, state) == "c", "nobody of those is left: from the head"


@given(st.lists(st.tuples(st.sets(st.integers(2, 7)), st.integers(0, 9)), max_size=12))
def test_rr_is_even_among_those_that_stay_whoever_comes_and_goes(changes: list[tuple[set[int], int]]) -> None:
    servers = pool(*[1] * 8)
    state = SchedulerState()
    turns = Counter[str]({"a": 0, "b": 0})
    for others, count in changes:
        present = tuple(server for n, server in enumerate(servers) if n < 2 or n in others)
        for _ in range(count):
            turns[chosen(RR, present, state)] += 1
            assert abs(turns["a"] - turns["b"]) <= 1


# wrr


def test_wrr_interleaves_by_passes_of_falling_weight() -> None:
    assert run(WRR, pool(4, 3, 2), 9) == "aababcabc"
    assert run(WRR, pool(400, 300, 200), 9) == "aababcabc", "the gcd does not matter"
    assert run(WRR, pool(1, 1, 1), 6) == "abcabc"
    assert run(WRR, pool(2, 6), 8) == "bbabbbab"


@given(st.lists(st.integers(1, 12), min_size=1, max_size=8), st.integers(1, 5), st.integers(0, 50))
def test_wrr_gives_exact_shares_over_every_cycle(weights: list[int], factor: int, start: int) -> None:
    servers = pool(*[weight * factor for weight in weights])
    state = SchedulerState()
    run(WRR, servers, start, state)
    common = math.gcd(*weights)
    counts = Counter(run(WRR, servers, sum(weights) // common, state))
    assert [counts[server.key] for server in servers] == [weight // common for weight in weights]


@given(st.lists(st.lists(st.integers(0, 6), min_size=4, max_size=4).filter(any), min_size=1, max_size=6), st.data())
def test_wrr_keeps_exact_shares_after_any_change(pools: list[list[int]], data: st.DataObject) -> None:
    state = SchedulerState()
    for weights in pools:
        servers = tuple(server for server in pool(*weights) if server.weight)
        run(data.draw(st.sampled_from([RR, WRR])), servers, data.draw(st.integers(0, 9)), state)
        common = math.gcd(*weights)
        counts = Counter(run(WRR, servers, sum(weights) // common, state))
        assert {s.key: counts[s.key] for s in servers} == {s.key: s.weight // common for s in servers}


def test_wrr_does_not_favour_the_head_of_a_pool_that_changes_each_time() -> None:
    state = SchedulerState()
    assert "".join(run(WRR, pool(2, 2, 2, 2), 1, state) for _ in range(8)) == "abcdabcd"


# lc, wlc, sed, nq


@pytest.mark.parametrize(
    ("schedule", "servers", "expected"),
    [
        (LC, loaded((5, 1), (3, 1), (4, 1)), "b"),
        (LC, loaded((3, 1), (4, 100)), "a"),
        (LC, loaded((4, 1), (3, 1), (3, 9)), "b"),
        (WLC, loaded((5, 1), (9, 2), (30, 5)), "b"),
        (WLC, loaded((6, 3), (4, 2), (2, 1)), "a"),
        (WLC, loaded((0, 1), (0, 9)), "a"),
        (WLC, loaded((10**12, 10**6), (10**12 - 1, 10**6)), "b"),
        (SED, loaded((0, 1), (0, 9)), "b"),
        (SED, loaded((0, 1), (3, 3), (4, 5)), "a"),
        (SED, loaded((1, 1), (3, 3), (4, 5)), "c"),
        (NQ, loaded((0, 1), (0, 9)), "a"),
        (NQ, loaded((7, 9), (0, 1), (0, 9)), "b"),
        (NQ, loaded((1, 1), (3, 3), (4, 5)), "c"),
    ],
)
def test_connection_schedulers_pick(schedule: Schedule, servers: Pool, expected: str) -> None:
    assert chosen(schedule, servers) == expected


LOADS = st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=6)


@given(LOADS)
def test_connection_schedulers_agree_with_fractions(loads: list[tuple[int, int]]) -> None:
    servers = loaded(*loads)
    assert chosen(LC, servers) == min(servers, key=lambda s: s.connections).key
    assert chosen(WLC, servers) == min(servers, key=lambda s: Fraction(s.connections, s.weight)).key
    shortest = min(servers, key=lambda s: Fraction(s.connections + 1, s.weight)).key
    assert chosen(SED, servers) == shortest
    assert chosen(NQ, servers) == next((s.key for s in servers if not s.connections), shortest)


@pytest.mark.parametrize("schedule", [WLC, SED])
def test_load_settles_in_proportion_to_the_weights(schedule: Schedule) -> None:
    servers = pool(1, 2, 5)
    for _ in range(800):
        server = schedule(servers, SchedulerState(), 0)
        assert server is not None
        server.connections += 1
    assert [server.connections for server in servers] == [100, 200, 500]


# sh, dh


@pytest.mark.parametrize("schedule", [SH, DH])
def test_source_hashing_deals_256_places_by_weight(schedule: Schedule) -> None:
    state = SchedulerState()
    servers = pool(1, 3, 4)
    table = "".join(chosen(schedule, servers, state, key) for key in range(256))
    assert table == "abbbcccc" * 32
    assert chosen(schedule, servers, state, 0x1234567800000001) == "b"


def test_source_hashing_honours_weights_that_overflow_the_table_of_ipvs() -> None:
    for servers in (pool(100, 100), pool(300, 300)):
        counts = Counter(shares(SH, servers).values())
        assert abs(counts["a"] - counts["b"]) < 400
    counts = Counter(shares(SH, pool(999, 333, 667)).values())
    assert [round(counts[key] / len(KEYS), 1) for key in "abc"] == [0.5, 0.2, 0.3]
    crowd = tuple(Server(f"10.0.{n >> 8}.{n & 255}:5060", 1) for n in range(300))
    assert len(set(shares(SH, crowd).values())) == 300


def test_source_hashing_sees_a_new_pool() -> None:
    state = SchedulerState()
    assert chosen(SH, pool(1, 1), state, 1) == "b"
    assert chosen(SH, pool(2, 1), state, 1) == "a"


# hash


def test_hash_moves_only_the_share_of_a_server_that_dies_and_brings_only_that_back() -> None:
    servers = pool(1, 1, 1, 1)
    before = shares(HASH, servers)
    for dead in range(4):
        survivors = servers[:dead] + servers[dead + 1 :]
        after = shares(HASH, survivors)
        moved = {key for key in KEYS if before[key] != after[key]}
        assert moved == {key for key in KEYS if before[key] == servers[dead].key}
        assert abs(len(moved) / len(KEYS) - 0.25) < 0.02
        had, have = Counter(before.values()), Counter(after.values())
        assert all(abs(have[s.key] / had[s.key] - 4 / 3) < 0.05 for s in survivors)
    assert shares(HASH, servers) == before


def test_hash_does_not_depend_on_the_order_of_the_file() -> None:
    servers = pool(1, 2, 3, 4)
    assert shares(HASH, servers) == shares(HASH, servers[::-1])


def test_hash_gives_each_of_25_servers_its_weight() -> None:
    servers = pool(*range(1, 26))
    rng = random.Random(5)
    counts = Counter(chosen(HASH, servers, None, rng.getrandbits(64)) for _ in range(10_000))
    for server in servers:
        expected = 10_000 * server.weight / 325
        assert abs(counts[server.key] - expected) < 4.5 * math.sqrt(expected)


def test_hash_a_raised_weight_takes_from_others_and_moves_nothing_between_them() -> None:
    before, after = shares(HASH, pool(10, 10, 10)), shares(HASH, pool(20, 10, 10))
    moved = [key for key in KEYS if before[key] != after[key]]
    assert {after[key] for key in moved} == {"a"}
    assert abs(Counter(after.values())["a"] / len(KEYS) - 0.5) < 0.02


def oracle(servers: Pool, key: int) -> str:
    """Weighted rendezvous another way: exponents (Efraimidis and Spirakis), u ** (1 / weight), the largest wins."""

    def lot(server: Server) -> float:
        h = key ^ server.seed
        for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
            h ^= h >> 33
            h = h * factor % 2**64
        h ^= h >> 33
        return math.log2((h + 0.5) / 2**64) * (1 / server.weight)

    return max(servers, key=lot).key


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.lists(st.integers(0, 2**64 - 1), max_size=20))
def test_hash_agrees_with_an_oracle(weights: list[int], keys: list[int]) -> None:
    servers = pool(*weights)
    for key in keys:
        assert chosen(HASH, servers, None, key) == oracle(servers, key)


def test_hash_never_moves_between_releases() -> None:
    """A new release or another director must send every AoR where the old one did."""
    servers = tuple(Server(f"10.0.0.{n}:5060", n) for n in range(1, 9))
    text = "".join(chosen(HASH, servers, None, key)[7] for key in KEYS[:24])
    assert text == "866486247867884777765577"
