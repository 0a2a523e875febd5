"""The control process's side: what workers saw becomes evidence of its table, what it believes becomes words.

`gather` comes before every judgement, so that no server is judged by half of its traffic. Both verbs are called 20
times a second and at every outcome, with hundreds of servers: `gather` looks only at records that have changed since it
looked last, and `publish` can be told whose outcome it was.
"""

from __future__ import annotations

from collections.abc import Iterable

from sipbalancer.director.evidence import SHORTEST_WAIT
from sipbalancer.director.health import Health
from sipbalancer.director.real_server import RealServer
from sipbalancer.director.stripes import NOTHING, RECORD_SIZE, Record, Stripes, record_in
from sipbalancer.director.table import ServiceTable
from sipbalancer.director.verdict import Verdict
from sipbalancer.director.words import Flag, Word, Words

_PLACE = {verdict: float(place) for place, verdict in enumerate(Verdict)}
# As plain numbers: an operation of IntFlag takes a microsecond.
_WRITTEN, _DRAINED, _MAINTENANCE = int(Flag.WRITTEN), int(Flag.DRAINED), int(Flag.MAINTENANCE)
_REFUSED, _WAS_UP = int(Flag.REFUSED), int(Flag.WAS_UP)


class Leader:
    """Joins one table to the shared memory."""

    def __init__(self, table: ServiceTable, words: Words, stripes: Stripes) -> None:
        self._table = table
        self._words = words
        self._stripes = stripes
        self._written: dict[int, tuple[float, ...]] = {}
        """What mattered of each word, by serial."""
        self._known: list[object] = []
        """The servers of the last `gather`, then their healths."""
        self._images: list[bytes] = []
        """By worker: the records that the last `gather` took over."""
        self._reach = 0
        self._counted: dict[Health, Record] = {}
        self._asked: set[Health] = set()
        self._told: dict[Health, int] = {}

    # From the workers.

    def gather(self) -> None:
        """Take over what all workers have seen so far."""
        servers = self._servers()
        fresh = self._learn(servers)
        before, images = self._images, self._images_now()
        if images == before and not fresh:
            return
        self._images = images
        taken: set[Health] = set()
        for server in servers:
            first = server.health not in taken
            taken.add(server.health)
            at = server.serial * RECORD_SIZE
            span = slice(at, at + RECORD_SIZE)
            if fresh or [image[span] for image in images] != [image[span] for image in before]:
                records = tuple(record_in(image, server.serial) for image in images)
                server.transactions = int(sum(record.transactions for record in records))
                if first:
                    self._counted[server.health] = self._take(server.health, records)

    def _learn(self, servers: list[RealServer]) -> bool:
        """Whether these servers or their healths are others than at the last call: all records are to be looked at."""
        healths = [server.health for server in servers]
        known: list[object] = [*servers, *healths]
        if known == self._known:
            return False
        self._known = known
        self._reach = max((server.serial for server in servers), default=-1) + 1
        self._counted = {health: self._counted[health] for health in healths if health in self._counted}
        return True

    def _images_now(self) -> list[bytes]:
        return [self._stripes.image(worker, self._reach) for worker in range(self._stripes.workers)]

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

    def publish(self, only: Health | None = None) -> bool:
        """Write what has changed since the last call, of the servers of `only` if given; whether anything had."""
        fresh: dict[int, Word] = {}
        for server in self._servers():
            if only is not None and server.health is not only:
                continue
            matter = self._matter(server)
            if matter != self._written.get(server.serial):
                self._written[server.serial] = matter
                evidence = server.health.evidence
                fresh[server.serial] = Word._make((*matter, evidence.heard, evidence.heard_new))
        if fresh:
            self._words.write(fresh)
        return bool(fresh)

    def _matter(self, server: RealServer) -> tuple[float, ...]:
        """A server's word without its last two: what a worker must learn at once."""
        health = server.health
        evidence = health.evidence
        flags = (
            _WRITTEN
            | (_DRAINED if server.drained else 0)
            | (_MAINTENANCE if server.maintenance else 0)
            | (_REFUSED if health.refused else 0)
            | (_WAS_UP if server.was_up else 0)
        )
        return (
            float(flags),
            _PLACE[health.verdict],
            health.since,
            server.since,
            server.recovered,
            round(evidence.rtt, 2) if 3.0 * evidence.rtt > SHORTEST_WAIT else 0.0,
            evidence.suspected,
            evidence.silent,
            float(self._told.get(health, 0)),
        )

    def _servers(self) -> list[RealServer]:
        services = self._table.state.services.values()
        return [each for service in services for each in service.by_packed.values() if each.serial >= 0]


def _counts(records: tuple[Record, ...]) -> Record:
    """What only grows, of all workers together."""
    return Record(
        dialog_answers=sum(record.dialog_answers for record in records),
        unanswered=sum(record.unanswered for record in records),
    )
