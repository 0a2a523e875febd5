"""A worker's side: words become the verdicts of its table, what it sees of servers goes into its stripe.

A worker judges nothing. What a change of verdict sets off (requests that move, 503s that were held) is the same as in a
balancer of one process, each worker for its own transactions.
"""

from __future__ import annotations

from collections.abc import Iterator

from sipbalancer.director.real_server import RealServer
from sipbalancer.director.seat import Seat
from sipbalancer.director.stripes import Stripes, WorkerEvidence
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import Verdict
from sipbalancer.director.words import Flag, Word, Words

_VERDICTS = tuple(Verdict)
_ELSEWHERE = "said by the control process"


class Follower:
    """Joins one worker's table to the shared memory."""

    def __init__(self, table: ServiceTable, words: Words, stripes: Stripes, seat: Seat) -> None:
        self._table = table
        self._words = words
        self._stripes = stripes
        self._seat = seat
        self._taken = -1
        self._told: dict[int, float] = {}
        self._given: dict[int, tuple[float, ...]] = {}
        """What stands in the own stripe, by serial."""
        self._others = tuple(worker for worker in range(seat.of) if worker != seat.number)

    # Words.

    def look(self, now: float) -> bool:
        """Once per batch: take the words when there are new ones."""
        return self._words.generation != self._taken and self._take(now)

    def configured(self, now: float) -> None:
        """The table has just become another configuration (or its first)."""
        for server in self._servers():
            if not isinstance(server.health.evidence, WorkerEvidence):
                server.health.evidence = WorkerEvidence()
        self._taken = -1
        self.look(now)

    def _take(self, now: float) -> bool:
        generation = self._words.generation
        if generation & 1:
            return False
        said = [(server, self._words.read(server.serial)) for server in self._servers()]
        if self._words.generation != generation:
            return False
        self._taken = generation
        self._obey([(server, word) for server, word in said if word is not None], now)
        return True

    def _obey(self, said: list[tuple[RealServer, Word]], now: float) -> None:
        before = {server: server.verdict for server, _ in said}
        answered = [server for server, word in said if self._told.get(server.serial, word.told) != word.told]
        for server, word in said:
            self._told[server.serial] = word.told
            _become(server, word)
        for service in self._table.state.services.values():
            service.refresh()
        retries = self._table.forwarder.retries
        for server, old in before.items():
            if old is not Verdict.DOWN and server.verdict is Verdict.DOWN:
                retries.server_down(server, now)
            elif old is not Verdict.OVERLOADED and server.verdict is Verdict.OVERLOADED:
                retries.server_overloaded(server, now)
        changed = [server for server, old in before.items() if server.verdict is not old]
        if changed or answered:
            retries.probed([*changed, *answered], now)

    # The stripe.

    def give(self) -> None:
        """Every 50 ms: write the own stripe, and see what the others have heard of those in doubt."""
        stripes, others = self._stripes, self._others
        for server in self._servers():
            evidence, serial = server.health.evidence, server.serial
            record = (
                evidence.heard,
                evidence.heard_new,
                evidence.own,
                evidence.dialog_answers,
                evidence.unanswered,
                server.transactions,
            )
            if record != self._given.get(serial):
                self._given[serial] = record
                stripes.write(self._seat.number, serial, record)
            server.elsewhere = int(sum([stripes.transactions(worker, serial) for worker in others]))
            if evidence.suspected or server.verdict is not Verdict.UP:
                for seen in [stripes.read(worker, serial) for worker in others]:
                    evidence.heard = max(evidence.heard, seen.heard)
                    evidence.heard_new = max(evidence.heard_new, seen.heard_new)
                    evidence.own = max(evidence.own, seen.own)

    def doubts(self) -> list[tuple[int, bool]]:
        """What the control process is asked to probe since the last call, as `Leader.suspect` takes it."""
        suspects = set(self._table.suspects())
        if not suspects:
            return []
        wanted = {server.health: server.serial for server in self._servers() if server.health in suspects}
        return [(serial, bool(health.evidence.suspected)) for health, serial in wanted.items()]

    def _servers(self) -> Iterator[RealServer]:
        for service in self._table.state.services.values():
            yield from (each for each in service.by_packed.values() if each.serial >= 0)


def _become(server: RealServer, word: Word) -> None:
    flags, health = Flag(int(word.flags)), server.health
    health.verdict, health.reason = _VERDICTS[int(word.verdict)], _ELSEWHERE
    health.since, health.refused = word.health_since, bool(flags & Flag.REFUSED)
    server.since, server.recovered = word.since, word.recovered
    server.drained = bool(flags & Flag.DRAINED)
    server.maintenance = _ELSEWHERE if flags & Flag.MAINTENANCE else ""
    server.was_up = bool(flags & Flag.WAS_UP)
    evidence = health.evidence
    evidence.rtt, evidence.suspected, evidence.silent = word.rtt, word.suspected, word.silent
    evidence.heard = max(evidence.heard, word.heard)
    evidence.heard_new = max(evidence.heard_new, word.heard_new)
