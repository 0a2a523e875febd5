"""The balancer ends and starts again under ten calls and a dozen registrations: nobody notices."""

from __future__ import annotations

from tests.real.call import Call
from tests.real.message import Message
from tests.real.phone import Phone
from tests.real.pool import PATHLESS, Phones, home, registered
from tests.real.programs import Balancer


def test_calls_and_registrations_outlive_a_restart(balancer: Balancer, phones: Phones) -> None:
    pairs = [phones.together(2) for _ in range(5)]
    echoes = [phones.phone() for _ in range(5)]
    idle = phones.together(2, private="192.168.1.40")
    pathless = phones.together(2, PATHLESS, private="192.168.1.40")
    homes = {phone: registered(phone) for pair in (*pairs, idle, pathless) for phone in pair}
    calls = [caller.call(callee.user.number) for caller, callee in pairs]
    calls += [phone.call("600") for phone in echoes]
    for call in calls:
        call.wait_answer()
    others = [callee.calls.get(timeout=4) for _, callee in pairs]
    guest = phones.phone(private="192.168.1.42")  # not registered: only the token in the dialog knows where it is
    ended_by_server = guest.call("602")
    ended_by_server.wait_answer()
    halfway = {phone: challenged(phone) for phone in homes if phone in idle}

    balancer.restart()

    for phone, again in halfway.items():
        answer = phone.once(again)
        assert (answer.status, home(answer)) == (200, homes[phone])

    callers_end(calls[:3], others[:3])
    callers_end(others[3:], calls[3:5])
    for call in calls[5:]:
        assert call.bye().status == 200
    ended_by_server.wait_end()
    reached(*idle)
    reached(*pathless)
    assert {phone: home(phone.register()) for phone in homes} == homes


def challenged(phone: Phone) -> Message:
    """Its refresh with the credentials that the 401 asked for, not yet sent."""
    request = phone.registration()
    return phone.with_credentials(request, phone.once(request))


def callers_end(calls: list[Call], others: list[Call]) -> None:
    """Each of `calls` hangs up; each of `others` hears it."""
    for call, other in zip(calls, others, strict=True):
        assert call.bye().status == 200
        other.wait_end()


def reached(caller: Phone, callee: Phone) -> None:
    call = caller.call(callee.user.number)
    call.wait_answer()
    assert call.bye().status == 200


def test_a_kill_loses_no_registration(balancer: Balancer, phones: Phones) -> None:
    """SIGKILL: nothing is written on the way out."""
    caller, callee = phones.together(2, private="192.168.1.41")
    homes = {phone: registered(phone) for phone in (caller, callee)}
    balancer.kill()
    balancer.start()
    reached(caller, callee)
    assert {phone: home(phone.register()) for phone in homes} == homes
