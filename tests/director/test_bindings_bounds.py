"""The index of Contacts holds what is bound and nothing else, however often a phone's address changes."""

from __future__ import annotations

from sipbalancer.director.bindings import Bindings
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
