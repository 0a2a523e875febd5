"""Contacts take little room, the index holds what is bound and nothing else, and the collector has nothing to walk."""

from __future__ import annotations

import gc
from sys import getsizeof

import pytest

from sipbalancer.director import bindings as module
from sipbalancer.director.bindings import Bindings
from sipbalancer.director.keys import Keys
from tests.director.stage import packed

LIFE = 3600.0


def hashed(text: bytes) -> int:
    return int.from_bytes(text[-8:], "big")


def learned(bindings: Bindings, key: int, contact: bytes, client: str, now: float) -> None:
    bindings.learn(key, b"%d@" % key, contact, packed(client), 1, now, LIFE)


def indexed(bindings: Bindings) -> int:
    return sum(len(shard) for shard in bindings._index)


def test_a_phone_whose_port_is_another_at_each_refresh_leaves_nothing_behind() -> None:
    bindings = Bindings("192.0.2.1:5060", hashed, 10)
    for port in range(5000, 5500):
        learned(bindings, 1, b"sip:1@10.0.0.1", f"10.0.0.1:{port}", 0.0)
    assert indexed(bindings) == 3
    found = bindings.by_client(packed("10.0.0.1:5499"), 1.0)
    assert found is not None and found.aor == b"1@"
    assert bindings.by_client(packed("10.0.0.1:5498"), 1.0) is None
    bindings.forget(1, lambda bound: False)
    assert indexed(bindings) == 0


def test_an_address_left_to_another_contact_of_the_same_aor_is_still_found() -> None:
    bindings = Bindings("192.0.2.1:5060", hashed, 10)
    learned(bindings, 1, b"sip:a@10.0.0.1", "10.0.0.1:5060", 0.0)
    learned(bindings, 1, b"sip:b@10.0.0.1", "10.0.0.1:5060", 0.0)
    learned(bindings, 1, b"sip:a@10.0.0.1", "10.0.0.1:6000", 0.0)
    for client in ("10.0.0.1:5060", "10.0.0.1:6000"):
        assert bindings.by_client(packed(client), 1.0) is not None


def test_an_address_that_is_another_phones_now_stays_its() -> None:
    bindings = Bindings("192.0.2.1:5060", hashed, 10)
    learned(bindings, 1, b"sip:1@10.0.0.1", "10.0.0.1:5060", 0.0)
    learned(bindings, 2, b"sip:2@10.0.0.1", "10.0.0.1:5060", 0.0)
    learned(bindings, 1, b"sip:1@10.0.0.1", "10.0.0.1:6000", 0.0)
    found = bindings.by_client(packed("10.0.0.1:5060"), 1.0)
    assert found is not None and found.aor == b"2@"


def test_a_contact_is_one_value_of_its_text_and_little_more() -> None:
    bindings = Bindings("192.0.2.1:5060", hashed, 10)
    contact = b"sip:1000001@192.168.1.5:5060;transport=udp"
    learned(bindings, 1, contact, "10.0.0.1:5060", 0.0)
    (record,) = (value for shard in bindings._aors for value in shard.values())
    text = len(contact) + len(packed("10.0.0.1:5060")) + len(b"1@")
    assert getsizeof(record) - getsizeof(b"") == 32 + text


def test_the_collector_walks_over_no_contact() -> None:
    bindings = Bindings("192.0.2.1:5060", Keys(b"k" * 32).pin, 1000)
    for key in range(1000):
        learned(bindings, key, b"sip:%d@10.0.0.1" % key, f"10.0.0.1:{5000 + key}", 0.0)
    held: list[object] = [part for shard in bindings._aors for item in shard.items() for part in item]
    held += [part for shard in bindings._index for item in shard.items() for part in item]
    assert len(held) == 2 * (1000 + 3 * 1000)
    assert not any(map(gc.is_tracked, held))


def test_shards_stay_small_at_the_limit() -> None:
    shards = len(Bindings("192.0.2.1:5060", hashed, 50_000_000)._index)
    assert 3 * 50_000_000 / shards < 65536


def test_a_refresh_that_is_due_on_the_disk_is_told_and_the_rest_is_not() -> None:
    bindings = Bindings("192.0.2.1:5060", hashed, 10)
    contact, client = b"sip:1@10.0.0.1", packed("10.0.0.1:5060")
    learned(bindings, 1, contact, "10.0.0.1:5060", 0.0)
    assert [row.expires for row in bindings.changes(str, 9)] == [4 * LIFE]
    assert bindings.renew(1, contact, client, 1, LIFE, LIFE)
    assert list(bindings.changes(str, 9)) == []
    assert bindings.renew(1, contact, client, 1, 3 * LIFE, LIFE)
    assert [row.expires for row in bindings.changes(str, 9)] == [7 * LIFE]
    (bound,) = bindings.of_aor(1, 3 * LIFE)
    assert (bound.expires, bound.stored, bound.uri, bound.client, bound.aor) == (
        4 * LIFE,
        7 * LIFE,
        contact,
        client,
        b"1@",
    )


def test_what_the_disk_had_no_room_for_is_told_by_the_next_refresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNTOLD", 1)
    bindings = Bindings("192.0.2.1:5060", hashed, 10)
    for key in (1, 2):
        learned(bindings, key, b"sip:%d@10.0.0.1" % key, "10.0.0.1:5060", 0.0)
    assert [row.contact for row in bindings.changes(str, 9)] == ["sip:1@10.0.0.1"]
    for key in (1, 2):
        assert bindings.renew(key, b"sip:%d@10.0.0.1" % key, packed("10.0.0.1:5060"), 1, 1.0, LIFE)
    assert [row.contact for row in bindings.changes(str, 9)] == ["sip:2@10.0.0.1"]


def test_only_the_very_same_is_renewed() -> None:
    bindings = Bindings("192.0.2.1:5060", hashed, 10)
    contact, client = b"sip:1@10.0.0.1", packed("10.0.0.1:5060")
    learned(bindings, 1, contact, "10.0.0.1:5060", 0.0)
    others = [(b"sip:1@10.0.0.2", client, 1), (contact[:-1], client, 1), (contact, packed("10.0.0.1:5061"), 1)]
    assert not any(bindings.renew(1, *other, 1.0, LIFE) for other in (*others, (contact, client, 2)))
    learned(bindings, 1, b"sip:2@10.0.0.1", "10.0.0.1:5070", 0.0)
    assert not bindings.renew(1, contact, client, 1, 1.0, LIFE)
