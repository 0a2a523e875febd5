"""The pin table: it keeps what it was given, counts right, comes back after a restart and never shows half a write."""

from __future__ import annotations

import mmap
import random
from collections import Counter

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from sipbalancer.director.pins import PinKind, PinTable
from sipbalancer.director.server_names import MAX_SERVERS

CHECK = b"checksum"
NOW = 1_700_000_000.0
CALL, BINDING, ENDED = PinKind.CALL, PinKind.BINDING, PinKind.ENDED


def table(entries: int = 100) -> PinTable:
    return PinTable(bytearray(PinTable.size_for(entries)), CHECK, NOW)


def random_keys(count: int, seed: int = 1) -> list[int]:
    rng = random.Random(seed)
    return [rng.getrandbits(64) for _ in range(count)]


def full_round(pins: PinTable, now: float = NOW) -> None:
    """One sweep from the start of the memory to its end."""
    pins.sweep(now, pins._slots - (pins._cursor >> 5) * 8)


# What get, put, drop and life promise.


def test_keeps_a_pin_until_its_second() -> None:
    pins = table()
    assert pins.put(12345, 7, CALL, NOW + 10.2)
    assert pins.get(12345, NOW) == 7
    assert pins.life(12345, NOW) == 11.0, "rounded up: never shorter than asked for"
    assert pins.get(12345, NOW + 10.9) == 7
    assert pins.get(12345, NOW + 11) == -1
    assert pins.life(12345, NOW + 11) == 0.0


def test_an_absent_key() -> None:
    pins = table()
    assert pins.get(1, NOW) == -1
    assert pins.life(1, NOW) == 0.0
    assert not pins.drop(1)


@pytest.mark.parametrize("key", [0, 1, 1 << 32, (1 << 32) - 1, 1 << 63, (1 << 64) - 1])
def test_every_key_is_a_key(key: int) -> None:
    pins = table()
    assert pins.get(key, NOW) == -1
    pins.put(key, 4095, ENDED, NOW + 5)
    assert pins.get(key, NOW) == 4095
    assert pins.drop(key)
    assert pins.get(key, NOW) == -1


def test_keys_one_bit_apart_are_different_keys() -> None:
    """Each of the 64 bits is in tag, mark or word, also for the keys whose upper half is 0 or 1."""
    for key in (0, 1 << 32, 0xDEADBEEF_CAFEBABE):
        for bit in range(64):
            pins = table(1)
            assert pins.put(key, 1, CALL, NOW + 5)
            assert pins.get(key ^ 1 << bit, NOW) == -1
            assert pins.put(key ^ 1 << bit, 2, CALL, NOW + 5)
            assert (pins.get(key, NOW), pins.get(key ^ 1 << bit, NOW)) == (1, 2)


def test_put_again_changes_server_kind_and_expiry() -> None:
    pins = table()
    pins.put(5, 1, CALL, NOW + 10)
    assert pins.put(5, 2, ENDED, NOW + 32)
    assert (pins.get(5, NOW), pins.life(5, NOW)) == (2, 32.0)
    assert [pins.count(CALL, 1), pins.count(CALL, 2), pins.count(ENDED, 2)] == [0, 0, 1]


def test_times_beyond_32_bits_are_clamped() -> None:
    pins = table()
    for until in (1e12, float("inf"), 2**32 - 0.5):
        assert pins.put(5, 1, CALL, until)
        assert pins.get(5, 4_294_967_294.0) == 1
    assert pins.put(5, 1, CALL, -1.0)
    assert pins.get(5, NOW) == -1


def test_a_server_without_identity_cannot_be_pinned() -> None:
    pins = table()
    assert not pins.put(5, -1, CALL, NOW + 5)
    assert (pins.refused, pins.get(5, NOW), pins.count(CALL, -1)) == (1, -1, 0)


# Room.


@pytest.mark.parametrize("entries", [1, 100, 50_000])
def test_nothing_is_refused_at_the_promised_fill(entries: int) -> None:
    pins = table(entries)
    keys = random_keys(entries)
    assert all(pins.put(key, key & 15, BINDING, NOW + 60) for key in keys)
    assert pins.refused == 0
    assert [pins.get(key, NOW) for key in keys] == [key & 15 for key in keys]
    assert pins.total(BINDING) == entries


def test_nothing_is_refused_in_the_long_run() -> None:
    entries = PinTable.size_for(4000)
    pins = table(4000)
    assert entries == PinTable.size_for(4096), "4096 is as full as this memory is promised to be"
    keys = random_keys(4096)
    for key in keys:
        pins.put(key, 1, CALL, NOW + 60)
    rng = random.Random(2)
    for fresh in random_keys(40_000, 3):
        place = rng.randrange(len(keys))
        assert pins.drop(keys[place])
        keys[place] = fresh
        assert pins.put(fresh, 1, CALL, NOW + 60)
    assert pins.total(CALL) == 4096


def test_a_full_table_refuses_counts_and_keeps_what_it_has() -> None:
    pins = table(1)
    keys = random_keys(40)
    kept = [key for key in keys if pins.put(key, 3, CALL, NOW + 60)]
    assert len(kept) == 16
    assert pins.refused == 24
    assert all(pins.get(key, NOW) == 3 for key in kept)
    assert pins.put(kept[0], 4, CALL, NOW + 60), "a pin it holds can always be changed"


def test_expired_slots_are_used_again() -> None:
    pins = table(1)
    kept = [key for key in random_keys(40) if pins.put(key, 3, CALL, NOW + 5)]
    pins.sweep(NOW + 6, 8)
    fresh = random_keys(16, 9)
    assert all(pins.put(key, 4, BINDING, NOW + 60) for key in fresh)
    assert all(pins.get(key, NOW + 6) == -1 for key in kept)
    assert (pins.total(CALL), pins.total(BINDING)) == (0, 16)


def test_an_expired_slot_is_found_without_a_sweep_of_it() -> None:
    pins = table(1)
    for key in random_keys(40):
        pins.put(key, 3, CALL, NOW + 5)
    pins._now = NOW + 5
    assert pins.put(77, 4, BINDING, NOW + 60)
    assert (pins.total(CALL), pins.total(BINDING)) == (15, 1)


def test_memory_is_known_and_small() -> None:
    assert PinTable.size_for(1_000_000) < 36 * 1_000_000
    assert PinTable.size_for(0) == PinTable.size_for(8)


# Counts.


def test_counts_follow_put_drop_and_expiry() -> None:
    pins = table()
    for key in range(10):
        pins.put(key, key & 1, CALL, NOW + 5)
    pins.put(100, 1, BINDING, NOW + 5)
    assert (pins.count(CALL, 0), pins.count(CALL, 1), pins.total(CALL), pins.total(BINDING)) == (5, 5, 10, 1)
    pins.drop(0)
    assert pins.get(2, NOW + 5) == -1
    assert (pins.count(CALL, 0), pins.total(CALL)) == (3, 8)
    full_round(pins, NOW + 5)
    assert (pins.total(CALL), pins.total(BINDING)) == (0, 0)


def test_an_ended_call_is_no_call() -> None:
    pins = table()
    pins.put(1, 3, CALL, NOW + 100)
    pins.put(1, 3, ENDED, NOW + 32)
    assert (pins.total(CALL), pins.total(ENDED), pins.get(1, NOW)) == (0, 1, 3)


def test_sweep_is_bounded() -> None:
    pins = table(1000)
    for key in random_keys(1000):
        pins.put(key, 1, CALL, NOW + 5)
    pins.sweep(NOW + 6, 80)
    assert 900 < pins.total(CALL) < 1000, "80 of 2048 slots were looked at"


def test_counts_heal_in_one_round_of_the_sweep() -> None:
    pins = table(1000)
    for key in random_keys(1000):
        pins.put(key, key % 3, CALL, NOW + 60)
    right = [pins.count(CALL, server) for server in range(3)]
    pins._counts[CALL << 12 | 1] += 1000
    pins._counts[BINDING << 12 | 9] -= 5
    full_round(pins)
    assert [pins.count(CALL, server) for server in range(3)] == right
    assert (pins.total(CALL), pins.total(BINDING)) == (1000, 0)


# Two tables on the same memory; restart.


def test_a_restart_keeps_pins_counts_and_names() -> None:
    memory = mmap.mmap(-1, PinTable.size_for(1000))
    before = PinTable(memory, CHECK, NOW)
    assert (before.loaded, before.why_empty) == (False, "")
    first, second = before.server_id("10.0.0.1:5060"), before.server_id("[2001:db8::1]:5060")
    for key in range(500):
        before.put(key, second, BINDING, NOW + 10 + key)
    before.close()
    after = PinTable(memory, CHECK, NOW + 110)
    assert (after.loaded, after.why_empty) == (True, "")
    assert after.total(BINDING) == 399, "those of the first 100 seconds are over"
    assert after.count(BINDING, second) == 399
    assert [after.get(key, NOW + 110) for key in (99, 100, 101, 499)] == [-1, -1, second, second]
    assert (after.server_id("[2001:db8::1]:5060"), after.server_id("10.0.0.1:5060")) == (second, first)
    after.close()
    memory.close()


@pytest.mark.parametrize("seed", range(20))
def test_no_content_of_the_memory_raises(seed: int) -> None:
    rng = random.Random(seed)
    memory = bytearray(PinTable.size_for(8))
    PinTable(memory, CHECK, NOW)
    memory[128:] = rng.randbytes(len(memory) - 128)
    pins = PinTable(memory, CHECK, NOW)
    assert pins.loaded
    for key in random_keys(50):
        pins.put(key, 1, CALL, NOW + 5)
        pins.get(key, NOW)
        pins.drop(key)
    pins.sweep(NOW + 9, 16)
    pins.server_id("10.0.0.1:5060")
    assert all(isinstance(pins.server_name(number), str) for number in range(MAX_SERVERS))


def test_two_tables_on_one_memory_see_each_other() -> None:
    memory = bytearray(PinTable.size_for(100))
    one, two = PinTable(memory, CHECK, NOW), PinTable(memory, CHECK, NOW)
    assert two.loaded
    server = one.server_id("10.0.0.1:5060")
    assert two.server_name(server) == "10.0.0.1:5060"
    assert two.server_id("10.0.0.1:5060") == server
    assert two.server_id("10.0.0.2:5060") == one.server_id("10.0.0.2:5060") != server
    one.put(1, server, CALL, NOW + 60)
    assert two.get(1, NOW) == server
    two.put(1, server, ENDED, NOW + 32)
    assert one.life(1, NOW) == 32.0
    assert two.drop(1)
    assert one.get(1, NOW) == -1
    one.put(2, server, CALL, NOW + 60)
    for pins in (one, two):
        full_round(pins)
        assert (pins.total(CALL), pins.total(ENDED)) == (1, 0)


# No torn reads: each order in which another process can see the three stores of a put.


def slot_of(pins: PinTable, key: int) -> tuple[int, int]:
    at, _ = pins._find(key)
    assert at >= 0
    return at, (at >> 5) * 16 + 8 + at % 8


def test_every_half_written_slot_is_a_miss() -> None:
    """Old and new pin in one slot: of the 8 mixtures of tag, mark and word only the two whole ones are pins."""
    pins = table(1)
    old, new = 0xAAAAAAAA_12345670, 0xBBBBBBBB_76543210
    pins.put(old, 1, CALL, NOW + 60)
    at, spot = slot_of(pins, old)
    before = (pins._tags[at], pins._tags[at + 8], pins._words[spot])
    pins.drop(old)
    pins.put(new, 2, CALL, NOW + 60)
    assert slot_of(pins, new) == (at, spot), "the same slot"
    after = (pins._tags[at], pins._tags[at + 8], pins._words[spot])
    for mixture in range(8):
        tag, mark, word = (pair[mixture >> n & 1] for n, pair in enumerate(zip(before, after, strict=True)))
        pins._tags[at], pins._tags[at + 8], pins._words[spot] = tag, mark, word
        assert pins.get(old, NOW) == (1 if mixture == 0 else -1)
        assert pins.get(new, NOW) == (2 if mixture == 7 else -1)


def test_the_same_key_at_another_generation_is_not_mixed() -> None:
    """Mark and word of one key, dropped and pinned again elsewhere: only the generation tells them apart."""
    pins = table(1)
    key = 0xAAAAAAAA_12345670
    pins.put(key, 1, CALL, NOW + 60)
    at, spot = slot_of(pins, key)
    mark = pins._tags[at + 8]
    pins.drop(key)
    pins.put(key, 2, CALL, NOW + 60)
    assert slot_of(pins, key) == (at, spot)
    pins._tags[at + 8] = mark
    assert pins.get(key, NOW) == -1
    assert pins.life(key, NOW) == 0.0
    assert not pins.drop(key)


def test_a_slot_left_half_written_heals() -> None:
    pins = table(1)
    key = 0xAAAAAAAA_12345670
    pins.put(key, 1, CALL, NOW + 60)
    at, _ = slot_of(pins, key)
    pins._tags[at + 8] ^= 1
    assert pins.put(key, 2, CALL, NOW + 90), "beside it"
    assert pins.get(key, NOW) == 2
    assert pins.put(key, 3, BINDING, NOW + 90), "the whole one is found behind the torn one"
    assert pins.get(key, NOW) == 3
    assert (pins.total(CALL), pins.total(BINDING)) == (1, 1)
    full_round(pins, NOW + 60)
    assert (pins.total(CALL), pins.total(BINDING), pins.get(key, NOW + 60)) == (0, 1, 3)


def test_a_crash_before_the_tag_was_written_costs_nothing() -> None:
    pins = table(1)
    key = 0xAAAAAAAA_12345670
    pins.put(key, 1, CALL, NOW + 60)
    at, _ = slot_of(pins, key)
    pins._tags[at] = 0
    assert pins.get(key, NOW) == -1
    pins.put(key, 1, CALL, NOW + 60)
    assert (pins.get(key, NOW), pins.total(CALL)) == (1, 1), "the slot is used again, its old word no longer counted"


# Identities.


def test_identities_are_few_stable_and_refused_when_all_are_taken() -> None:
    pins = table()
    numbers = [pins.server_id(f"10.0.{n >> 8}.{n & 255}:5060") for n in range(MAX_SERVERS)]
    assert sorted(numbers) == list(range(MAX_SERVERS))
    assert pins.server_id("10.9.9.9:5060") == -1
    assert pins.names_refused == 1
    assert pins.server_id("10.0.1.2:5060") == numbers[258]
    assert [pins.server_name(number) for number in (-1, MAX_SERVERS)] == ["", ""]


def test_an_identity_changes_hands_only_when_no_pin_and_nobody_here_has_it() -> None:
    memory = bytearray(PinTable.size_for(100))
    before = PinTable(memory, CHECK, NOW)
    for n in range(MAX_SERVERS):
        before.server_id(f"10.0.{n >> 8}.{n & 255}:5060")
    before.put(1, 0, ENDED, NOW + 60)
    after = PinTable(memory, CHECK, NOW)
    assert after.server_id("10.0.0.1:5060") == 1
    assert after.server_id("10.9.9.9:5060") == 2, "0 is carried by a pin, 1 is in use"
    assert after.server_name(2) == "10.9.9.9:5060"
    assert (after.server_name(0), after.names_refused) == ("10.0.0.0:5060", 0)


def test_a_name_too_long_for_the_header_is_refused() -> None:
    pins = table()
    assert pins.server_id("x" * 64) == -1
    assert pins.server_id("") == -1
    assert pins.server_id("x" * 63) == 0
    assert (pins.server_name(0), pins.names_refused) == ("x" * 63, 2)


# The whole against a plain dict.

SMALL_KEYS = st.one_of(
    st.integers(0, 30),
    st.integers(0, 3).map(lambda n: n << 32),
    st.integers(0, 7).map(lambda n: 0xDEADBEEF_00000000 + (n << 24)),
    st.integers(0, (1 << 64) - 1),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "put", "put", "get", "drop", "sweep", "life"]),
        SMALL_KEYS,
        st.integers(0, 3),
        st.sampled_from(list(PinKind)),
        st.integers(1, 30),
        st.integers(0, 4),
    ),
    max_size=120,
)


@given(STEPS)
@settings(max_examples=300, deadline=None)
def test_agrees_with_a_dict(steps: list[tuple[str, int, int, PinKind, int, int]]) -> None:
    pins = table(16)
    model: dict[int, tuple[int, PinKind, float]] = {}
    now = NOW
    for verb, key, server, kind, life, pause in steps:
        now += pause
        if verb == "put":
            if pins.put(key, server, kind, now + life):
                model[key] = (server, kind, now + life)
            else:
                assert len(model) >= 8, "refused though two buckets of eight cannot be full"
        elif verb == "drop":
            assert pins.drop(key) >= (key in model and model[key][2] > now)
            model.pop(key, None)
        elif verb == "sweep":
            pins.sweep(now, 8 * server)
        elif verb == "life":
            assert pins.life(key, now) == max(0.0, model[key][2] - now if key in model else 0.0)
        expected = model[key][0] if key in model and model[key][2] > now else -1
        assert pins.get(key, now) == expected
    full_round(pins, now)
    full_round(pins, now)
    live = {key: pin for key, pin in model.items() if pin[2] > now}
    assert {key: pins.get(key, now) for key in model if pins.get(key, now) >= 0} == {k: p[0] for k, p in live.items()}
    counts = Counter((kind, server) for server, kind, _ in live.values())
    assert all(pins.count(kind, server) == counts[kind, server] for kind in PinKind for server in range(4))
    assert [pins.total(kind) for kind in PinKind] == [sum(p[1] is kind for p in live.values()) for kind in PinKind]


@given(STEPS)
@settings(max_examples=100, deadline=None)
def test_counts_are_right_at_every_moment_whatever_the_sweep_does(
    steps: list[tuple[str, int, int, PinKind, int, int]],
) -> None:
    """The running counts equal a count of the slots themselves, in the middle of a round and across its end."""
    pins = table(16)
    now = NOW
    for verb, key, server, kind, life, pause in steps:
        now += pause
        if verb == "put":
            pins.put(key, server, kind, now + life)
        elif verb == "drop":
            pins.drop(key)
        else:
            pins.sweep(now, 8)
        words = [pins._words[bucket * 16 + 8 + way] for bucket in range(pins._mask + 1) for way in range(8)]
        slots = Counter(word >> 16 & 0xFFFF for word in words if word >> 32)
        assert {tally: count for tally, count in enumerate(pins._counts) if count} == slots
