"""Records in progress: their lives, their bounds, what stays of them."""

from __future__ import annotations

import pytest

from sipbalancer.director.keys import TRANSACTION_KEY
from sipbalancer.director.transactions import Transaction, Transactions
from sipbalancer.sip.flow import flow_of
from tests.director.stage import PHONE, START, A, Stage, packed

STAGE = Stage()
SERVER = STAGE.server(A)


def key_of(name: str) -> bytes:
    """As long as keys are."""
    return name.encode().rjust(TRANSACTION_KEY, b".")


def transaction(key: str, method: bytes = b"MESSAGE", now: float = START, data: bytes = b"") -> Transaction:
    flow = flow_of(0, packed(PHONE))
    return Transaction(key_of(key), method, STAGE.service, SERVER, flow, flow, True, data, b"call", now)


@pytest.fixture(autouse=True)
def _none_held() -> None:
    SERVER.transactions = 0


@pytest.mark.parametrize(("method", "life"), [(b"MESSAGE", 32.0), (b"REGISTER", 32.0), (b"INVITE", 200.0)])
def test_an_unanswered_one_ends_after_its_timer(method: bytes, life: float) -> None:
    held = Transactions()
    one = transaction("k", method)
    held.begin(one)
    assert held.expire(START + life - 0.1, 10) == []
    assert held.expire(START + life + 0.1, 10) == [one]
    assert (held.pending, SERVER.transactions) == ({}, 0)
    assert held.ended.get(key_of("k"), START + life + 32) == SERVER.number


def test_a_renewed_one_stays() -> None:
    held = Transactions()
    one = transaction("k", b"INVITE")
    held.begin(one)
    one.deadline += 100
    assert held.expire(START + 201, 10) == []
    assert held.expire(START + 301, 10) == [one]


def test_what_ended_is_remembered_for_32_s_and_twice_ending_is_once() -> None:
    held = Transactions()
    one = transaction("k")
    held.begin(one)
    held.end(one, START + 1)
    held.end(one, START + 1)
    assert (held.pending, SERVER.transactions) == ({}, 0)
    assert held.ended.get(key_of("k"), START + 33) == SERVER.number
    assert held.ended.get(key_of("k"), START + 66) is None


def test_one_we_answered_is_remembered_by_its_answer_alone() -> None:
    held = Transactions()
    one = transaction("k")
    held.begin(one)
    held.forget(one, START)
    assert one.by_us
    assert held.ended.get(key_of("k"), START) is None
    assert held.given_up.get(key_of("k"), START) is one


def test_beyond_the_limit_only_the_choice_is_remembered() -> None:
    held = Transactions(limit=2)
    for key in "abc":
        held.begin(transaction(key))
    assert (len(held.pending), held.refused, SERVER.transactions) == (2, 1, 2)
    assert held.ended.get(key_of("c"), START) == SERVER.number


def test_large_requests_fill_the_memory_no_further_than_many_small_ones() -> None:
    held = Transactions(limit=100)
    large = [transaction(f"{number}", data=b"x" * 60000) for number in range(100)]
    for one in large:
        held.begin(one)
    assert sum(2 * len(one.data) for one in held.pending.values()) <= 100 * 2048
    assert held.refused == 100 - len(held.pending) > 90
    for one in large:
        held.end(one, START)
    held.begin(transaction("after", data=b"x" * 40000))
    assert len(held.pending) == 1


def test_what_left_counts_beside_what_came() -> None:
    held = Transactions(limit=100)
    for number in range(100):
        held.begin(transaction(f"{number}", data=b"x" * 2000))
    assert len(held.pending) * 4000 <= 100 * 2048


def test_large_requests_leave_half_of_the_memory_to_small_ones() -> None:
    held = Transactions(limit=100)
    for number in range(100):
        held.begin(transaction(f"large {number}", data=b"x" * 9000))
    assert len(held.pending) == 5, "2 x 9,000 octets each, half of 204,800"
    small = [transaction(f"small {number}", data=b"x" * 1000) for number in range(50)]
    for one in small:
        held.begin(one)
    assert all(one.key in held.pending for one in small)
    for one in list(held.pending.values()):
        held.end(one, START)
    assert held._held == 0


@pytest.mark.parametrize("method", [b"REGISTER", b"INVITE"])
def test_what_was_given_up_keeps_no_more_than_its_end_needs(method: bytes) -> None:
    held = Transactions()
    for name, more, kept in (("body", b"\r\n" + b"b" * 50000, 30), ("head", b"h" * 50000 + b"\r\n", 0)):
        one = transaction(name, method, data=b"INVITE sip:x SIP/2.0\r\nA: b\r\n" + more)
        one.sent = one.data
        held.begin(one)
        held.forget(one, START)
        assert held.given_up.get(key_of(name), START) is one
        assert len(one.data) == (kept if method == b"INVITE" else 0) and one.sent == b""
    assert held._held == 0


@pytest.mark.parametrize("method", [b"MESSAGE", b"INVITE"])
def test_one_that_waits_does_not_make_the_memory_of_the_others_grow(method: bytes) -> None:
    held = Transactions()
    held.begin(transaction("waits", method))
    for number in range(20000):
        one = transaction(f"{number}", method)
        held.begin(one)
        held.end(one, START)
    assert len(held._due) + len(held._due_invites) < 2000
    assert list(held.pending) == [key_of("waits")]
    assert [one.key for one in held.expire(START + 500, 5000)] == [key_of("waits")]


@pytest.mark.parametrize(("method", "life"), [(b"MESSAGE", 32), (b"INVITE", 200)])
def test_one_that_waits_ends_in_time_whatever_passes_meanwhile(method: bytes, life: int) -> None:
    held = Transactions()
    held.begin(transaction("waits", method))
    over = []
    for second in range(2 * life):
        for number in range(200):
            one = transaction(f"{second} {number}", method, START + second)
            held.begin(one)
            held.end(one, START + second)
        over += [(one.key, second) for one in held.expire(START + second, 500)]
    assert [key for key, _ in over] == [key_of("waits")]
    assert life <= over[0][1] <= life + 10
    assert (held.pending, SERVER.transactions) == ({}, 0)


def test_expiry_is_bounded() -> None:
    held = Transactions()
    for number in range(50):
        held.begin(transaction(f"{number}"))
    assert [len(held.expire(START + 40, 20)) for _ in range(4)] == [20, 20, 10, 0]
