"""Who waits, and who is next."""

from __future__ import annotations

from sipbalancer.director.lines import Held, Lines
from sipbalancer.director.pace import Bucket
from sipbalancer.director.transactions import TIMER_F
from sipbalancer.sip.flow import flow_of
from tests.director.stage import PHONE, A, Stage, packed, real, service_of

STAGE = Stage(service_of(real(A), registerrate=2.0))
SERVER = STAGE.server(A)


def _held(since: float = 100.0) -> Held:
    return Held(STAGE.service, b"REGISTER", flow_of(0, packed(PHONE)), since)


def test_first_come_first_served_but_for_the_answer_to_a_challenge() -> None:
    lines = Lines()
    for key in (b"a", b"b"):
        assert lines.join(SERVER, key, _held())
    assert lines.join(SERVER, b"c", _held(), first=True)
    assert not lines.before(SERVER, b"c") and lines.before(SERVER, b"a") and lines.before(SERVER, b"new")
    lines.turn = b"new"
    assert not lines.before(SERVER, b"new")
    SERVER.bucket = Bucket()
    order = [lines.next(SERVER, 100.0) for _ in range(4)]
    assert [each and each[0] for each in order] == [b"c", b"a", b"b", None]
    assert lines.waiting() == []


def test_nobody_is_next_while_the_server_has_no_room() -> None:
    lines = Lines()
    lines.join(SERVER, b"a", _held())
    while SERVER.bucket.take(2.0, 100.0, must=True):
        pass
    assert lines.next(SERVER, 100.0) is None and lines.holds(SERVER, b"a")
    assert lines.next(SERVER, 100.0 + TIMER_F) is None and not lines.holds(SERVER, b"a"), "its phone has given up"


def test_one_that_passed_by_itself_is_in_no_line() -> None:
    lines = Lines()
    lines.leave(SERVER, b"a")
    lines.join(SERVER, b"a", _held())
    lines.leave(SERVER, b"a")
    assert lines.waiting() == [] and not lines.before(SERVER, b"b")


def test_a_line_has_an_end_and_the_answers_a_second_one() -> None:
    lines = Lines()
    assert sum(lines.join(SERVER, b"%d" % number, _held()) for number in range(100)) == 16
    assert sum(lines.join(SERVER, b"x%d" % number, _held(), first=True) for number in range(100)) == 16
