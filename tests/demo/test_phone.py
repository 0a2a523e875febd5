"""Whole calls between phones and one embedded server, in virtual time, with no balancer between them."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import NamedTuple

import pytest

from sipbalancer.demo.call import CallState, Ending
from sipbalancer.demo.lab import Lab, Packet
from sipbalancer.demo.message import Address, parse
from sipbalancer.demo.phone import Phone
from sipbalancer.demo.server import EmbeddedServer

SERVER = ("192.0.2.1", 5060)
USERS = {"1001": "one", "1002": "two"}


class Scene(NamedTuple):
    lab: Lab
    server: EmbeddedServer
    alice: Phone
    bob: Phone


def make_phone(lab: Lab, user: str, host: str, seed: int, says: Address | None = None) -> Phone:
    phone = Phone(user, USERS.get(user, "wrong"), (host, 5060), SERVER, "192.0.2.1", Random(seed), says=says)
    lab.add(phone.address, phone)
    return phone


@pytest.fixture
def scene() -> Scene:
    lab = Lab()
    server = EmbeddedServer(SERVER, USERS, "demo", Random(0))
    lab.add(SERVER, server)
    return Scene(lab, server, make_phone(lab, "1001", "198.51.100.1", 1), make_phone(lab, "1002", "198.51.100.2", 2))


def register(scene: Scene, *phones: Phone) -> None:
    for phone in phones:
        scene.lab.send(phone.address, phone.register(scene.lab.now))
    scene.lab.run(1)
    assert all(phone.registered for phone in phones)


def call(scene: Scene, phone: Phone, target: str, seconds: float = 2) -> None:
    scene.lab.send(phone.address, phone.call(target, scene.lab.now))
    scene.lab.run(seconds)


def state_of(phone: Phone) -> CallState:
    assert phone.last_call is not None
    return phone.last_call.state


def ending_of(phone: Phone) -> Ending:
    assert phone.last_call is not None
    return phone.last_call.ending


def nobody_waits(scene: Scene) -> None:
    """After everything has timed out, no call is left anywhere and nothing was answered twice."""
    scene.lab.run(70)
    assert not scene.server.live_calls()
    assert not scene.alice.live_calls
    assert not scene.bob.live_calls
    assert scene.alice.doubles == scene.bob.doubles == scene.server.doubles == 0
    assert scene.alice.strays == scene.bob.strays == scene.server.strays == 0


def drop_first(count: int, matches: Callable[[Packet], bool]) -> Callable[[Packet], bool]:
    """Lose the first `count` datagrams that match."""
    left = [count]

    def lose(packet: Packet) -> bool:
        if left[0] and matches(packet):
            left[0] -= 1
            return True
        return False

    return lose


def test_register_meets_exactly_one_challenge(scene: Scene) -> None:
    register(scene, scene.alice)
    assert [line.partition(" sip:")[0] for line in scene.lab.lines()] == [
        "REGISTER",
        "SIP/2.0 401 Unauthorized",
        "REGISTER",
        "SIP/2.0 200 OK",
    ]
    assert scene.alice.registration.challenges == [1]
    assert scene.alice.registration.realm == "demo"
    assert [binding.contact for binding in scene.server.contacts.of("1001", scene.lab.now)] == [
        "sip:1001@198.51.100.1:5060"
    ]


def test_refresh_reuses_the_nonce_while_it_lives(scene: Scene) -> None:
    scene.alice.refresh = 20.0
    register(scene, scene.alice)
    scene.lab.run(20)
    assert scene.alice.registration.challenges == [1, 0]
    scene.lab.run(20)  # the nonce is now older than 32 s: 401 stale
    assert scene.alice.registration.challenges == [1, 0, 1]


def test_wrong_password_is_refused_and_not_tried_for_ever_at_once(scene: Scene) -> None:
    mallory = make_phone(scene.lab, "1003", "198.51.100.3", 3)
    scene.lab.send(mallory.address, mallory.register(scene.lab.now))
    scene.lab.run(1)
    assert not mallory.registered
    assert mallory.registration.last_status == 401
    assert mallory.asked["REGISTER"] == 2


def test_unregister_takes_only_ones_own_contact(scene: Scene) -> None:
    second = make_phone(scene.lab, "1001", "198.51.100.9", 9)
    register(scene, scene.alice, second)
    scene.lab.send(scene.alice.address, scene.alice.unregister(scene.lab.now))
    scene.lab.run(1)
    assert not scene.alice.registered
    assert [binding.contact for binding in scene.server.contacts.of("1001", scene.lab.now)] == [
        "sip:1001@198.51.100.9:5060"
    ]


def test_echo_call_and_hang_up(scene: Scene) -> None:
    call(scene, scene.alice, "600")
    assert state_of(scene.alice) is CallState.TALKING
    scene.lab.send(scene.alice.address, scene.alice.hang_up(scene.lab.now))
    scene.lab.run(1)
    assert ending_of(scene.alice) is Ending.HUNG_UP
    assert scene.alice.finals["BYE", 200] == 1
    nobody_waits(scene)


def test_server_hangs_up(scene: Scene) -> None:
    call(scene, scene.alice, "602", 6)
    assert ending_of(scene.alice) is Ending.PEER_HUNG_UP
    nobody_waits(scene)


@pytest.mark.parametrize("number, status", [("999", 404), ("1002", 480)])
def test_calls_to_nobody_are_refused(scene: Scene, number: str, status: int) -> None:
    call(scene, scene.alice, number)
    assert scene.alice.last_call is not None
    assert scene.alice.last_call.status == status
    assert ending_of(scene.alice) is Ending.REFUSED
    nobody_waits(scene)


@pytest.mark.parametrize("who", ["caller", "callee"])
def test_phone_to_phone_and_bye_from_either_side(scene: Scene, who: str) -> None:
    register(scene, scene.bob)
    call(scene, scene.alice, "1002")
    assert state_of(scene.alice) is state_of(scene.bob) is CallState.TALKING
    first, second = (scene.alice, scene.bob) if who == "caller" else (scene.bob, scene.alice)
    scene.lab.send(first.address, first.hang_up(scene.lab.now))
    scene.lab.run(1)
    assert ending_of(first) is Ending.HUNG_UP
    assert ending_of(second) is Ending.PEER_HUNG_UP
    nobody_waits(scene)


@pytest.mark.parametrize("ringing", [1.0, 40.0])
def test_cancel_while_ringing(scene: Scene, ringing: float) -> None:
    scene.bob.answer_after = None
    register(scene, scene.bob)
    call(scene, scene.alice, "1002", ringing)
    assert state_of(scene.alice) is state_of(scene.bob) is CallState.RINGING
    scene.lab.send(scene.alice.address, scene.alice.cancel(scene.lab.now))
    scene.lab.run(1)
    assert ending_of(scene.alice) is ending_of(scene.bob) is Ending.CANCELLED
    assert scene.alice.finals["INVITE", 487] == 1
    assert scene.alice.finals["CANCEL", 200] == 1
    nobody_waits(scene)


def test_cancel_at_once_waits_for_a_provisional(scene: Scene) -> None:
    scene.bob.answer_after = None
    register(scene, scene.bob)
    scene.lab.send(scene.alice.address, scene.alice.call("1002", scene.lab.now))
    scene.lab.send(scene.alice.address, scene.alice.cancel(scene.lab.now))
    scene.lab.run(2)
    assert ending_of(scene.alice) is Ending.CANCELLED
    nobody_waits(scene)


def test_cancel_that_crosses_the_answer_ends_in_a_bye(scene: Scene) -> None:
    scene.server.answer_after = 0.0
    scene.lab.lose = lambda packet: packet.line.startswith(("SIP/2.0 18", "SIP/2.0 200")) and len(scene.lab.log) < 9
    call(scene, scene.alice, "600", 0.1)
    assert scene.server.live_calls()[0].status == 200
    scene.lab.send(scene.alice.address, scene.alice.cancel(scene.lab.now))
    scene.lab.run(2)
    assert ending_of(scene.alice) is Ending.CANCELLED
    assert scene.alice.finals["BYE", 200] == 1
    nobody_waits(scene)


def test_busy_phone(scene: Scene) -> None:
    scene.bob.answer_after = None
    register(scene, scene.bob)
    call(scene, scene.alice, "1002")
    scene.lab.send(scene.bob.address, scene.bob.reject(scene.lab.now))
    scene.lab.run(1)
    assert scene.alice.last_call is not None
    assert scene.alice.last_call.status == 486
    nobody_waits(scene)


def test_reinvite_keeps_the_call(scene: Scene) -> None:
    call(scene, scene.alice, "600")
    scene.lab.send(scene.alice.address, scene.alice.reinvite(scene.lab.now))
    scene.lab.run(1)
    assert scene.alice.last_call is not None
    assert scene.alice.last_call.reinvites == scene.server.live_calls()[0].reinvites == 1
    assert state_of(scene.alice) is CallState.TALKING
    scene.lab.send(scene.alice.address, scene.alice.hang_up(scene.lab.now))
    nobody_waits(scene)


def test_server_calls_a_phone_through_its_path(scene: Scene) -> None:
    """The Path's host gets the INVITE, its Route says so, and the Request-URI is the phone's Contact."""
    register_with_path(scene, "<sip:token@203.0.113.7:5060;lr>")
    start = len(scene.lab.log)
    scene.lab.send(SERVER, scene.server.call_phone("1001", scene.lab.now))
    packet = scene.lab.log[start]
    invite = parse(packet.data)
    assert invite is not None
    assert packet.destination == ("203.0.113.7", 5060)
    assert invite.uri == "sip:1001@198.51.100.1:5060"
    assert invite.all("Route") == ["<sip:token@203.0.113.7:5060;lr>"]


def test_dropped_path_and_outbound_proxy(scene: Scene) -> None:
    register_with_path(scene, "<sip:token@203.0.113.7:5060;lr>")
    scene.server.drop_path, scene.server.outbound_proxy = True, "<sip:203.0.113.8;lr>"
    start = len(scene.lab.log)
    scene.lab.send(SERVER, scene.server.call_phone("1001", scene.lab.now))
    invite = parse(scene.lab.log[start].data)
    assert invite is not None
    assert scene.lab.log[start].destination == ("203.0.113.8", 5060)
    assert invite.all("Route") == ["<sip:203.0.113.8;lr>"]


def test_path_without_support_is_a_bad_extension(scene: Scene) -> None:
    answers = register_with_path(scene, "<sip:token@203.0.113.7:5060;lr>", supported=False)
    assert answers[-1] == "SIP/2.0 420 Bad Extension"
    assert not scene.server.contacts.of("1001", scene.lab.now)


def register_with_path(scene: Scene, path: str, *, supported: bool = True) -> list[str]:
    """Register alice as if a proxy had written a Path; the start lines of what came back."""
    lab, alice = scene.lab, scene.alice
    sent = alice.register(lab.now)
    answers = []
    while sent:
        request = parse(sent[0][0])
        assert request is not None
        request.headers += [("Path", path)] + [("Supported", "path")] * supported
        answered = scene.server.receive_datagram(request.encode(), alice.address, lab.now)
        answers.append(answered[0][0].partition(b"\r\n")[0].decode())
        sent = alice.receive_datagram(answered[0][0], SERVER, lab.now)
    return answers


def test_server_calls_a_phone_and_qualifies_it(scene: Scene) -> None:
    register(scene, scene.alice)
    scene.lab.send(SERVER, scene.server.ask_phone("OPTIONS", "1001", scene.lab.now))
    scene.lab.send(SERVER, scene.server.call_phone("1001", scene.lab.now))
    scene.lab.run(2)
    assert scene.server.finals["OPTIONS", 200] == 1
    assert state_of(scene.alice) is CallState.TALKING
    scene.lab.send(scene.alice.address, scene.alice.hang_up(scene.lab.now))
    nobody_waits(scene)


def test_phone_behind_nat_is_answered_where_it_is(scene: Scene) -> None:
    phone = make_phone(scene.lab, "1001", "203.0.113.50", 5, says=("10.0.0.5", 5062))
    scene.server.rewrite_contact = True
    register(scene, phone)
    scene.lab.send(SERVER, scene.server.call_phone("1001", scene.lab.now))
    scene.lab.run(2)
    assert state_of(phone) is CallState.TALKING


def test_subscribe_is_notified_in_its_dialog(scene: Scene) -> None:
    sent = scene.alice.ask_out("SUBSCRIBE", "1002", scene.lab.now, ("Event", "dialog"), ("Expires", "60"))
    scene.lab.send(scene.alice.address, sent)
    scene.lab.run(1)
    assert scene.alice.finals["SUBSCRIBE", 200] == 1
    assert scene.alice.heard["NOTIFY"] == 1
    assert scene.server.finals["NOTIFY", 200] == 1


def test_shutting_down_server_takes_no_new_calls_but_keeps_the_old(scene: Scene) -> None:
    register(scene, scene.alice, scene.bob)
    call(scene, scene.alice, "600")
    scene.server.shutting_down = True
    call(scene, scene.bob, "600")
    assert scene.bob.last_call is not None
    assert scene.bob.last_call.status == 503
    scene.lab.send(scene.bob.address, scene.bob.register(scene.lab.now))
    scene.lab.send(scene.bob.address, scene.bob.ask_out("OPTIONS", "", scene.lab.now))
    scene.lab.send(scene.alice.address, scene.alice.hang_up(scene.lab.now))
    scene.lab.run(1)
    assert scene.bob.registration.last_status == 200
    assert scene.bob.finals["OPTIONS", 503] == 1
    assert scene.alice.finals["BYE", 200] == 1


def test_hanging_server_is_silent_and_the_invite_times_out(scene: Scene) -> None:
    scene.server.hanging = True
    call(scene, scene.alice, "600", 31.9)
    assert state_of(scene.alice) is CallState.TRYING
    assert scene.alice.retransmissions == 6
    scene.lab.run(0.2)
    assert ending_of(scene.alice) is Ending.UNANSWERED
    assert scene.alice.finals["INVITE", 0] == 1


@pytest.mark.parametrize("method", ["INVITE", "ACK", "BYE", "SIP/2.0 100", "SIP/2.0 200", "SIP/2.0 401", "SIP/2.0 180"])
@pytest.mark.parametrize("count", [1, 3])
def test_calls_survive_loss(scene: Scene, method: str, count: int) -> None:
    register(scene, scene.bob)
    scene.lab.lose = drop_first(count, lambda packet: packet.line.startswith(method))
    call(scene, scene.alice, "1002", 20)
    assert state_of(scene.alice) is state_of(scene.bob) is CallState.TALKING
    scene.lab.send(scene.alice.address, scene.alice.hang_up(scene.lab.now))
    scene.lab.run(15)
    assert ending_of(scene.bob) is Ending.PEER_HUNG_UP
    assert scene.alice.finals["BYE", 200] == 1
    nobody_waits(scene)


def test_registration_and_calls_survive_a_third_of_all_lost(scene: Scene) -> None:
    dice = Random(7)
    scene.lab.lose = lambda packet: dice.random() < 0.3
    for phone in (scene.alice, scene.bob):
        scene.lab.send(phone.address, phone.register(scene.lab.now))
    scene.lab.run(40)
    assert scene.alice.registered
    assert scene.bob.registered
    call(scene, scene.alice, "1002", 30)
    assert state_of(scene.alice) is state_of(scene.bob) is CallState.TALKING
    assert scene.alice.retransmissions > 0
    scene.lab.send(scene.bob.address, scene.bob.hang_up(scene.lab.now))
    scene.lab.run(70)
    assert not scene.server.live_calls()


def test_a_second_answer_from_another_callee_is_acknowledged_and_ended(scene: Scene) -> None:
    """What a doubled call looks like to its caller: it must be seen, so that a balancer that doubles is caught."""
    scene.lab.send(scene.alice.address, scene.alice.call("600", scene.lab.now))
    scene.lab.run(1)
    answer = next(packet for packet in reversed(scene.lab.log) if packet.line == "SIP/2.0 200 OK")
    response = parse(answer.data)
    assert response is not None
    response.replace("To", [response.get("To").partition(";tag=")[0] + ";tag=other"])
    sent = scene.alice.receive_datagram(response.encode(), SERVER, scene.lab.now)
    assert scene.alice.doubles == 1
    assert [data.partition(b" ")[0] for data, _ in sent] == [b"ACK", b"BYE"]
    assert state_of(scene.alice) is CallState.TALKING


def test_rubbish_is_counted_and_keepalives_are_not(scene: Scene) -> None:
    for data in (b"\x00\x01", b"INVITE", b"INVITE sip:x SIP/2.0\r\n\r\n", b"SIP/2.0 abc\r\n\r\n", b"\xff" * 700):
        assert scene.server.receive_datagram(data, ("198.51.100.7", 5060), scene.lab.now) == []
    assert scene.server.unreadable == 5
    assert scene.server.receive_datagram(b"\r\n\r\n", ("198.51.100.7", 5060), scene.lab.now) == []
    assert scene.server.unreadable == 5
