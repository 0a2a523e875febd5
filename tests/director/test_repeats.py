"""Said again until it is taken, 32 s at most, and no more of them than there is room for."""

from __future__ import annotations

from sipbalancer.director.repeats import Repeats, final_key, request_key
from sipbalancer.sip.flow import Datagram, flow_of, pack_address

BYE: Datagram = (b"BYE", flow_of(0, pack_address("10.1.0.1", 5060)))
KEY = request_key(b"BYE", b"z9hG4bKx")


def _times(repeats: Repeats, until: float) -> list[float]:
    """When something was said, in steps of 50 ms from 100.0."""
    said = []
    for step in range(int((until - 100.0) / 0.05) + 1):
        now = 100.0 + step * 0.05
        said += [round(now - 100.0, 1)] * len(repeats.due(now))
    return said


def test_it_is_said_again_from_half_a_second_doubling_to_four_for_32_seconds() -> None:
    repeats = Repeats(100.0)
    assert repeats.begin(KEY, BYE, 100.0)
    times = _times(repeats, 150.0)
    pauses = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert [round(pause) for pause in pauses[1:]] == [1, 2, 4, 4, 4, 4, 4, 4]
    assert 0.5 <= times[0] <= 0.6 and times[-1] < 32.5
    assert len(repeats) == 0


def test_what_was_taken_is_not_said_again() -> None:
    repeats = Repeats(100.0)
    repeats.begin(KEY, BYE, 100.0)
    assert repeats.end(KEY) and not repeats.end(KEY)
    assert _times(repeats, 110.0) == []


def test_what_is_being_said_is_not_begun_twice() -> None:
    repeats = Repeats(100.0)
    assert repeats.begin(KEY, BYE, 100.0)
    assert not repeats.begin(KEY, BYE, 100.2)
    assert len(_times(repeats, 101.0)) == 1


def test_without_room_a_thing_is_said_once_and_counted() -> None:
    repeats = Repeats(100.0, limit=1)
    repeats.begin(KEY, BYE, 100.0)
    assert repeats.begin(final_key(b"t"), BYE, 100.0)
    assert (len(repeats), repeats.refused) == (1, 1)
