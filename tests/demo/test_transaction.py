"""The timers of RFC 3261 17, second by second, in virtual time."""

from __future__ import annotations

from random import Random

from sipbalancer.demo.lab import Lab
from sipbalancer.demo.message import Address, Datagram, Message, parse
from sipbalancer.demo.phone import Phone
from sipbalancer.demo.transaction import LIFETIME

PROXY = ("192.0.2.1", 5060)
PHONE = ("198.51.100.1", 5060)


class Mute:
    """Hears everything, answers what it is told to."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, Message]] = []

    def receive_datagram(self, data: bytes, source: Address, now: float) -> list[Datagram]:
        message = parse(data)
        assert message is not None
        self.heard.append((now, message))
        return []

    def due(self, now: float) -> list[Datagram]:
        return []

    def next_due(self) -> float | None:
        return None

    def times(self, method: str) -> list[float]:
        """When requests of that method were sent, in seconds since the first."""
        times = [now for now, message in self.heard if message.method == method]
        return [round(now - times[0], 1) for now in times]


def phone_and_mute() -> tuple[Lab, Phone, Mute]:
    lab, mute = Lab(), Mute()
    phone = Phone("1001", "one", PHONE, PROXY, "192.0.2.1", Random(1), keep=False)
    lab.add(PROXY, mute)
    lab.add(PHONE, phone)
    return lab, phone, mute


def answer(lab: Lab, mute: Mute, start: str, to_tag: str = ";tag=x") -> None:
    """Answer the newest request with this start line."""
    request = mute.heard[-1][1]
    response = Message(start, [("Via", request.get("Via")), ("From", request.get("From"))])
    response.headers += [
        ("To", request.get("To") + to_tag),
        ("Call-ID", request.call_id),
        ("CSeq", request.get("CSeq")),
    ]
    lab.send(PROXY, [(response.encode(), PHONE)])
    lab.run(0.01)


def test_register_is_sent_by_timer_e_until_timer_f() -> None:
    lab, phone, mute = phone_and_mute()
    lab.send(PHONE, phone.register(lab.now))
    lab.run(60)
    assert mute.times("REGISTER") == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert phone.finals["REGISTER", 0] == 1
    assert phone.registration.failures == [(1000.0, 0)]


def test_invite_is_sent_by_timer_a_until_timer_b() -> None:
    lab, phone, mute = phone_and_mute()
    lab.send(PHONE, phone.call("600", lab.now))
    lab.run(60)
    assert mute.times("INVITE") == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert phone.finals["INVITE", 0] == 1


def test_a_provisional_stops_the_invite_and_slows_the_register() -> None:
    lab, phone, mute = phone_and_mute()
    lab.send(PHONE, phone.call("600", lab.now))
    lab.run(0.01)
    answer(lab, mute, "SIP/2.0 100 Trying", "")
    lab.send(PHONE, phone.register(lab.now))
    lab.run(0.01)
    answer(lab, mute, "SIP/2.0 100 Trying", "")
    lab.run(40)
    assert mute.times("INVITE") == [0]
    assert mute.times("REGISTER") == [0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    assert phone.live_calls


def test_ack_of_a_refusal_has_the_branch_of_its_invite_and_is_said_again() -> None:
    lab, phone, mute = phone_and_mute()
    lab.send(PHONE, phone.call("600", lab.now))
    lab.run(0.01)
    invite = mute.heard[-1][1]
    for _ in range(2):
        mute.heard.append((lab.now, invite))
        answer(lab, mute, "SIP/2.0 486 Busy Here")
        ack = mute.heard[-1][1]
        assert ack.method == "ACK"
        assert ack.get("Via") == invite.get("Via")
        assert ack.get("CSeq") == "1 ACK"
        assert ack.get("To").endswith(";tag=x")
    assert phone.finals["INVITE", 486] == 1


def test_ack_of_an_answer_has_a_branch_of_its_own_and_is_the_same_again() -> None:
    lab, phone, mute = phone_and_mute()
    lab.send(PHONE, phone.call("600", lab.now))
    lab.run(0.01)
    invite = mute.heard[-1][1]
    acks = []
    for _ in range(2):
        mute.heard.append((lab.now, invite))
        answer(lab, mute, "SIP/2.0 200 OK")
        acks.append(mute.heard[-1][1].encode())
    assert acks[0] == acks[1]
    assert invite.branch.encode() not in acks[0]


def test_answers_after_the_end_are_strays() -> None:
    lab, phone, mute = phone_and_mute()
    lab.send(PHONE, phone.register(lab.now))
    lab.run(LIFETIME + 1)
    answer(lab, mute, "SIP/2.0 200 OK")
    assert phone.strays == 1
    assert not phone.registered


def test_a_response_with_a_second_via_is_not_for_a_phone() -> None:
    lab, phone, mute = phone_and_mute()
    lab.send(PHONE, phone.register(lab.now))
    lab.run(0.01)
    mute.heard[-1][1].replace("Via", [mute.heard[-1][1].get("Via") + ", SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKx"])
    answer(lab, mute, "SIP/2.0 200 OK")
    assert phone.strays == 1
    assert phone.registration.succeeded == 0


def test_a_busy_agenda_forgets_what_was_cancelled() -> None:
    lab, phone, mute = phone_and_mute()
    lab.send(PHONE, phone.register(lab.now))
    lab.run(LIFETIME + 10)
    assert phone.next_due() is None
