"""The control process's side: what workers saw becomes evidence of its table, what it believes becomes words.

`gather` comes before every judgement, so that no server is judged by half of its traffic.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sipbalancer.director.evidence import SHORTEST_WAIT
from sipbalancer.director.health import Health
from sipbalancer.director.service import RealServer
from sipbalancer.director.stripes import NOTHING, Record, Stripes
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import Verdict
from sipbalancer.director.words import Flag, Word, Words

_PLACE = {verdict: float(place) for place, verdict in enumerate(Verdict)}


class Leader:
    """Joins one table to the shared memory."""

    def __init__(self, table: ServiceTable, words: Words, stripes: Stripes) -> None:
        self._table = table
        self._words = words
        self._stripes = stripes
        self._written: dict[int, Word] = {}
        self._counted: dict[Health, Record] = {}
        self._asked: set[Health] = set()
        self._told: dict[Health, int] = {}

    # From the workers.

    def gather(self) -> None:
        """Take over what all workers have seen so far."""
        healths: dict[Health, tuple[Record, ...]] = {}
        for server in self._servers():
            records = self._records(server)
            server.transactions = int(sum(record.transactions for record in records))
            healths.setdefault(server.health, records)
        self._counted = {health: self._take(health, records) for health, records in healths.items()}

    def _records(self, server: RealServer) -> tuple[Record, ...]:
        return tuple(self._stripes.read(worker, server.serial) for worker in range(self._stripes.workers))

    def _take(self, health: Health, records: tuple[Record, ...]) -> Record:
        evidence, before, now = health.evidence, self._counted.get(health, NOTHING), _counts(records)
        evidence.heard = max(evidence.heard, *(record.heard for record in records))
        evidence.heard_new = max(evidence.heard_new, *(record.heard_new for record in records))
        evidence.own = max(evidence.own, *(record.own for record in records))
        evidence.dialog_answers += max(0, int(now.dialog_answers - before.dialog_answers))
        evidence.unanswered += max(0, int(now.unanswered - before.unanswered))
        return now

    def forget(self, worker: int) -> None:
        """This worker has died: what it saw stays seen, what it counted begins at 0 with the next one."""
        self.gather()
        for server in self._servers():
            self._stripes.write(worker, server.serial, NOTHING)
        for server in self._servers():
            self._counted[server.health] = _counts(self._records(server))

    def suspect(self, wanted: Iterable[tuple[int, bool]], now: float) -> None:
        """A worker wants these probed at once, and to be told what came of it: (serial, whether its silence or refusal
        makes it suspect)."""
        self.gather()
        doubts = dict(wanted)
        for server in self._servers():
            if server.serial in doubts:
                self._asked.add(server.health)
                self._table.state.suspects[server.health] = None
                if doubts[server.serial]:
                    server.health.evidence.suspect(now)

    def probed(self, health: Health) -> None:
        """An outcome came, whatever it was."""
        if health in self._asked:
            self._asked.discard(health)
            self._told[health] = self._told.get(health, 0) + 1

    # To the workers.

    def publish(self) -> bool:
        """Write what has changed since the last call; whether anything had."""
        fresh = {
            server.serial: word
            for server in self._servers()
            if (word := self._word(server)).matter != self._matter(server.serial)
        }
        if fresh:
            self._words.write(fresh)
            self._written.update(fresh)
        return bool(fresh)

    def _matter(self, serial: int) -> tuple[float, ...]:
        word = self._written.get(serial)
        return word.matter if word is not None else ()

    def _word(self, server: RealServer) -> Word:
        health = server.health
        evidence = health.evidence
        flags = Flag.WRITTEN
        flags |= Flag.DRAINED if server.drained else Flag(0)
        flags |= Flag.MAINTENANCE if server.maintenance else Flag(0)
        flags |= Flag.REFUSED if health.refused else Flag(0)
        flags |= Flag.WAS_UP if server.was_up else Flag(0)
        return Word(
            float(flags),
            _PLACE[health.verdict],
            health.since,
            server.since,
            server.recovered,
            round(evidence.rtt, 2) if 3.0 * evidence.rtt > SHORTEST_WAIT else 0.0,
            evidence.suspected,
            evidence.silent,
            float(self._told.get(health, 0)),
            evidence.heard,
            evidence.heard_new,
        )

    def _servers(self) -> Iterator[RealServer]:
        for service in self._table.state.services.values():
            yield from (each for each in service.by_packed.values() if each.serial >= 0)


def _counts(records: tuple[Record, ...]) -> Record:
    """What only grows, of all workers together."""
    return Record(
        dialog_answers=sum(record.dialog_answers for record in records),
        unanswered=sum(record.unanswered for record in records),
    )
