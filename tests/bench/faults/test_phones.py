"""The phone that keeps a book, against an embedded server in virtual time."""

from __future__ import annotations

from random import Random

from bench.faults.phones import Book, BookedPhone, CallRecord
from sipbalancer.demo.lab import Lab
from sipbalancer.demo.server import EmbeddedServer

SERVER, PHONE, OTHER = ("192.0.2.1", 5060), ("192.0.2.9", 5060), ("192.0.2.10", 5060)


def scene() -> tuple[Lab, BookedPhone]:
    lab, book = Lab(), Book()
    phone = BookedPhone("1001", PHONE, SERVER, SERVER[0], Random(1), book, refresh=2.0, expires=60, talk=8.0)
    lab.add(PHONE, phone)
    lab.add(SERVER, EmbeddedServer(SERVER, {"1001": "secret1001", "1002": "secret1002"}, "test", Random(2), name="a1"))
    lab.send(PHONE, phone.register(lab.now))
    lab.run(0.5)
    return lab, phone


def test_a_challenged_register_is_one_op() -> None:
    _, phone = scene()
    assert [(op.method, op.status, op.by, op.in_dialog) for op in phone.book.ops] == [("REGISTER", 200, "a1", False)]


def test_a_call_is_held_halfway_and_hung_up() -> None:
    lab, phone = scene()
    lab.send(PHONE, phone.call("600", lab.now))
    lab.run(12)
    ops = [(op.method, op.in_dialog, op.status) for op in phone.book.ops if op.method != "REGISTER"]
    assert ops == [("INVITE", False, 200), ("INVITE", True, 200), ("BYE", True, 200)]
    assert sum(b"a=sendonly" in packet.data for packet in lab.log) == 1
    (call,) = phone.history
    record = CallRecord.of(phone.user, call)
    assert (record.server, record.ending, record.bye) == ("a1", "hung up", 200)
    assert phone.idle


def test_a_phone_is_called_holds_and_one_of_the_two_hangs_up() -> None:
    lab, phone = scene()
    other = BookedPhone("1002", OTHER, SERVER, SERVER[0], Random(3), phone.book, refresh=None, expires=600, talk=8.0)
    lab.add(OTHER, other)
    lab.send(OTHER, other.register(lab.now))
    lab.run(0.5)
    lab.send(PHONE, phone.call("1002", lab.now))
    lab.run(12)
    (call,), (leg,) = phone.history, other.history
    assert CallRecord.of(other.user, leg).outgoing is False
    assert {call.ending, leg.ending} == {"hung up", "peer hung up"}
    invites = [op for op in phone.book.ops if op.method == "INVITE"]
    assert [(op.user, op.in_dialog, op.status) for op in invites] == [
        ("1001", False, 200),
        ("1001", True, 200),
        ("1002", True, 200),
    ]
    assert invites[0].rang


def test_a_phone_told_481_hangs_up() -> None:
    lab, phone = scene()
    lab.send(PHONE, phone.call("600", lab.now))
    lab.run(1)
    lab.remove(SERVER)
    lab.add(SERVER, EmbeddedServer(SERVER, {"1001": "secret1001"}, "test", Random(5), name="a1"))
    lab.run(4)
    (call,) = phone.history
    assert (call.live, call.ending) == (False, "hung up")


def test_silence_is_noted_after_32_seconds() -> None:
    lab, phone = scene()
    lab.remove(SERVER)
    lab.send(PHONE, phone.call("600", lab.now))
    assert phone.book.open_before(lab.now) == 1
    lab.run(33)
    (invite,) = (op for op in phone.book.ops if op.method == "INVITE")
    assert (invite.status, round(invite.ended - invite.began)) == (0, 32)
