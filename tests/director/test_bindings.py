"""Contacts and the flows they were seen on."""

from __future__ import annotations

from sipbalancer.director.bindings import Bindings
from sipbalancer.director.keys import Keys
from sipbalancer.sip.flow import pack_address

HASHED = Keys(b"k" * 32).pin
ONE, TWO = pack_address("10.1.0.1", 5060), pack_address("10.1.0.2", 5060)


def bindings(limit: int = 100) -> Bindings:
    return Bindings("192.0.2.1:5060", HASHED, limit)


def learn(held: Bindings, aor: str, uri: str, client: bytes, life: float = 60.0, now: float = 1000.0) -> int:
    key = HASHED(aor.encode())
    held.learn(key, aor.encode(), uri.encode(), client, 3, now, life)
    return key


def test_found_by_contact_by_user_by_client_and_by_aor() -> None:
    held = bindings()
    key = learn(held, "1001@", "sip:abc@192.168.1.5:5062", ONE)
    for bound in (
        held.by_contact(b"sip:abc@192.168.1.5:5062;x=y", 1000.0),
        held.by_contact_user(b"abc", 1000.0),
        held.by_contact_user(b"abc", 1000.0, ONE),
        held.by_client(ONE, 1000.0),
        *held.of_aor(key, 1000.0),
    ):
        assert bound is not None and (bound.client, bound.aor, bound.serial) == (ONE, b"1001@", 3)
    assert held.by_contact(b"sip:abc@192.168.1.5", 1000.0) is None
    assert held.by_contact_user(b"ab", 1000.0) is None
    assert held.by_contact_user(b"abc", 1000.0, TWO) is None
    assert held.by_client(TWO, 1000.0) is None


def test_nothing_is_found_after_its_life() -> None:
    held = bindings()
    key = learn(held, "1001@", "sip:abc@h", ONE, life=60.0)
    assert held.of_aor(key, 1059.0)
    assert not held.of_aor(key, 1061.0)
    assert held.by_client(ONE, 1061.0) is None


def test_two_phones_of_one_aor_and_each_can_go() -> None:
    held = bindings()
    key = learn(held, "1001@", "sip:1001@10.1.0.1", ONE)
    learn(held, "1001@", "sip:1001@10.1.0.2", TWO)
    assert [bound.client for bound in held.of_aor(key, 1000.0)] == [ONE, TWO]
    newest = held.by_contact_user(b"1001", 1000.0)
    assert newest is not None and newest.client == TWO
    held.forget(key, lambda bound: bound.client == ONE)
    assert [bound.client for bound in held.of_aor(key, 1000.0)] == [ONE]
    assert held.by_client(TWO, 1000.0) is None
    left = held.by_contact_user(b"1001", 1000.0)
    assert left is not None and left.client == ONE


def test_the_same_contact_from_another_flow_is_the_same_phone_moved() -> None:
    held = bindings()
    key = learn(held, "1001@", "sip:1001@192.168.1.5", ONE)
    learn(held, "1001@", "sip:1001@192.168.1.5", TWO)
    assert [bound.client for bound in held.of_aor(key, 1000.0)] == [TWO]
    assert held.by_client(ONE, 1000.0) is None


def test_beyond_the_limit_it_refuses_and_counts_but_renews() -> None:
    held = bindings(limit=2)
    for number in range(4):
        learn(held, f"{number}@", f"sip:{number}@h", ONE)
    assert held.refused == 2
    learn(held, "0@", "sip:0@h", TWO)
    assert held.refused == 2
    assert held.by_client(TWO, 1000.0) is not None


def test_the_sweep_lets_go_of_what_expired_and_is_bounded() -> None:
    held = bindings()
    for number in range(90):
        learn(held, f"{number}@", f"sip:{number}@h", ONE, life=60.0 if number % 2 else 600.0)
    for _ in range(64 * 4):
        held.sweep(1100.0, 1)
    assert held._held == 45
    assert held.by_contact(b"sip:2@h", 1100.0) is not None


def test_changes_are_told_in_parts_and_the_oldest_first() -> None:
    held = bindings()
    for number in range(5):
        learn(held, f"{number}@", f"sip:{number}@h", ONE)
    assert [row.aor for row in held.changes(str, 2)] == ["0@", "1@"]
    learn(held, "5@", "sip:5@h", ONE)
    assert [row.aor for row in held.changes(str, 9)] == ["2@", "3@", "4@"]
    assert [row.aor for row in held.changes(str, 9)] == ["5@"]


def test_changes_are_told_once_and_can_be_taken_back() -> None:
    held = bindings()
    key = learn(held, "1001@", "sip:1001@h", ONE)
    (row,) = held.changes(lambda serial: f"server {serial}", 9)
    assert row[:5] == ("192.0.2.1:5060", "1001@", "sip:1001@h", ONE, "server 3")
    assert row.expires >= 1060.0
    assert list(held.changes(str, 9)) == []
    held.forget(key, lambda bound: False)
    assert [gone.expires for gone in held.changes(str, 9)] == [0.0]
    other = bindings()
    other.take(row, key, 3, 1000.0)
    assert other.by_client(ONE, 1000.0) is not None
    assert list(other.changes(str, 9)) == []


def test_what_was_learned_since_the_start_is_newer_than_the_file() -> None:
    held = bindings()
    key = learn(held, "1001@", "sip:1001@h", ONE)
    (row,) = held.changes(str, 9)
    held.restore(row._replace(client=TWO), key, 4, 1000.0)
    held.restore(row._replace(contact="sip:1001@other", client=TWO), key, 4, 1000.0)
    assert [(bound.uri, bound.client, bound.serial) for bound in held.of_aor(key, 1000.0)] == [
        (b"sip:1001@h", ONE, 3),
        (b"sip:1001@other", TWO, 4),
    ]
