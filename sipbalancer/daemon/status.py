"""What `sipbalancer status` and `where` are given: snapshots as plain JSON values.

The names are an interface (`--json`): scripts are built on them. Times are seconds since the epoch, spans seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sipbalancer import __version__
from sipbalancer.compiled import runs
from sipbalancer.daemon.fleet_reports import WorkerShown
from sipbalancer.daemon.rates import Rates
from sipbalancer.director.snapshot import ServerSnapshot, ServiceSnapshot, Snapshot, WhereSnapshot

Document = dict[str, object]


def status_document(
    snapshot: Snapshot, rates: Rates, path: str, notes: Iterable[str], workers: Collection[WorkerShown] = ()
) -> Document:
    """The whole; `path` is the file it runs on, `notes` what the operator must know of the process itself."""
    return {
        "version": __version__,
        "runs": runs(),
        "file": path,
        "now": snapshot.now,
        "started": snapshot.started,
        "reloads": dict(snapshot.reloads),
        "notes": list(notes),
        "workers": _workers(workers),
        "services": [_service(service, rates) for service in snapshot.services],
    }


def _workers(workers: Collection[WorkerShown]) -> list[Document]:
    """Empty where one process does everything."""
    total = sum(each.messages for each in workers)
    return [
        {
            "worker": each.number,
            "pid": each.pid,
            "since": each.since,
            "restarts": each.restarts,
            "messages": each.messages,
            "messages_per_second": round(each.messages_per_second, 1),
            "share": round(each.messages / total, 4) if total else 0.0,
            "cpu": round(each.cpu, 4),
            "lag": each.lag,
        }
        for each in workers
    ]


def _service(service: ServiceSnapshot, rates: Rates) -> Document:
    return {
        "virtual": service.key,
        "scheduler": service.scheduler,
        "state": "standby" if service.standby else "active",
        "notes": list(service.notes),
        "chosen": dict(service.chosen),
        "dropped": dict(service.dropped),
        "pins": dict(service.pins),
        "last_resort": list(service.resort),
        "servers": [_server(server, rates.per_second(service.key, server.key)) for server in service.servers],
    }


def _server(server: ServerSnapshot, per_second: float) -> Document:
    return {
        "name": server.name,
        "server": server.key,
        "verdict": server.verdict.value,
        "reason": server.reason,
        "since": server.since,
        "latency": server.latency,
        "weight": server.weight,
        "fallback": server.fallback,
        "drained": server.drained,
        "calls": server.calls,
        "registrations": server.registrations,
        "transactions": server.transactions,
        "full": server.full,
        "drain": _drain(server),
        "requests_per_second": round(per_second, 2),
        "requests": dict(server.requests),
        "responses": dict(server.responses),
        "probes": dict(server.probes),
    }


def _drain(server: ServerSnapshot) -> Document | None:
    """None while the server is not being emptied."""
    if not server.drain.leaving:
        return None
    return {
        "safe": server.safe,
        "silent_calls": server.drain.silent,
        "withheld": server.drain.withheld,
        "known_at": server.drain.known_at,
    }


def left_document(snapshot: Snapshot, keys: Iterable[str]) -> Document:
    """What is still on the servers with these keys, over all services, and whether they may be stopped."""
    keys = frozenset(keys)
    servers = [each for service in snapshot.services for each in service.servers if each.key in keys]
    silent = [each.drain.silent for each in servers]
    withheld = [each.drain for each in servers if each.drain.withheld]
    return {
        "servers": sorted(keys),
        "leaving": all(each.drain.leaving for each in servers),
        "safe": all(each.safe for each in servers),
        "calls": sum(each.calls for each in servers),
        "silent_calls": None if None in silent else sum(each or 0 for each in silent),
        "registrations": sum(each.registrations for each in servers),
        "transactions": sum(each.transactions for each in servers),
        "withheld": withheld[0].withheld if withheld else "",
        "known_at": max((each.known_at for each in withheld), default=0.0),
    }


def where_document(found: Iterable[WhereSnapshot]) -> list[Document]:
    """One entry per virtual service that knows the AoR."""
    return [
        {
            "aor": where.aor,
            "virtual": where.virtual,
            "server": where.server,
            "expires": where.expires,
            "contacts": [contact._asdict() for contact in where.contacts],
        }
        for where in found
    ]
