"""What of a 2xx to INVITE is kept for a BYE, from which side, and for how many."""

from __future__ import annotations

import pytest

from sipbalancer.director.dialogs import Dialogs
from sipbalancer.director.transactions import Transaction
from sipbalancer.errors import MalformedMessage
from sipbalancer.sip.flow import flow_of
from tests.director.stage import PHONE, A, B, Stage, message, packed, service_of

PROXIES = ("Record-Route: <sip:near.example;lr>, <sip:far.example;lr>",)


def _invite(*more: str, cseq: int = 7) -> bytes:
    contact = "Contact: <sip:1001@10.1.0.1:5060>"
    ends = ("From: <sip:x@x>;tag=f", "To: <sip:y@y>", "Call-ID: c", f"CSeq: {cseq} INVITE")
    return message("INVITE sip:y@y SIP/2.0", *ends, contact, *more)


def _ok(*more: str) -> bytes:
    contact = "Contact: <sip:1002@10.1.0.2:5060>"
    ends = ("From: <sip:x@x>;tag=f", "To: <sip:y@y>;tag=t", "Call-ID: c", "CSeq: 7 INVITE")
    return message("SIP/2.0 200 OK", *ends, contact, *more)


def _transaction(stage: Stage, data: bytes, *, inward: bool, server: str = A) -> Transaction:
    service = next(iter(stage.table.state.services.values()))
    flow = flow_of(0, packed(PHONE))
    return Transaction(
        b"k", b"INVITE", service, service.by_packed[packed(server)], flow, flow, inward, data, b"c", stage.now
    )


def test_a_phone_that_called_is_told_in_the_servers_name() -> None:
    dialogs, stage = Dialogs(), Stage(service_of())
    dialogs.learn(1, _transaction(stage, _invite(*PROXIES), inward=True), _ok())
    dialog = dialogs.held[1]
    assert (dialog.local, dialog.remote) == (b"<sip:y@y>;tag=t", b"<sip:x@x>;tag=f")
    assert (dialog.target, dialog.seq) == (b"sip:1001@10.1.0.1:5060", 0)
    assert dialog.routes == (b"<sip:near.example;lr>", b"<sip:far.example;lr>")


def test_a_phone_that_was_called_too_by_the_proxies_beyond_us() -> None:
    dialogs, stage = Dialogs(), Stage(service_of())
    ours = "Record-Route: <sip:192.0.2.1:5060;lr>, <sip:192.0.2.11;lr>"
    far_first = "Record-Route: <sip:far.example;lr>,<sip:near.example;lr>"
    dialogs.learn(1, _transaction(stage, _invite(), inward=False), _ok(far_first, ours))
    dialog = dialogs.held[1]
    assert (dialog.local, dialog.remote) == (b"<sip:x@x>;tag=f", b"<sip:y@y>;tag=t")
    assert (dialog.target, dialog.seq) == (b"sip:1002@10.1.0.2:5060", 7)
    assert dialog.routes == (b"<sip:near.example;lr>", b"<sip:far.example;lr>")


def test_the_servers_number_only_rises() -> None:
    dialogs, stage = Dialogs(), Stage(service_of())
    dialogs.learn(1, _transaction(stage, _invite(), inward=False), _ok())
    dialogs.seen(1, _invite(cseq=12))
    dialogs.seen(1, _invite(cseq=9))
    dialogs.seen(2, _invite(cseq=99))
    assert dialogs.held[1].seq == 12
    dialogs.learn(1, _transaction(stage, _invite(cseq=3), inward=True), _ok())
    assert dialogs.held[1].seq == 12


def test_without_a_contact_nothing_is_kept_and_without_a_cseq_it_is_malformed() -> None:
    dialogs, stage = Dialogs(), Stage(service_of())
    dialogs.learn(1, _transaction(stage, _invite().replace(b"Contact", b"X"), inward=True), _ok())
    assert not dialogs.held
    with pytest.raises(MalformedMessage):
        dialogs.learn(1, _transaction(stage, _invite().replace(b"CSeq", b"X"), inward=False), _ok())


def test_what_is_too_long_is_not_kept() -> None:
    dialogs, stage = Dialogs(), Stage(service_of())
    dialogs.learn(1, _transaction(stage, _invite().replace(b"sip:x@x", b"sip:" + 3000 * b"x"), inward=True), _ok())
    assert (len(dialogs.held), dialogs.refused) == (0, 1)


def test_it_is_bounded_and_what_is_unpinned_goes() -> None:
    dialogs, stage = Dialogs(limit=2), Stage(service_of())
    for key, server in ((1, A), (2, B), (3, A)):
        dialogs.learn(key, _transaction(stage, _invite(), inward=True, server=server), _ok())
    assert (sorted(dialogs.held), dialogs.refused) == ([1, 2], 1)
    assert dialogs.of(_transaction(stage, b"", inward=True, server=B).server) == [2]
    dialogs.sweep(lambda key: key != 1, 10)
    assert sorted(dialogs.held) == [2]
