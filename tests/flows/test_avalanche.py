"""Ten thousand phones on four servers, one killed: they come back soon, and not all at once."""

from __future__ import annotations

from bisect import bisect_left

import pytest

from sipbalancer.director.verdict import ProbeResult
from tests.flows.crowd import Crowd, LightServer

PHONES = 10_000
RATE = 70.0
LIFE = 120
WINDOW = 0.9 * LIFE + 8 + 14
"""Seconds in which all must be registered anew: the longest refresh, the longest wait in silence, the longest
Retry-After; what they cost (2 REGISTERs each, beside the refreshes of all others) is less than three times RATE."""


def _died() -> tuple[Crowd, LightServer, float]:
    crowd = Crowd(PHONES, 4, ignoring=0.1, registerrate=RATE, maxexpires=LIFE, slowstart=30.0)
    crowd.begin(60)
    crowd.run(100)
    assert sum(crowd.spread().values()) == PHONES
    dead = next(iter(crowd.servers.values()))
    dead.alive = False
    died = crowd.now
    crowd.run(1.2)
    crowd.judge(dead, ProbeResult.TIMEOUT)
    return crowd, dead, died


def _worst(server: LightServer, since: float) -> int:
    """REGISTERs in any second at all, from whatever moment it is counted."""
    heard = [when for when in server.heard if when > since]
    return max(bisect_left(heard, when + 1 - 1e-6) - at for at, when in enumerate(heard))


def test_ten_thousand_phones_survive_one_server_of_four() -> None:
    crowd, dead, died = _died()
    crowd.run(WINDOW)
    spread = crowd.spread()
    assert dead.key not in spread and sum(spread.values()) == PHONES
    assert all(abs(count / (PHONES / 3) - 1) < 0.05 for count in spread.values()), spread
    assert max(_worst(server, died) for server in crowd.servers.values() if server is not dead) <= RATE
    dead.alive = True
    crowd.judge(dead, ProbeResult.OK)
    back = crowd.now
    for _ in range(30):
        crowd.run(LIFE / 20)
        spread = crowd.spread()
        assert sum(spread.values()) == PHONES, "nobody loses a registration to the move home"
    assert all(abs(count / (PHONES / 4) - 1) < 0.05 for count in spread.values()), spread
    assert _worst(dead, back) <= RATE


def test_old_credentials_do_not_pass_the_rate() -> None:
    crowd = Crowd(300, 2, registerrate=20.0)
    crowd.begin(100)
    crowd.run(120)
    assert sum(crowd.spread().values()) == 300
    dead, survivor = crowd.servers.values()
    dead.alive = False
    died = crowd.now
    crowd.judge(dead, ProbeResult.REFUSED)
    crowd.ask_all()  # at one moment: only the spread of Retry-After parts them
    crowd.run(120)
    assert crowd.spread() == {survivor.key: 300}
    assert _worst(survivor, died) <= 20


def test_what_a_dead_server_leaves_behind_does_not_pass_the_rate() -> None:
    crowd = Crowd(400, 2, registerrate=60.0)
    dead, survivor = crowd.servers.values()
    dead.alive = False
    died = crowd.now
    crowd.ask_all()
    crowd.run(4)
    crowd.judge(dead, ProbeResult.TIMEOUT)
    crowd.run(80)
    assert crowd.spread() == {survivor.key: 400}
    assert _worst(survivor, died) <= 60


IN_STEP = 600
STEP_RATE = 20.0
WANTED = IN_STEP + IN_STEP / 3
"""REGISTERs: one of each phone, and one more of those whose server died, as their new one challenges them."""
STEP_WINDOW = WANTED / (2 * STEP_RATE) / 0.9 + 14
"""Seconds: at nine tenths of what two survivors admit, and the longest Retry-After."""


@pytest.mark.parametrize("ignoring", [0.0, 0.3, 1.0])
def test_phones_that_repeat_in_step_use_what_is_admitted(ignoring: float) -> None:
    """All register at one moment and say the same again after 0.5, 1.5, 3.5, 7.5, 11.5 ... s, all together."""
    crowd = Crowd(IN_STEP, 3, ignoring=ignoring, registerrate=STEP_RATE)
    crowd.begin(100)
    crowd.run(110)
    dead, *survivors = crowd.servers.values()
    dead.alive = False
    died = crowd.now
    crowd.judge(dead, ProbeResult.REFUSED)
    crowd.ask_all()
    crowd.run(STEP_WINDOW)
    anew = [phone for phone in crowd.phones if phone.until >= died + 3600]
    assert len(anew) == IN_STEP and sum(crowd.spread()[each.key] for each in survivors) == IN_STEP
    assert max(_worst(each, died - 1) for each in survivors) <= STEP_RATE
    busy = 0.8 * WANTED / (2 * STEP_RATE)
    used = sum(bisect_left(each.heard, died + busy) - bisect_left(each.heard, died) for each in survivors)
    assert used >= 0.9 * 2 * STEP_RATE * busy


def test_phones_that_come_at_once_wait_in_one_line_each() -> None:
    """A third of the phones lose their server and ask at that moment, the others refresh as ever."""
    crowd = Crowd(1200, 4, ignoring=0.1, registerrate=18.0, maxexpires=75)
    crowd.begin(60)
    crowd.run(120)
    dead, *survivors = crowd.servers.values()
    lost = [phone for phone in crowd.phones if phone.server == dead.key]
    for phone in crowd.phones:
        phone.longest = 0.0
    dead.alive = False
    crowd.judge(dead, ProbeResult.REFUSED)
    crowd.ask_all(lost)
    crowd.run(70)
    spread = crowd.spread()
    assert dead.key not in spread and sum(spread.values()) == len(crowd.phones)
    assert all(abs(count / (len(crowd.phones) / 3) - 1) < 0.05 for count in spread.values()), spread
    assert max(max(server.branches.values()) for server in survivors) == 1, "nothing is sent again that was answered"
    assert max(phone.longest for phone in crowd.phones) < 16.0, "far from their timer F"
