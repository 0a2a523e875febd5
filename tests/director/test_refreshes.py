"""The usual refresh: what is here just so is renewed, everything else is left to the records."""

from __future__ import annotations

from sipbalancer.director.bindings import Bindings
from sipbalancer.director.keys import Keys
from sipbalancer.director.refreshes import Refreshes
from sipbalancer.director.shadow_pins import ShadowRefreshes
from tests.director.stage import packed

URI, CLIENT, SERIAL = b"sip:1@10.0.0.1", packed("10.0.0.1:5060"), 3
LIFE = 3600.0


def kept(told: float = 4 * LIFE) -> Refreshes:
    refreshes = Refreshes(100)
    refreshes.put(7, URI, CLIENT, SERIAL, LIFE, told)
    return refreshes


def test_the_very_same_lives_longer() -> None:
    refreshes = kept()
    assert refreshes.renew(7, URI, CLIENT, SERIAL, 2 * LIFE - 0.5, 0.0)
    assert refreshes.times(7, URI, CLIENT, SERIAL) == (2 * LIFE, 4 * LIFE)


def test_anything_else_does_not() -> None:
    refreshes = kept()
    for key, uri, client, serial in (
        (8, URI, CLIENT, SERIAL),
        (7, URI + b"0", CLIENT, SERIAL),
        (7, URI, packed("10.0.0.1:5061"), SERIAL),
        (7, URI, CLIENT, 4),
    ):
        assert not refreshes.renew(key, uri, client, serial, 2 * LIFE, 0.0)
        assert refreshes.times(key, uri, client, serial) is None
    assert refreshes.times(7, URI, CLIENT, SERIAL) == (LIFE, 4 * LIFE)


def test_what_the_state_folder_must_hear_of_is_not_renewed_here() -> None:
    refreshes = kept(told=100.7)
    assert not refreshes.renew(7, URI, CLIENT, SERIAL, 2 * LIFE, 100.5), "the whole seconds below are kept"
    assert refreshes.times(7, URI, CLIENT, SERIAL) == (LIFE, 100)


def test_what_is_dropped_is_gone_and_leaves_its_place() -> None:
    refreshes = kept()
    refreshes.drop(7, URI, CLIENT, SERIAL)
    refreshes.drop(7, URI, CLIENT, SERIAL)
    assert not refreshes.renew(7, URI, CLIENT, SERIAL, 2 * LIFE, 0.0)
    for _ in range(100):
        refreshes.put(7, URI, CLIENT, SERIAL, LIFE, LIFE)
        refreshes.drop(7, URI, CLIENT, SERIAL)
    refreshes.put(7, URI, CLIENT, SERIAL, LIFE, LIFE)
    assert refreshes.times(7, URI, CLIENT, SERIAL) is not None


def test_a_full_bucket_takes_nothing_more_and_keeps_what_it_has() -> None:
    refreshes = Refreshes(1)
    for key in range(20):
        refreshes.put(key, URI, CLIENT, SERIAL, LIFE, LIFE)
    assert [key for key in range(20) if refreshes.times(key, URI, CLIENT, SERIAL)] == list(range(8))


def test_times_beyond_all_clocks_are_as_late_as_can_be() -> None:
    refreshes = kept()
    assert refreshes.renew(7, URI, CLIENT, SERIAL, 1e12, 0.0)
    assert refreshes.times(7, URI, CLIENT, SERIAL) == (0xFFFFFFFF, 4 * LIFE)
    refreshes.put(7, URI, CLIENT, SERIAL, -1.0, 1e12)
    assert refreshes.times(7, URI, CLIENT, SERIAL) == (0, 0xFFFFFFFF)


def test_a_shadow_reads_and_never_writes() -> None:
    real = kept()
    shadow = ShadowRefreshes(real)
    assert shadow.times(7, URI, CLIENT, SERIAL) == (LIFE, 4 * LIFE)
    assert not shadow.renew(7, URI, CLIENT, SERIAL, 2 * LIFE, 0.0)
    shadow.put(7, URI, CLIENT, SERIAL, 2 * LIFE, 2 * LIFE)
    assert shadow.times(7, URI, CLIENT, SERIAL) is None, "what was written stands in the shadow's record"
    shadow.drop(7, URI, CLIENT, SERIAL)
    assert real.times(7, URI, CLIENT, SERIAL) == (LIFE, 4 * LIFE)


# What the bindings make of it.


def bindings_with(*contacts: bytes) -> Bindings:
    bindings = Bindings("192.0.2.1:5060", Keys(b"k" * 32).pin, 100)
    for uri in contacts:
        bindings.learn(7, b"1@", uri, CLIENT, SERIAL, 0.0, LIFE)
    return bindings


def expiries(bindings: Bindings, now: float) -> list[float]:
    return [bound.expires for bound in bindings.of_aor(7, now)]


def test_a_refreshed_contact_outlives_its_record_and_the_sweep() -> None:
    bindings = bindings_with(URI)
    for now in (1000.0, 2000.0, 3000.0):
        assert bindings.renew(7, URI, CLIENT, SERIAL, now, LIFE)
    for _ in range(200):
        bindings.sweep(LIFE + 1, 10)
    found = bindings.by_contact(URI, LIFE + 1)
    assert found is not None
    assert found.expires == 3000.0 + LIFE
    for _ in range(200):
        bindings.sweep(3001.0 + LIFE, 10)
    assert not bindings.holds(7)
    assert not bindings.renew(7, URI, CLIENT, SERIAL, 3002.0 + LIFE, LIFE)


def test_a_refresh_may_also_shorten_its_life() -> None:
    bindings = bindings_with(URI)
    assert bindings.renew(7, URI, CLIENT, SERIAL, 10.0, 60.0)
    assert expiries(bindings, 11.0) == [70.0]
    assert expiries(bindings, 71.0) == []


def test_what_was_forgotten_is_not_refreshed_and_comes_back_with_its_new_life() -> None:
    bindings = bindings_with(URI)
    assert bindings.renew(7, URI, CLIENT, SERIAL, 100.0, LIFE)
    bindings.forget(7, lambda bound: False)
    assert not bindings.renew(7, URI, CLIENT, SERIAL, 101.0, LIFE)
    bindings.learn(7, b"1@", URI, CLIENT, SERIAL, 102.0, 60.0)
    assert expiries(bindings, 103.0) == [162.0]


def test_a_second_contact_takes_both_to_the_records_with_the_times_they_had() -> None:
    other = b"sip:2@10.0.0.2"
    bindings = bindings_with(URI)
    assert bindings.renew(7, URI, CLIENT, SERIAL, 100.0, LIFE)
    bindings.learn(7, b"1@", other, CLIENT, SERIAL, 200.0, LIFE)
    assert not bindings.renew(7, URI, CLIENT, SERIAL, 300.0, LIFE)
    assert expiries(bindings, 300.0) == [100.0 + LIFE, 200.0 + LIFE]
    bindings.forget(7, lambda bound: bound.uri == other)
    assert bindings.renew(7, other, CLIENT, SERIAL, 400.0, LIFE)
    assert expiries(bindings, 400.0) == [400.0 + LIFE]


def test_who_finds_no_place_is_refreshed_by_the_record() -> None:
    bindings = Bindings("192.0.2.1:5060", Keys(b"k" * 32).pin, 1)
    bindings._limit = 20
    for key in range(20):
        assert bindings.learn(key, b"%d@" % key, URI, CLIENT, SERIAL, 0.0, LIFE)
    assert all(bindings.renew(key, URI, CLIENT, SERIAL, 100.0, LIFE) for key in range(20))
    assert {bound.expires for key in range(20) for bound in bindings.of_aor(key, 200.0)} == {100.0 + LIFE}
