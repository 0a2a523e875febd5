"""The whole demo in virtual time, phones straight at their servers, and what the ledger makes of it."""

from __future__ import annotations

from random import Random

from sipbalancer.demo.call import Call, CallState, Ending
from sipbalancer.demo.lab import Lab
from sipbalancer.demo.ledger import Outage, Tally, count
from sipbalancer.demo.phone import Phone
from sipbalancer.demo.registrar import Contacts
from sipbalancer.demo.scene import Scene, Timeline
from sipbalancer.demo.server import EmbeddedServer

SECONDS = 45.0


class Play:
    """Three servers, thirty phones, one timeline."""

    def __init__(self, seed: int, *, with_kill: bool) -> None:
        self.lab = Lab()
        self.random = Random(seed)
        self.users = {str(1001 + index): f"secret{index}" for index in range(30)}
        self.contacts = Contacts()
        self.places = [(f"192.0.2.{index}", 5060) for index in (1, 2, 3)]
        for index in range(3):
            self.start(index)
        phones = [self.phone(index, user) for index, user in enumerate(self.users)]
        self.scene = Scene(phones, Timeline.of(SECONDS, with_kill=with_kill), self.random, self.lab.now)

    def start(self, index: int) -> None:
        server = EmbeddedServer(
            self.places[index], self.users, "demo", self.random, name=f"server{index}", contacts=self.contacts
        )
        self.lab.add(self.places[index], server)

    def phone(self, index: int, user: str) -> Phone:
        proxy = self.places[index % 3]
        phone = Phone(user, self.users[user], (f"198.51.100.{index}", 5060), proxy, proxy[0], self.random, refresh=6.0)
        self.lab.add(phone.address, phone)
        return phone

    def run(self, until: float) -> None:
        """Tick twenty times a second until that many seconds after the start."""
        while self.lab.now < self.scene.start + until:
            for phone, datagrams in self.scene.tick(self.lab.now):
                self.lab.send(phone.address, datagrams)
            self.lab.run(0.05)

    def tally(self) -> Tally:
        self.scene.settle()
        return count(self.scene.phones, self.scene.outages, finished=True, strangers=self.scene.strangers)


def test_nothing_is_lost_when_nothing_breaks() -> None:
    play = Play(1, with_kill=False)
    play.run(SECONDS)
    tally = play.tally()
    assert tally.lost == 0
    assert tally.calls == tally.calls_done > 60
    assert tally.calls_cut == tally.byes_cut == tally.registrations_cut == 0
    assert tally.registrations == tally.registrations_answered > 30 * 5
    assert not any(phone.registered for phone in play.scene.phones)


def test_without_a_balancer_a_dead_server_loses_calls_and_the_ledger_says_so() -> None:
    """Phones that know only one server keep calling it: cut are the calls under way, lost all that came after."""
    play = Play(2, with_kill=True)
    line = play.scene.timeline
    assert line.kill is not None
    play.run(line.kill)
    play.lab.remove(play.places[1])
    under_way = sum(
        call.server == "server1" for phone in play.scene.phones for call in phone.live_calls if call.outgoing
    )
    play.scene.killed("server1", play.lab.now)
    play.run(line.kill + 1.0)
    play.scene.known_down("server1", play.lab.now)
    play.run(SECONDS)
    tally = play.tally()
    assert under_way > 0
    assert tally.calls_cut >= under_way
    assert tally.calls_lost > 0
    assert tally.strangers > 0 or tally.registrations_lost > 0
    assert tally.calls == tally.calls_done + tally.calls_cut + tally.calls_lost


def test_a_server_that_comes_back_gets_its_phones_back() -> None:
    play = Play(3, with_kill=True)
    line = play.scene.timeline
    assert line.kill is not None
    assert line.back is not None
    play.run(line.kill)
    play.lab.remove(play.places[1])
    play.scene.killed("server1", play.lab.now)
    play.run(line.back)
    play.start(1)
    play.scene.came_back(play.lab.now)
    play.run(line.unregister)
    assert all(phone.registered for phone in play.scene.phones)


def test_an_outage_excuses_only_its_own_server_and_only_until_it_is_known() -> None:
    outage = Outage("server1", since=10.0)
    assert outage.excuses(11.0, "server1")
    assert not outage.excuses(11.0, "server2")
    assert not outage.excuses(9.0, "server1")
    outage.known = 12.0
    assert not outage.excuses(12.5, "server1")


def ended_call(ending: Ending, *, answered: float, status: int = 200, bye: int | None = None) -> Call:
    call = Call(True, "600", "c", "t", 1.0, CallState.ENDED, ending, status, answered)
    call.bye = bye
    return call


def phone_with(*calls: Call) -> Phone:
    phone = Phone("1001", "one", ("198.51.100.1", 5060), ("192.0.2.1", 5060), "192.0.2.1", Random(0))
    phone.history.extend(calls)
    return phone


def test_the_fate_of_each_kind_of_call() -> None:
    done = ended_call(Ending.HUNG_UP, answered=2.0, bye=200)
    refused = ended_call(Ending.REFUSED, answered=0.0, status=503)
    unanswered = ended_call(Ending.UNANSWERED, answered=0.0, status=0)
    unacknowledged_bye = ended_call(Ending.HUNG_UP, answered=2.0, bye=0)
    cut = ended_call(Ending.HUNG_UP, answered=2.0, bye=481)
    phone = phone_with(done, refused, unanswered, unacknowledged_bye, cut)
    tally = count([phone], [Outage("server1", 1.0, cut={cut})], finished=True)
    assert (tally.calls, tally.calls_done, tally.calls_cut, tally.calls_lost) == (5, 2, 1, 2)
    assert (tally.byes, tally.byes_answered, tally.byes_cut, tally.byes_lost) == (3, 1, 1, 1)
    assert tally.refusals == {"503 refused": 1, "nobody answered the INVITE": 1}
    assert tally.lost == 3


def test_a_doubled_call_is_a_loss() -> None:
    phone = phone_with()
    phone.doubles = 1
    assert count([phone], [], finished=True).lost == 1
