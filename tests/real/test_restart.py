"""The balancer ends and starts again under ten calls and a dozen registrations: nobody notices."""

from __future__ import annotations

from tests.real.call import Call
from tests.real.phone import Phone
from tests.real.pool import Phones, home, registered
from tests.real.programs import Balancer


def test_calls_and_registrations_outlive_a_restart(balancer: Balancer, phones: Phones) -> None:
    pairs = [phones.together(2) for _ in range(5)]
    echoes = [phones.phone() for _ in range(5)]
    idle = phones.together(2, private="192.168.1.40")
    homes = {phone: registered(phone) for pair in (*pairs, idle) for phone in pair}
    calls = [caller.call(callee.user.number) for caller, callee in pairs]
    calls += [phone.call("600") for phone in echoes]
    for call in calls:
        call.wait_answer()
    others = [callee.calls.get(timeout=4) for _, callee in pairs]

    balancer.restart()

    callers_end(calls[:3], others[:3])
    callers_end(others[3:], calls[3:5])
    for call in calls[5:]:
        assert call.bye().status == 200
    reached(*idle)
    assert {phone: home(phone.register()) for phone in homes} == homes


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
