from __future__ import annotations

import json

from sipbalancer import __version__
from sipbalancer.compiled import runs
from sipbalancer.daemon.fleet_reports import WorkerShown
from sipbalancer.daemon.rates import Rates
from sipbalancer.daemon.status import left_document, status_document, where_document
from sipbalancer.director.snapshot import (
    ContactSnapshot,
    Drain,
    ServerSnapshot,
    ServiceSnapshot,
    Snapshot,
    WhereSnapshot,
)
from sipbalancer.director.verdict import Verdict

VIRTUAL, SERVER = "192.0.2.10:5060", "192.0.2.1:5060"


def snapshot(now: float, calls: int) -> Snapshot:
    server = ServerSnapshot(
        "ast1", SERVER, Verdict.DRAINING, "503", 90.0, 0.01, 2, False, True, calls, 4, 1, {"INVITE": calls}, {"2xx": 1},
        {"ok": 9}, (), 0.0,
    )  # fmt: skip
    service = ServiceSnapshot(VIRTUAL, "wrr", (server,), {"call": 1}, {"malformed": 2}, {"binding": 4}, ("not here",))
    return Snapshot(now, 50.0, (service,), {"ok": 1, "failed": 0})


def test_the_document_has_all_that_status_shows() -> None:
    rates = Rates()
    rates.observe(100.0, {(VIRTUAL, SERVER): 10})
    rates.observe(101.0, {(VIRTUAL, SERVER): 13})
    document = status_document(snapshot(101.0, 13), rates, "conf.cf", ["memory only"])
    assert json.loads(json.dumps(document)) == {
        "version": __version__,
        "runs": runs(),
        "file": "conf.cf",
        "now": 101.0,
        "started": 50.0,
        "reloads": {"ok": 1, "failed": 0},
        "notes": ["memory only"],
        "workers": [],
        "services": [
            {
                "virtual": VIRTUAL,
                "scheduler": "wrr",
                "state": "active",
                "notes": ["not here"],
                "chosen": {"call": 1},
                "dropped": {"malformed": 2},
                "pins": {"binding": 4},
                "last_resort": [],
                "servers": [
                    {
                        "name": "ast1",
                        "server": SERVER,
                        "verdict": "draining",
                        "reason": "503",
                        "since": 90.0,
                        "latency": 0.01,
                        "weight": 2,
                        "fallback": False,
                        "drained": True,
                        "calls": 13,
                        "registrations": 4,
                        "transactions": 1,
                        "full": False,
                        "drain": None,
                        "requests_per_second": 3.0,
                        "requests": {"INVITE": 13},
                        "responses": {"2xx": 1},
                        "probes": {"ok": 9},
                    }
                ],
            }
        ],
    }


def test_where() -> None:
    contact = ContactSnapshot("sip:100@198.51.100.7:5062", "198.51.100.7:5062", 60.0)
    found = where_document([WhereSnapshot("sip:100@pbx", VIRTUAL, SERVER, (contact,), 90.0)])
    assert json.loads(json.dumps(found)) == [
        {
            "aor": "sip:100@pbx",
            "virtual": VIRTUAL,
            "server": SERVER,
            "expires": 90.0,
            "contacts": [{"uri": "sip:100@198.51.100.7:5062", "client": "198.51.100.7:5062", "expires": 60.0}],
        }
    ]


def draining(drain: Drain, calls: int = 0) -> Snapshot:
    """The server in two services; in the second nothing is left."""
    shown = snapshot(100.0, calls)
    (service,) = shown.services
    (server,) = service.servers
    first = server._replace(drain=drain, registrations=0, transactions=0)
    second = first._replace(calls=0, drain=Drain(True, 0, "", 0.0))
    return shown._replace(services=(service._replace(servers=(first,)), service._replace(key="v2", servers=(second,))))


def test_what_is_left_is_summed_over_all_services() -> None:
    found = left_document(draining(Drain(True, 2, "", 0.0), calls=3), [SERVER])
    assert found == {
        "servers": [SERVER],
        "leaving": True,
        "safe": False,
        "calls": 3,
        "silent_calls": 2,
        "registrations": 0,
        "transactions": 0,
        "withheld": "",
        "known_at": 0.0,
    }
    assert left_document(draining(Drain(True, None, "", 0.0)), [SERVER])["safe"]


def test_what_is_withheld_in_one_service_is_withheld() -> None:
    found = left_document(draining(Drain(True, None, "the pins began empty", 500.0)), [SERVER])
    assert (found["safe"], found["withheld"], found["known_at"]) == (False, "the pins began empty", 500.0)
    assert found["silent_calls"] is None


def test_status_says_of_a_draining_server_whether_it_may_be_stopped() -> None:
    document = json.loads(json.dumps(status_document(draining(Drain(True, 0, "", 0.0)), Rates(), "f", [])))
    drain = document["services"][0]["servers"][0]["drain"]
    assert drain == {"safe": True, "silent_calls": 0, "withheld": "", "known_at": 0.0}


def test_workers_are_shown_with_their_share() -> None:
    workers = [WorkerShown(0, 100, 50.0, 1, 300, 12.34, 0.5, 0.001), WorkerShown(1, 0, 60.0, 0, 100, 0.0, 0.0, 0.0)]
    shown = status_document(snapshot(100.0, 1), Rates(), "conf.cf", [], workers)["workers"]
    assert shown == [
        {"worker": 0, "pid": 100, "since": 50.0, "restarts": 1, "messages": 300, "messages_per_second": 12.3,
         "share": 0.75, "cpu": 0.5, "lag": 0.001},
        {"worker": 1, "pid": 0, "since": 60.0, "restarts": 0, "messages": 100, "messages_per_second": 0.0,
         "share": 0.25, "cpu": 0.0, "lag": 0.0},
    ]  # fmt: skip
